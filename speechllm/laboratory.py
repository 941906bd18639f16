"""Experiments of several arms: each trained with every seed, and evaluated at every checkpoint that it kept.

An arm is a training config; the folder of its run, `OUT/ARM/seed-S`, holds an evaluation of every checkpoint in
`eval/CHECKPOINT`. What stands is not done again.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from speechllm.config import EvaluationConfig, TrainConfig, load_toml
from speechllm.data.manifest import Utterance
from speechllm.errors import SpeechLLMError, did_you_mean
from speechllm.eval.asking import CEILING, MODEL
from speechllm.eval.evaluation import RECOGNISED, RESPONSES, RESULTS, evaluate
from speechllm.eval.tasks import Task
from speechllm.targets.records import TargetRecord
from speechllm.train.keeping import kept_checkpoints
from speechllm.train.loop import train

TRAINED = "checkpoint"
"""The checkpoint at the end of a run; those on the way are named after their stage and step."""

EVALUATIONS, UNTOUCHED = "eval", "untouched"


def run_arms(
    arms: Sequence[Path],
    tasks: Sequence[Task],
    out: Path,
    config: EvaluationConfig,
    seeds: Sequence[int] = (0,),
    changes: Sequence[str] = (),
    about: tuple[Sequence[Utterance], Sequence[TargetRecord]] | None = None,
    start: str | None = None,
) -> None:
    """Trains and evaluates; killed and called again, it goes on where it was.

    What the untouched LLM says to the questions is the same for every checkpoint and asked once.

    Args:
        arms: training configs; the name of the file is that of the arm, and `out` in them is not used.
        tasks: what each checkpoint is asked.
        out: folder of the experiment.
        config: how it is asked.
        seeds: each arm is trained with each of them.
        changes: `KEY=VALUE` each, as for `load_toml`, the same for all arms.
        about: utterances, and records about them on which the speech-text gap is measured.
        start: name of an arm that was run in `out` before; each seed goes on from where it ended with that seed.

    Raises:
        SpeechLLMError: `start` was not run with a seed; two arms of one name; a run or an evaluation in `out` was made
            with other settings.
    """
    names = [arm.stem for arm in arms]
    if twice := {name for name in names if names.count(name) > 1}:
        raise SpeechLLMError(f"arms of the same name: {', '.join(sorted(twice))}; rename a file")
    configs = [load_toml(arm, TrainConfig, changes) for arm in arms]  # a mistake in the last arm shows at once
    for seed in seeds:
        if start is not None:
            begun = _end_of(start, seed, out)
            configs = [replace(values, model=replace(values.model, start=str(begun))) for values in configs]
        for name, values in zip(names, configs, strict=True):
            run = replace(values, out=out / name / f"seed-{seed}", seed=seed)
            if not _trained(run):
                train(run)
            for checkpoint in checkpoints(run.out):
                _evaluate(checkpoint, run.out / EVALUATIONS / checkpoint.name, tasks, out / UNTOUCHED, config, about)


def _end_of(arm: str, seed: int, out: Path) -> Path:
    """The trained checkpoint of an arm that was run before."""
    trained = out / arm / f"seed-{seed}" / TRAINED
    if not (trained / "config.json").exists():
        known = [path.parent.parent.name for path in out.glob(f"*/seed-{seed}/{TRAINED}")]
        near = did_you_mean(arm, known) if known else ""
        raise SpeechLLMError(f"{trained}: is not there yet; run the arm {arm} with seed {seed} first{near}")
    return trained


def checkpoints(run: Path) -> list[Path]:
    """Folders of the adapter checkpoints of a run, in the order of training; the last is the trained one."""
    return [*kept_checkpoints(run), run / TRAINED]


def _trained(config: TrainConfig) -> bool:
    """Whether this very run is done; any other in its place is refused by the training."""
    done = config.out / "config.json"
    if not (config.out / TRAINED / "config.json").exists() or not done.exists():
        return False
    return bool(json.loads(done.read_text(encoding="utf-8")) == json.loads(json.dumps(asdict(config), default=str)))


def _evaluate(
    checkpoint: Path,
    out: Path,
    tasks: Sequence[Task],
    untouched: Path,
    config: EvaluationConfig,
    about: tuple[Sequence[Utterance], Sequence[TargetRecord]] | None,
) -> None:
    if (out / RESULTS).exists():
        return
    shared = untouched / _address(checkpoint, config)
    # `evaluate` asks only what no file answers, and refuses files that answer other questions.
    if shared.exists():
        shutil.copytree(shared, out, dirs_exist_ok=True)
    evaluate(str(checkpoint), tasks, out, config, about, (MODEL, CEILING))
    if not shared.exists():
        _keep_untouched(out, shared)


def _address(checkpoint: Path, config: EvaluationConfig) -> str:
    """Of all that decides what the untouched LLM says to a question."""
    model = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    told = [model["llm"], model["encoder"], config.attributes, config.max_new_tokens, config.dtype]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]


def _keep_untouched(evaluated: Path, shared: Path) -> None:
    """Copies what the LLM said that hears nothing, and what the recogniser heard, aside and renames.

    Where arms run side by side in one folder, the first that was answered is kept.
    """
    shared.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".new-", dir=shared.parent) as made:
        aside = Path(made) / shared.name
        (aside / RESPONSES).mkdir(parents=True)
        for path in (evaluated / RESPONSES).iterdir():
            if not path.name.endswith(f".{MODEL}.jsonl"):
                shutil.copy(path, aside / RESPONSES)
        if (evaluated / RECOGNISED).exists():
            shutil.copy(evaluated / RECOGNISED, aside)
        try:
            aside.rename(shared)
        except OSError:
            if not shared.exists():
                raise
