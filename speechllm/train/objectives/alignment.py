"""The warm-up onto the LLM's own embeddings."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from speechllm.config import StageConfig
from speechllm.data.describe import describe_attributes
from speechllm.errors import SpeechLLMError
from speechllm.train.data import Example
from speechllm.train.objectives.base import Context


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
