"""How a stage gets on: rates, share of the machine's peak arithmetic, memory, time left."""

from __future__ import annotations

import functools
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from speechllm.config import ModelConfig
from speechllm.train.data import Example
from speechllm.train.machine import matmul_peak, peak_memory
from speechllm.train.objectives import Objective
from speechllm.train.order import length
from speechllm.train.ranks import Ranks
from speechllm.train.steps import Outcome

RECENT = 20
"""Steps over whose mean time the time left is told."""


@functools.cache
def _peak(device: torch.device, dtype: torch.dtype) -> float:
    return matmul_peak(device, dtype)


class Meter:
    """Measures the steps of one stage.

    The arithmetic of its first micro-batch is counted and taken for all, in proportion to the length of the examples.
    Products inside torch's attention kernel for the CPU are not counted, nor anything where layers are compiled or
    sharded: there the share of the peak is not told.
    """

    def __init__(self, config: ModelConfig, ranks: Ranks, dtype: torch.dtype) -> None:
        self._ranks = ranks
        self._dtype = dtype
        self._counts = not (config.compile or config.shard)
        self._flops_per_length: float | None = None
        self._recent: deque[float] = deque(maxlen=RECENT)

    def count(self, objective: Objective, batch: Sequence[Example], step: int) -> None:
        """Counts the arithmetic of a batch, in passes of its own: under the counter kernels may round differently."""
        if not self._counts:
            return
        with FlopCounterMode(display=False) as counter:
            loss, _ = objective(batch, step)
            loss.backward()
        self._flops_per_length = counter.get_total_flops() / max(sum(map(length, batch)), 1)

    def measure(
        self, take: Callable[[], Outcome], batch: Sequence[Example], steps_left: int
    ) -> tuple[Outcome, dict[str, Any]]:
        """Takes a step; returns its outcome and what the log says about how it went."""
        started = time.monotonic()
        outcome = take()
        seconds = time.monotonic() - started
        self._recent.append(seconds)
        return outcome, {
            "examples_per_second": len(batch) / seconds,
            "audio_seconds_per_second": sum(example.utterance.duration for example in batch) / seconds,
            "items_per_second": outcome.items / seconds,
            "share_of_peak": self._share(sum(map(length, batch)), seconds),
            "memory_gb": round(peak_memory(self._ranks.device), 3),
            "seconds_left": round(sum(self._recent) / len(self._recent) * steps_left, 1),
        }

    def _share(self, size: float, seconds: float) -> float | None:
        if self._flops_per_length is None:
            return None
        peak = self._ranks.count * _peak(self._ranks.device, self._dtype)
        return round(self._flops_per_length * size / seconds / peak, 4)
