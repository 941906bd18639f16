"""Objectives: what a training step minimises."""

from collections.abc import Callable

from speechllm.config import StageConfig
from speechllm.train.objectives.alignment import EmbeddingAlignment
from speechllm.train.objectives.base import Context, Objective
from speechllm.train.objectives.on_policy import GroupRelativePolicy, OnPolicyDistillation
from speechllm.train.objectives.replies import CrossEntropy, Distillation

__all__ = [
    "OBJECTIVES",
    "Context",
    "CrossEntropy",
    "Distillation",
    "EmbeddingAlignment",
    "GroupRelativePolicy",
    "Objective",
    "OnPolicyDistillation",
]

OBJECTIVES: dict[str, Callable[[Context, StageConfig], Objective]] = {
    "embedding_alignment": EmbeddingAlignment,
    "cross_entropy": CrossEntropy,
    "distillation": Distillation,
    "on_policy": OnPolicyDistillation,
    "grpo": GroupRelativePolicy,
}
