"""How much a reply surprises the LLM, and selective token masking (STM, arXiv 2501.14315), which masks surprises."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from speechllm import progress
from speechllm.data.render import Message, PromptRenderer
from speechllm.errors import SpeechLLMError
from speechllm.targets.records import TargetRecord

LIMIT = 2.5
"""Perplexity of a token above which it is masked; STM's best."""

BATCH = 8
"""Replies read at once; their logits over the vocabulary are what fills the memory."""


class Surprisal:
    """Reads replies with the LLM and tells how much each of their tokens surprises it.

    Args:
        language_model: a causal LLM.
        tokenizer: its tokenizer.
    """

    def __init__(self, language_model: Any, tokenizer: Any) -> None:
        self._model = language_model
        self._tokenizer = tokenizer
        self._renderer = PromptRenderer(tokenizer)

    @torch.inference_mode()
    def __call__(
        self, conversations: Sequence[Sequence[Message]], replies: Sequence[str], description: str = "read replies"
    ) -> list[list[float]]:
        """Surprisal in nats, -log p, of each token of each reply as the tokenizer cuts it on its own.

        Args:
            conversations: what the LLM reads before each reply; text only.
            replies: the replies.
            description: of the work in the progress display.
        """
        rows = []
        for messages, reply in zip(conversations, replies, strict=True):
            prompt, written = (self._ids(text) for text in (self._renderer.prompt(messages), reply))
            rows.append((prompt, written))
        found: dict[int, list[float]] = {}
        by_length = sorted(range(len(rows)), key=lambda k: -sum(map(len, rows[k])))
        with progress.task(description, len(rows)) as bar:
            for at in range(0, len(rows), BATCH):
                chosen = by_length[at : at + BATCH]
                found |= dict(zip(chosen, self._read([rows[k] for k in chosen]), strict=True))
                bar.advance(len(chosen))
        return [found[k] for k in range(len(rows))]

    def _ids(self, text: str) -> list[int]:
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def _read(self, rows: Sequence[tuple[list[int], list[int]]]) -> list[list[float]]:
        """Right-padded, so that a causal model needs no mask."""
        whole = [torch.tensor(prompt + reply) for prompt, reply in rows]
        ids = torch.nn.utils.rnn.pad_sequence(whole, batch_first=True).to(self._model.device)
        hold = max(ids.shape[1] - min(len(prompt) for prompt, _ in rows) + 1, 1)
        logits = self._model(input_ids=ids, logits_to_keep=hold).logits
        skipped = ids.shape[1] - logits.shape[1]
        surprisal: list[list[float]] = []
        for row, (prompt, reply) in enumerate(rows):
            if not reply:
                surprisal.append([])
                continue
            begin = len(prompt) - 1 - skipped  # the position that predicts the reply's first token
            mine = logits[row, begin : begin + len(reply)].float().log_softmax(-1)
            picked = mine.gather(1, torch.tensor(reply, device=mine.device)[:, None])[:, 0]
            surprisal.append((-picked).tolist())
        return surprisal


class Masker:
    """Selective token masking: reply tokens whose perplexity under the LLM exceeds `limit` are not learnt."""

    def __init__(self, surprisal: Surprisal, limit: float = LIMIT) -> None:
        if not limit >= 1:
            raise SpeechLLMError(f"mask above {limit:g}: a perplexity is at least 1; {LIMIT} is what STM found best")
        self._surprisal = surprisal
        self.limit = limit

    def mask(self, records: Sequence[TargetRecord], conversations: Sequence[Sequence[Message]]) -> list[TargetRecord]:
        """The records with `token_mask`; `conversations` is what the text LLM reads before each reply."""
        found = self._surprisal(conversations, [record.response for record in records], "mask tokens")
        most = math.log(self.limit)
        return [
            record.model_copy(update={"token_mask": [int(s <= most) for s in row]})
            for record, row in zip(records, found, strict=True)
        ]


def mean_surprisal(rows: Sequence[Sequence[float]]) -> float:
    """Nats a token over all replies; NaN where there is none."""
    values = [value for row in rows for value in row]
    return sum(values) / len(values) if values else float("nan")
