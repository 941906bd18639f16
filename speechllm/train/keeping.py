"""Adapter checkpoints of a run under way: the last few, and the best by validation."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from speechllm.config import TrainConfig
from speechllm.export import TrainingFacts, write_checkpoint
from speechllm.train.objectives import Context

CHECKPOINTS = "checkpoints"


def keep_checkpoint(context: Context, config: TrainConfig, name: str, facts: TrainingFacts) -> None:
    """Writes `checkpoints/NAME` and removes all but the last `keep_last` there."""
    if config.keep_last == 0:
        return
    folder = config.out / CHECKPOINTS
    write_checkpoint(context.model, context.processor, folder / name, facts)
    for old in kept_checkpoints(config.out)[: -config.keep_last]:
        shutil.rmtree(old)


def kept_checkpoints(out: Path) -> list[Path]:
    """The adapter checkpoints on the way of a run in `out`, in the order of training."""
    return sorted((out / CHECKPOINTS).glob("stage-*"), key=lambda path: [int(n) for n in re.findall(r"\d+", path.name)])
