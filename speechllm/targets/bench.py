"""How fast replies are generated, beside plain `model.generate`: same prompts, same greedy replies, same process."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch

from speechllm import progress
from speechllm.models.decoding import Decoder
from speechllm.models.reply import TextReplier, stop_ids

PLAIN_BATCH = 64
"""Of the plain run: padded batches in arrival order."""


def bench_generation(
    replier: TextReplier, texts: Sequence[str], max_new_tokens: int, batch_size: int
) -> dict[str, Any]:
    """Measures both ways on the same rendered prompts.

    Returns:
        `ratio` of the two rates, both in tokens a second (`fast_tokens_per_second`, `plain_tokens_per_second`;
        a reply's tokens with the one that ends it, padding not counted), seconds, tokens, and `same_replies`, the share
        of replies that agree token by token.
    """
    model, tokenizer = replier.model, replier.tokenizer
    stops = stop_ids(model, tokenizer, replier.renderer)
    ids: list[list[int]] = tokenizer(list(texts), add_special_tokens=False)["input_ids"]
    Decoder(model, stops, 2)(ids[:2], max_new_tokens=2)  # memory and kernels warm for both
    with progress.task("plain model.generate", len(ids)) as bar:
        started = time.perf_counter()
        plain: list[list[int]] = []
        for at in range(0, len(ids), PLAIN_BATCH):
            batch = {"input_ids": ids[at : at + PLAIN_BATCH]}
            inputs = tokenizer.pad(batch, padding_side="left", return_tensors="pt").to(model.device)
            out = model.generate(
                **inputs,
                max_new_tokens=max_new_tokens,
                do_sample=False,
                temperature=None,
                top_p=None,
                eos_token_id=stops,
                pad_token_id=tokenizer.pad_token_id,
            )
            plain += [_cut(row, stops) for row in out[:, inputs["input_ids"].shape[1] :].tolist()]
            bar.advance(len(batch["input_ids"]))
        plain_seconds = time.perf_counter() - started
    with progress.task("this package", len(ids)) as bar:
        started = time.perf_counter()
        fast = Decoder(model, stops, batch_size)(ids, max_new_tokens=max_new_tokens, finished=bar.advance)
        fast_seconds = time.perf_counter() - started
    rates = [sum(map(len, fast)) / fast_seconds, sum(map(len, plain)) / plain_seconds]
    return {
        "ratio": round(rates[0] / rates[1], 3),
        "fast_tokens_per_second": round(rates[0], 1),
        "plain_tokens_per_second": round(rates[1], 1),
        "fast_seconds": round(fast_seconds, 2),
        "plain_seconds": round(plain_seconds, 2),
        "same_replies": round(sum(a == b for a, b in zip(fast, plain, strict=True)) / len(ids), 4),
        "prompts": len(ids),
        "tokens": sum(map(len, plain)),
        "mean_reply_tokens": round(sum(map(len, plain)) / len(ids), 1),
        "max_new_tokens": max_new_tokens,
        "batch_size": batch_size,
        "dtype": str(model.dtype).removeprefix("torch."),
        "device": str(model.device),
        "threads": torch.get_num_threads(),
    }


def _cut(ids: list[int], stops: Sequence[int]) -> list[int]:
    end = next((at for at, token in enumerate(ids) if token in stops), None)
    return ids if end is None else ids[: end + 1]
