"""The learning-rate range test (Smith, arXiv 1506.01186): short training at a rising rate, to see where it helps."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from speechllm import progress
from speechllm.config import StageConfig
from speechllm.data.jsonl import written_aside
from speechllm.errors import SpeechLLMError
from speechllm.train.llm import training_mode
from speechllm.train.objectives import OBJECTIVES
from speechllm.train.order import BatchOrder, mixture_of
from speechllm.train.run import Run
from speechllm.train.steps import set_rate, step_seed, take_step

LOWEST, HIGHEST, STEPS = 1e-6, 1.0, 80
SMOOTHING = 0.8
"""Share of the mean so far in the smoothed loss; batches differ more than neighbouring rates."""
DIVERGED = 3.0
"""The test of a stage ends where the smoothed loss is so many times its best."""


@dataclass(frozen=True)
class Tried:
    """One step of the test."""

    stage: int
    objective: str
    learning_rate: float
    loss: float
    smoothed: float


def find_rates(run: Run) -> dict[int, float]:
    """Tests every stage from the weights as they are; leaves `find_lr.jsonl` and `find_lr.png` in the run's folder.

    Returns:
        for each stage the rate at which the smoothed loss falls fastest.

    Raises:
        SpeechLLMError: the loss of a stage falls at no rate.
    """
    start = {name: tensor.detach().clone() for name, tensor in run.model.adapter_state().items()}
    tried: list[Tried] = []
    for number, stage in enumerate(run.config.stages):
        tried += _try_stage(run, number, stage)
        with torch.no_grad():
            for name, tensor in run.model.adapter_state().items():
                tensor.copy_(start[name])
    with written_aside(run.config.out / "find_lr.jsonl") as out:
        out.writelines(json.dumps(asdict(one)) + "\n" for one in tried)
    found = {number: steepest([t for t in tried if t.stage == number]) for number in range(len(run.config.stages))}
    _draw(tried, found, run.config.out / "find_lr.png")
    return found


def steepest(tried: list[Tried]) -> float:
    """The rate at which the smoothed loss falls fastest over the logarithm of the rate.

    Raises:
        SpeechLLMError: it falls nowhere.
    """
    falls = [b.smoothed - a.smoothed for a, b in itertools.pairwise(tried)]
    if not falls or min(falls) >= 0:
        raise SpeechLLMError(
            f"stage {tried[0].stage if tried else 0}: the loss falls at no learning rate; look at the data"
        )
    return tried[falls.index(min(falls))].learning_rate


def _try_stage(run: Run, number: int, stage: StageConfig) -> list[Tried]:
    objective = OBJECTIVES[stage.objective](run.context, stage)
    examples = run.examples[stage.objective]
    order = BatchOrder(mixture_of(examples, run.config.data, run.config.seed), None, stage.batch_size, run.config.seed)
    optimizer = torch.optim.AdamW(run.model.adapter_state().values(), betas=(0.9, 0.98), weight_decay=0.0)
    training_mode(run.model)
    tried: list[Tried] = []
    mean = 0.0
    with progress.task(f"find learning rate: {stage.objective}", STEPS) as bar:
        for step in range(STEPS):
            rate = LOWEST * (HIGHEST / LOWEST) ** (step / (STEPS - 1))
            torch.manual_seed(step_seed(run.config.seed, number, step, run.ranks.index))
            set_rate(optimizer, rate)
            outcome = take_step(objective, [examples[i] for i in order[step]], step, stage, optimizer, run.ranks)
            mean = SMOOTHING * mean + (1 - SMOOTHING) * outcome.loss
            smoothed = mean / (1 - SMOOTHING ** (step + 1))
            best = min((one.smoothed for one in tried), default=math.inf)
            if not outcome.taken or smoothed > DIVERGED * best:
                break
            tried.append(Tried(number, stage.objective, rate, outcome.loss, smoothed))
            bar.advance(1, f"lr {rate:.1e}  loss {outcome.loss:.3f}")
    return tried


def _draw(tried: list[Tried], found: dict[int, float], path: Path) -> None:
    """Loss over rate, a panel a stage, the found rate marked."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5 * len(found), 3.5), layout="constrained")
    FigureCanvasAgg(figure)
    for number, rate in found.items():
        axes = figure.add_subplot(1, len(found), number + 1)
        of_stage = [one for one in tried if one.stage == number]
        rates = [one.learning_rate for one in of_stage]
        axes.plot(rates, [one.loss for one in of_stage], color="0.8", label="loss")
        axes.plot(rates, [one.smoothed for one in of_stage], label="smoothed")
        axes.axvline(rate, color="C3", linestyle="--", label=f"falls fastest: {rate:.1e}")
        axes.set(xscale="log", xlabel="learning rate", ylabel="loss", title=f"{number}: {of_stage[0].objective}")
        axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
