"""The warm-up onto the LLM's own embeddings."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from speechllm.config import StageConfig
from speechllm.data.describe import describe_attributes
from speechllm.errors import SpeechLLMError
from speechllm.models.adapters import num_vectors
from speechllm.models.encoder import WINDOW_S
from speechllm.train.data import Example
from speechllm.train.objectives.base import Context

FRAMES_A_SECOND = 50
"""That the encoders write."""


class EmbeddingAlignment:
    """The warm-up: the adapter's vectors regress onto the LLM's own embeddings of the description's attribute tokens.

    Needs no pass through the LLM. From a random adapter cross-entropy alone stays at chance for hundreds of steps,
    because nothing that the adapter writes means anything to the LLM yet; after this it reads like a description.
    Vectors beyond the description regress onto a line break. What they say matters: written as text in that place,
    eleven spaces cost SmolLM2-135M 8 points of the JSON that it writes and 21 of the rules that it keeps, and eleven
    line breaks nothing (`egs/forgetting/RESULTS.md`).

    With `align_to = "transcript"` it is the words instead, and only the last vectors, as many as the words have tokens,
    are taught (DiVA, arXiv 2410.02678, the loss over the transcript's embeddings): the others stay free for the rest.
    """

    def __init__(self, context: Context, stage: StageConfig) -> None:
        self._context = context
        self._stage = stage
        embeddings = context.model.get_input_embeddings().weight.detach()
        self._spare = context.processor.tokenizer("\n", add_special_tokens=False)["input_ids"][-1]
        # Some adapters have fewer vectors for a short clip: there the description is cut, whatever shares its batch.
        self._most = num_vectors(context.model.config.adapter, round(WINDOW_S * FRAMES_A_SECOND))
        self._size = float(embeddings.float().square().mean())

    def __call__(self, batch: Sequence[Example], step: int) -> tuple[torch.Tensor, int]:
        """See `Objective`; items are vectors, and a loss of 1 is what a zero vector gets."""
        context = self._context
        vectors, valid = context.model.project(context.audio.get([example.utterance for example in batch]))
        with torch.no_grad():
            ids, taught = (x.to(vectors.device) for x in self._token_ids(batch, valid.cpu()))
            wanted = context.model.get_input_embeddings()(ids).float()
        error = (vectors - wanted).square().mean(-1) / self._size
        return error[taught].sum(), int(taught.sum())

    def _token_ids(self, batch: Sequence[Example], valid: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The token that each vector (W, N) is to say, and whether it is taught at all."""
        ids, taught = torch.full(valid.shape, self._spare), valid.clone()
        window = 0
        for example in batch:
            tokens = self._tokens(example)
            for _ in self._context.audio.frames(example.utterance):
                room = int(valid[window].sum())
                if self._stage.align_to == "attributes":
                    self._check_room(example, "attributes take", len(tokens), self._most)
                    ids[window, : min(room, len(tokens))] = torch.tensor(tokens[:room], dtype=torch.long)
                else:
                    self._check_room(example, "words take", len(tokens), room)
                    ids[window, room - len(tokens) : room] = torch.tensor(tokens, dtype=torch.long)
                    taught[window, : room - len(tokens)] = False
                window += 1
        return ids, taught

    @staticmethod
    def _check_room(example: Example, what: str, tokens: int, room: int) -> None:
        if tokens > room:
            raise SpeechLLMError(
                f"{example.utterance.id}: its {what} {tokens} tokens but the adapter has {room} vectors; give it more"
                " (vectors, queries)" + (" or name fewer in data.attributes" if what.startswith("attributes") else "")
            )

    def _tokens(self, example: Example) -> list[int]:
        u = example.utterance
        if self._stage.align_to == "attributes":
            text = describe_attributes(u, self._stage.description_style, self._context.attributes)
        elif not u.text or len(self._context.audio.frames(u)) > 1:
            raise SpeechLLMError(f'{u.id}: align_to = "transcript" needs the words of a clip of one window (30 s)')
        else:
            text = u.text
        return list(self._context.processor.tokenizer(text, add_special_tokens=False)["input_ids"])
