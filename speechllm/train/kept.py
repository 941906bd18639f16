"""What an LLM that changes in training still says to text alone, beside what it said as published."""

from __future__ import annotations

from typing import Any

import torch

from speechllm.data.instructions import instructions
from speechllm.data.render import ask
from speechllm.models.modeling import ReplyRows, SpeechLLM
from speechllm.models.processing import SpeechLLMProcessor
from speechllm.models.reply import Reply, Sampling, TextReplier
from speechllm.train.objectives.divergences import kl

TOKENS = 32
"""Longest reply, as in the evaluation's quick form."""


class TextKept:
    """Replies to 16 built-in instructions, compared with those of the published LLM, which are written once."""

    def __init__(self, model: SpeechLLM, processor: SpeechLLMProcessor) -> None:
        self._model = model
        self._processor = processor
        self._asked = [ask(instruction.text) for instruction in instructions("quick")]
        self._published: list[Reply] | None = None

    @torch.no_grad()
    def measure(self) -> dict[str, Any]:
        """One comparison; the model is in eval mode.

        Returns:
            `n` instructions; `identical_replies`, how many get the same greedy reply; `kl`, the mean divergence a reply
            token of what the published LLM predicts from what the model does, on the published LLM's replies.
        """
        model = self._model
        if self._published is None:
            with model.untouched():
                self._published = self._replies("text replies as published")
        replies = self._replies("text replies")
        same = sum(mine == published for mine, published in zip(replies, self._published, strict=True))
        mine = self._predictions(self._published)
        with model.untouched():
            published = self._predictions(self._published)
        distances = kl(mine.logits.float(), published.logits.float(), 1.0)
        return {"n": len(self._asked), "identical_replies": same, "kl": float(distances.mean())}

    def _replies(self, description: str) -> list[Reply]:
        replier = TextReplier(self._model.language_model, self._processor.tokenizer)
        return replier(self._asked, Sampling(max_new_tokens=TOKENS), description)

    def _predictions(self, replies: list[Reply]) -> ReplyRows:
        texts, ends = [reply.text for reply in replies], [reply.finish_reason == "stop" for reply in replies]
        batch = self._processor.tokenise(self._asked, [[] for _ in self._asked], texts, ends)
        inputs: dict[str, Any] = dict(batch.to(self._model.device))
        return self._model.predict_replies(**inputs)
