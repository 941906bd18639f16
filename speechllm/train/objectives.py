"""Objectives: what a training step minimises. Each returns a sum and a count, so any split of a batch adds up."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from speechllm.config import StageConfig
from speechllm.data.describe import describe_attributes
from speechllm.errors import SpeechLLMError
from speechllm.models.modeling import SpeechLLM
from speechllm.models.processing import SpeechLLMProcessor
from speechllm.train.data import AudioStore, Example, conversation


@dataclass(frozen=True)
class Context:
    """What all objectives work with."""

    model: SpeechLLM
    processor: SpeechLLMProcessor
    audio: AudioStore
    attributes: list[str] | None
    transcript_dropout: float
    seed: int


class Objective(Protocol):
    """Sum of the loss over the items of a batch, and their number; `step` seeds whatever is drawn at random."""

    def __call__(self, batch: Sequence[Example], step: int) -> tuple[torch.Tensor, int]:
        """Returns (sum, count); the sum is differentiable."""
        ...


class CrossEntropy:
    """Cross-entropy of the reply tokens, the end of turn included where the reply was complete."""

    def __init__(self, context: Context, stage: StageConfig) -> None:
        self._context = context

    def __call__(self, batch: Sequence[Example], step: int) -> tuple[torch.Tensor, int]:
        """See `Objective`; items are reply tokens."""
        context = self._context
        encoded = context.audio.get([example.utterance for example in batch])
        conversations, replies, complete = [], [], []
        for example in batch:
            assert example.target is not None
            conversations.append(
                conversation(example.target.messages, example.utterance, transcript=self._hears_words(example, step))
            )
            replies.append(example.target.response)
            complete.append(example.target.finish_reason == "stop")
        frames = [[context.audio.frames(example.utterance)] for example in batch]
        inputs = context.processor.tokenise(conversations, frames, replies, complete).to(context.model.device)
        count = int((inputs["labels"][:, 1:] != -100).sum())
        loss = context.model(**inputs, encoded_audio=encoded, num_items_in_batch=1).loss
        return loss, count

    def _hears_words(self, example: Example, step: int) -> bool:
        if not self._context.model.config.transcript:
            return False
        draw = random.Random(f"{self._context.seed}/{step}/{example.target and example.target.id}").random()
        return draw >= self._context.transcript_dropout


class EmbeddingAlignment:
    """The warm-up: the adapter's vectors regress onto the LLM's own embeddings of the description's attribute tokens.

    Needs no pass through the LLM. From a random adapter cross-entropy alone stays at chance for hundreds of steps,
    because nothing that the adapter writes means anything to the LLM yet; after this it reads like a description.
    Vectors beyond the description regress onto a space, which says nothing.
    """

    def __init__(self, context: Context, stage: StageConfig) -> None:
        self._context = context
        self._style = stage.description_style
        embeddings = context.model.get_input_embeddings().weight.detach()
        self._size = float(embeddings.float().square().mean())

    def __call__(self, batch: Sequence[Example], step: int) -> tuple[torch.Tensor, int]:
        """See `Objective`; items are vectors, and a loss of 1 is what a zero vector gets."""
        context = self._context
        vectors, valid = context.model.project(context.audio.get([example.utterance for example in batch]))
        with torch.no_grad():
            ids = self._token_ids(batch, vectors.shape[1]).to(vectors.device)
            wanted = context.model.get_input_embeddings()(ids).float()
        error = (vectors - wanted).square().mean(-1) / self._size
        return error[valid].sum(), int(valid.sum())

    def _token_ids(self, batch: Sequence[Example], length: int) -> torch.Tensor:
        tokenizer = self._context.processor.tokenizer
        blank = tokenizer(" ", add_special_tokens=False)["input_ids"][-1]
        rows = []
        for example in batch:
            text = describe_attributes(example.utterance, self._style, self._context.attributes)
            ids = tokenizer(text, add_special_tokens=False)["input_ids"]
            if len(ids) > length:
                raise SpeechLLMError(
                    f"{example.utterance.id}: its attributes take {len(ids)} tokens but the adapter has {length}"
                    " vectors;"
                    " give it more (vectors, queries) or name fewer in data.attributes"
                )
            windows = len(self._context.audio.frames(example.utterance))
            rows += [ids + [blank] * (length - len(ids))] * windows
        return torch.tensor(rows)


OBJECTIVES: dict[str, Callable[[Context, StageConfig], Objective]] = {
    "embedding_alignment": EmbeddingAlignment,
    "cross_entropy": CrossEntropy,
}
