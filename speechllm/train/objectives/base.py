"""What all objectives are: functions of a batch that return a sum and a count, so that any split of it adds up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from speechllm.models.modeling import SpeechLLM
from speechllm.models.processing import SpeechLLMProcessor
from speechllm.train.data import AudioStore, Example
from speechllm.train.teacher import TeacherCache


@dataclass(frozen=True)
class Context:
    """What all objectives work with."""

    model: SpeechLLM
    processor: SpeechLLMProcessor
    audio: AudioStore
    attributes: list[str] | None
    transcript_dropout: float
    seed: int
    teacher: TeacherCache | None = None
    """Where predictions of the LLM that reads the description are kept, for training; none computes them anew."""


class Objective(Protocol):
    """Sum of the loss over the items of a batch, and their number; `step` seeds whatever is drawn at random."""

    def __call__(self, batch: Sequence[Example], step: int) -> tuple[torch.Tensor, int]:
        """Returns (sum, count); the sum is differentiable."""
        ...
