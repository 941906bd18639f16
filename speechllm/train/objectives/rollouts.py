"""What the speech LLM itself writes, drawn so that neither the split of a batch nor a restart changes a word."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import LogitsProcessor

from speechllm.models.reply import stop_ids
from speechllm.train.objectives.base import Context


@dataclass(frozen=True)
class Rollouts:
    """B replies of the model's own: their N tokens with the end of turn, as ids (B, T), and where they are real."""

    ids: torch.Tensor
    real: torch.Tensor
    texts: list[str]
    rows: torch.Tensor
    """(N,): the reply that each token belongs to."""

    def after(self, prompts: dict[str, Any]) -> dict[str, Any]:
        """Arguments of `predict_replies` for these replies after left-padded prompts (B, S)."""
        mask = torch.cat([prompts["attention_mask"], self.real.to(prompts["attention_mask"].dtype)], 1)
        silent = torch.full_like(prompts["input_ids"], -100)
        return {
            **prompts,
            "input_ids": torch.cat([prompts["input_ids"], self.ids], 1),
            "attention_mask": mask,
            "position_ids": (mask.cumsum(1) - 1).clamp(min=0),
            "labels": torch.cat([silent, self.ids.masked_fill(~self.real, -100)], 1),
        }


def roll_out(
    context: Context, prompts: dict[str, Any], seeds: Sequence[str], *, max_new_tokens: int, temperature: float
) -> Rollouts:
    """Lets the model reply to left-padded prompts with audio.

    Args:
        context: of the objective.
        prompts: `input_ids`, `attention_mask` (B, S) and `encoded_audio`.
        seeds: what each reply is drawn from.
        max_new_tokens: longest reply.
        temperature: of sampling; 0 is greedy.
    """
    model, tokenizer = context.model, context.processor.tokenizer
    stops = stop_ids(model, tokenizer, context.processor.renderer)
    with _inference(model):
        out = model.generate(
            **prompts,
            max_new_tokens=max_new_tokens,
            do_sample=False,
            logits_processor=[GumbelNoise(seeds, temperature)] if temperature else None,
            eos_token_id=stops,
            pad_token_id=tokenizer.pad_token_id,
        )
    ids = out[:, prompts["input_ids"].shape[1] :].clone()  # a tensor made in inference mode cannot be trained on
    ends = torch.isin(ids, torch.tensor(stops, device=ids.device))
    real = ends.cumsum(1) - ends.long() == 0  # up to the first end, which belongs to the reply
    texts = [tokenizer.decode(row[keep], skip_special_tokens=True) for row, keep in zip(ids, real & ~ends, strict=True)]
    return Rollouts(ids, real, texts, real.nonzero()[:, 0])


class GumbelNoise(LogitsProcessor):
    """Turns the greedy choice into a draw (the Gumbel-max trick), each row's from a generator of its own."""

    def __init__(self, seeds: Sequence[str], temperature: float) -> None:
        self._draws = [torch.Generator().manual_seed(random.Random(seed).getrandbits(63)) for seed in seeds]
        self._temperature = temperature

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        """Logits (B, V), divided by the temperature, with noise."""
        noise = [-torch.empty(scores.shape[1]).exponential_(generator=draw).log() for draw in self._draws]
        return scores.float() / self._temperature + torch.stack(noise).to(scores.device)  # type: ignore[return-value]


@contextmanager
def _inference(model: nn.Module) -> Iterator[None]:
    """Within the block no dropout acts; afterwards each module trains, or does not, as before."""
    before = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in before.items():
            module.training = mode
