"""Experiments of several arms: train and evaluate them, and draw what came out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from speechllm.commands.arguments import Positional
from speechllm.config import EvaluationConfig

DEFAULTS = EvaluationConfig(forms=True)

Arms = Annotated[tuple[Path, ...], Positional, tyro.conf.arg(metavar="ARM...")]
Laboratory = Annotated[Path, Positional, tyro.conf.arg(metavar="DIR")]


def lab_run(
    arms: Arms,
    out: Path,
    seeds: tuple[int, ...] = (0,),
    tasks: tuple[str, ...] = (),
    data: Path | None = None,
    manifest: Path | None = None,
    prompts: Path | None = None,
    targets: Path | None = None,
    start: str | None = None,
    set: tuple[str, ...] = (),
    config: EvaluationConfig = DEFAULTS,
) -> None:
    """Trains every arm with every seed and evaluates each checkpoint that was kept; goes on where it stopped.

    On several devices, call it once for each with arms of its own and the same --out.

    Args:
        arms: Training configs (TOML), one an arm; a run goes to OUT/ARM/seed-S, whatever their `out` says.
        out: Folder of the experiment.
        seeds: Seeds to train each arm with.
        tasks: Tasks by name, such as `sakura.emotion.open`, or TOML files of your own.
        data: Folder of the benchmarks that the tasks need.
        manifest: Labelled utterances that were not trained on: a task for each prompt.
        prompts: Prompts file; the first prompt of each kind is asked.
        targets: Targets about the manifest: how far is what the LLM predicts after hearing from what it does reading?
        start: Name of an arm that was run in OUT before: a warm-up, say, which all these go on from, seed by seed.
        set: Changes to the configs of all arms, each KEY=VALUE with VALUE as in TOML.
        config: How to ask.
    """
    from speechllm.errors import SpeechLLMError
    from speechllm.eval.sources import asked_for
    from speechllm.laboratory import run_arms
    from speechllm.targets.records import read_about

    if not arms:
        raise SpeechLLMError("give at least one arm: a training config (TOML)")
    found = asked_for(tasks, data, manifest, prompts)
    run_arms(arms, found, out, config, seeds, set, read_about(manifest, targets), start)


def lab_report(folder: Laboratory) -> None:
    """Draws skill against forgetting from DIR, where `lab run` left its evaluations, and writes the table.

    Args:
        folder: Folder of the experiment; lab.html, lab.md, against.png and curves.png are written there.
    """
    from speechllm.eval.lab_report import write_lab_report

    for path in write_lab_report(folder):
        print(path)
