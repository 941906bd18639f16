"""One optimiser step: a batch in micro-batches whose sums share one global count, and the rate it is taken at."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

from speechllm.config import StageConfig
from speechllm.train.data import Example
from speechllm.train.objectives import Objective
from speechllm.train.ranks import Ranks


@dataclass(frozen=True)
class Outcome:
    """What a step did: mean loss over `items`, norm of the gradient before clipping, whether the weights moved."""

    loss: float
    items: int
    grad_norm: float
    taken: bool


def take_step(
    objective: Objective,
    batch: Sequence[Example],
    step: int,
    stage: StageConfig,
    optimizer: torch.optim.Optimizer,
    ranks: Ranks,
) -> Outcome:
    """Moves the optimiser's parameters against the gradient of the batch's mean loss.

    `batch` is the whole batch; each process works on its share of it, and all take the same step.

    Where the loss or a gradient is not a finite number, nothing moves and the optimiser's own state stays too.
    """
    total, count = torch.zeros(()), 0
    for part in passes(ranks.share(batch), stage):
        loss, counted = objective(part, step)
        loss.backward()
        total, count = total + loss.detach().float().cpu(), count + counted
    total_loss, items = ranks.sum(float(total), count)
    trained = [p for group in optimizer.param_groups for p in group["params"]]
    ranks.sum_gradients(trained)
    parameters = [p for p in trained if p.grad is not None]
    divide_gradients(parameters, items)
    norm = float(torch.nn.utils.clip_grad_norm_(parameters, stage.max_grad_norm))
    finite = math.isfinite(total_loss) and math.isfinite(norm)
    if finite:
        optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return Outcome(total_loss / max(items, 1), int(items), norm, finite)


def divide_gradients(parameters: Iterable[torch.Tensor], count: float) -> None:
    """Turns gradients of a sum into gradients of a mean over `count` items."""
    for parameter in parameters:
        assert parameter.grad is not None
        parameter.grad.div_(max(count, 1))


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """The rate of the steps to come."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def step_seed(seed: int, stage: int, step: int, rank: int) -> int:
    """Seed of all that is drawn within a step: what a resumed run draws does not depend on what came before."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{stage}/{step}/{rank}".encode()).digest()[:8], "big") >> 1


def learning_rate(stage: StageConfig, step: int) -> float:
    """Linear warm-up, then a cosine to zero at the last step."""
    if step < stage.warmup_steps:
        return stage.learning_rate * (step + 1) / stage.warmup_steps
    done = (step - stage.warmup_steps) / max(stage.steps - stage.warmup_steps, 1)
    return stage.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


def passes(batch: Sequence[Example], stage: StageConfig) -> list[Sequence[Example]]:
    """The micro-batches of a batch: neither more examples nor, padding counted, more audio than the stage allows."""
    parts = split(batch, stage.micro_batch_size or stage.batch_size)
    limit = stage.micro_batch_seconds
    return parts if limit is None else [short for part in parts for short in _within(part, limit)]


def _within(part: Sequence[Example], limit: float) -> list[Sequence[Example]]:
    """The examples in their order, so that random draws stay what they are, cut where the longest times their number
    would pass the limit; one alone may."""
    found: list[list[Example]] = [[]]
    longest = 0.0
    for example in part:
        longest = max(longest, example.utterance.duration)
        if found[-1] and longest * (len(found[-1]) + 1) > limit:
            found.append([])
            longest = example.utterance.duration
        found[-1].append(example)
    return list(found)


def split(batch: Sequence[Example], size: int) -> list[Sequence[Example]]:
    """Micro-batches of at most `size` examples."""
    return [batch[at : at + size] for at in range(0, len(batch), size)]
