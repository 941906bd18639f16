"""Adapter checkpoints of a run under way: the last few, and the best by validation."""

from __future__ import annotations

import shutil

from speechllm.config import TrainConfig
from speechllm.export import TrainingFacts, write_checkpoint
from speechllm.train.objectives import Context

CHECKPOINTS = "checkpoints"


def keep_checkpoint(context: Context, config: TrainConfig, name: str, facts: TrainingFacts) -> None:
    """Writes `checkpoints/NAME` and removes all but the last `keep_last` there; names sort as the steps they are of."""
    if config.keep_last == 0:
        return
    folder = config.out / CHECKPOINTS
    write_checkpoint(context.model, context.processor, folder / name, facts)
    for old in sorted(folder.glob("stage-*"))[: -config.keep_last]:
        shutil.rmtree(old)
