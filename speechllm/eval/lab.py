"""What an experiment of several arms found: skill and forgetting at each checkpoint, read from its evaluations."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from speechllm.data.jsonl import text_lines
from speechllm.errors import SpeechLLMError
from speechllm.eval.asking import CEILING, MODEL
from speechllm.eval.evaluation import RESPONSES, RESULTS
from speechllm.eval.table import number, part

TEXT = {"json_rate": "JSON on text", "refusal_rate": "refusals on text", "perplexity": "perplexity"}
"""Measures of text retention that both the model and the untouched LLM have, and what their columns are called."""


@dataclass(frozen=True)
class Point:
    """One checkpoint; shares are between 0 and 1, None where something was not measured."""

    step: int
    """Optimiser steps from the start, those of the warm-up too."""
    folder: Path
    """Of the evaluation."""
    skill: float | None
    """Mean accuracy over the attributes that are to be heard."""
    accuracy: Mapping[str, float]
    """By task."""
    json: float | None
    """Share of replies that hold JSON where the question, about audio, asks for it."""
    followed: float | None
    """Share of replies that keep to the rule that the question, about audio, gives."""
    changed: float | None
    """Share of replies to text instructions that are not those of the untouched LLM, letter for letter."""
    kl: float | None
    """From the untouched LLM's predictions on text, in nats a token."""
    gap: float | None = None
    """The speech-text gap, in nats a token."""
    right: float | None = None
    """Share of replies that hold JSON with the right answer where the question, about audio, asks for JSON."""
    text: Mapping[str, float] = field(default_factory=dict)
    """On text without audio, of TEXT what was measured."""


@dataclass(frozen=True)
class Course:
    """One run: an arm with a seed, and its points in the order of training."""

    arm: str
    seed: int
    points: Sequence[Point]
    seconds: float | None = None
    """That the steps of training took."""


@dataclass(frozen=True)
class Ceiling:
    """The untouched LLM with the true description."""

    skill: float | None
    json: float | None
    followed: float | None
    accuracy: Mapping[str, float] = field(default_factory=dict)
    """By task."""
    text: Mapping[str, float] = field(default_factory=dict)
    """On text without audio, of TEXT what was measured."""
    right: float | None = None
    """Share of replies that hold JSON with the right answer."""


def read_courses(folder: Path) -> tuple[list[Course], Ceiling]:
    """Reads `folder`/ARM/seed-S/eval/CHECKPOINT/results.json, as `speechllm lab run` leaves them.

    A run that goes on from another begins with the point at which that one ended.

    Raises:
        SpeechLLMError: nothing there is evaluated yet, or a file is broken; names it.
    """
    courses: dict[Path, Course] = {}
    starts: dict[Path, Path] = {}
    ceiling = Ceiling(None, None, None)
    for run in sorted(Path(folder).glob("*/seed-*")):
        found = sorted((run / "eval").glob(f"*/{RESULTS}"))
        if not found:
            continue
        told = _read(run / "config.json")
        stages = [int(stage["steps"]) for stage in told["stages"]]
        points = sorted((_point(path, stages) for path in found), key=lambda point: point.step)
        courses[run] = Course(run.parent.name, int(run.name.removeprefix("seed-")), points, _seconds(run))
        if begun := part(told, "model").get("start"):  # OUT/ARM/seed-S/checkpoint, from where `lab run` was called
            starts[run] = Path(folder, *Path(begun).parts[-3:-1])
        results = _read(found[0])
        ceiling = Ceiling(
            number(part(results, "mean_accuracy").get(CEILING)),
            _in_form(results, "json_retention", "found", CEILING),
            _in_form(results, "instruction_following", "followed", CEILING),
            _accuracy(results, CEILING),
            _on_text(results, "untouched"),
            right=_in_form(results, "json_retention", "right", CEILING),
        )
    if not courses:
        raise SpeechLLMError(f"{folder}: holds no ARM/seed-S/eval/*/{RESULTS}; run `speechllm lab run` first")
    return [_whole(run, courses, starts) for run in courses], ceiling


def _whole(run: Path, courses: Mapping[Path, Course], starts: Mapping[Path, Path]) -> Course:
    """A course with the last point of the one that it goes on from."""
    course = courses[run]
    if run not in starts or starts[run] not in courses:
        return course
    first = _whole(starts[run], courses, starts).points[-1]
    later = [replace(point, step=first.step + point.step) for point in course.points]
    return replace(course, points=[first, *later])


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise SpeechLLMError(
            f"{path}: cannot be read ({error}); delete it and run `speechllm lab run` again"
        ) from error


def _point(path: Path, stages: Sequence[int]) -> Point:
    results = _read(path)
    text = part(results, "text_retention")
    same, n = number(text.get("identical_replies")), number(text.get("n"))
    return Point(
        step=_step(path.parent.name, stages),
        folder=path.parent,
        skill=number(part(results, "mean_accuracy").get(MODEL)),
        accuracy=_accuracy(results, MODEL),
        json=_in_form(results, "json_retention", "found", MODEL),
        followed=_in_form(results, "instruction_following", "followed", MODEL),
        changed=None if same is None or not n else 1 - same / n,
        kl=number(text.get("kl")),
        gap=number(part(results, "gap").get("kl")),
        text=_on_text(results, "model"),
        right=_in_form(results, "json_retention", "right", MODEL),
    )


def _accuracy(results: Mapping[str, Any], system: str) -> dict[str, float]:
    """By task, those that ask for JSON aside."""
    told = part(results, "accuracy")
    known = {name: number(part(told, name).get(system)) for name in told if not name.startswith("json.")}
    return {name: value for name, value in known.items() if value is not None}


def _on_text(results: Mapping[str, Any], who: str) -> dict[str, float]:
    """Of `who`, `model` or `untouched`, the measures in TEXT."""
    told = part(results, "text_retention")
    known = {name: number(part(told, name).get(who)) for name in TEXT}
    return {name: value for name, value in known.items() if value is not None}


def _in_form(results: Mapping[str, Any], section: str, name: str, system: str) -> float | None:
    """The share `name` (`found`, `right`, `followed`) of a system in a section of results.json about forms."""
    return number(part(part(results, section), system).get(name))


def _seconds(run: Path) -> float | None:
    """The sum over the steps of a run's log, so that what lies between two parts of a run does not count."""
    log, stages = run / "log.jsonl", _read(run / "config.json")["stages"]
    if not log.exists():
        return None
    steps = [json.loads(line) for line in text_lines(log)]
    return sum(stages[step["stage"]]["batch_size"] / step["examples_per_second"] for step in steps if "loss" in step)


def _step(checkpoint: str, stages: Sequence[int]) -> int:
    """Steps up to a checkpoint: `stage-K-step-N`, or the trained one."""
    words = checkpoint.split("-")
    return sum(stages[: int(words[1])]) + int(words[3]) if words[0] == "stage" else sum(stages)


def spread(values: Iterable[float | None]) -> str:
    """Mean and, of several, the sample's standard deviation, both in percent; a dash for none."""
    known = [100 * value for value in values if value is not None]
    if not known:
        return "–"
    mean = f"{statistics.fmean(known):.0f} %"
    return mean if len(known) == 1 else f"{mean} ± {statistics.stdev(known):.0f}"


def arm_rows(courses: Sequence[Course], ceiling: Ceiling) -> list[dict[str, str]]:
    """A row for each arm over its seeds, at the end of training, and the ceiling first."""
    rows = [_row(UNTOUCHED, [_untouched(ceiling)], ceiling)]
    for arm in dict.fromkeys(course.arm for course in courses):
        runs = [course for course in courses if course.arm == arm]
        rows.append(_row(arm, [run.points[-1] for run in runs], ceiling, [run.seconds for run in runs]))
    return rows


def task_rows(courses: Sequence[Course], ceiling: Ceiling) -> list[dict[str, str]]:
    """Accuracy of each arm on each task over its seeds, at the end of training, and the ceiling first."""
    ends = {UNTOUCHED: [_untouched(ceiling)]}
    for course in courses:
        ends.setdefault(course.arm, []).append(course.points[-1])
    tasks = dict.fromkeys(task for points in ends.values() for point in points for task in point.accuracy)
    return [
        {"arm": arm, **{task: spread(point.accuracy.get(task) for point in points) for task in tasks}}
        for arm, points in ends.items()
    ]


UNTOUCHED = "untouched LLM, true description"


def _untouched(ceiling: Ceiling) -> Point:
    values = (ceiling.skill, ceiling.accuracy, ceiling.json, ceiling.followed)
    return Point(0, Path(), *values, changed=0.0, kl=0.0, text=ceiling.text, right=ceiling.right)


def _row(arm: str, ends: Sequence[Point], ceiling: Ceiling, seconds: Sequence[float | None] = ()) -> dict[str, str]:
    return {
        "arm": arm,
        "seeds": str(len(ends)),
        "accuracy": spread(point.skill for point in ends),
        "JSON under audio": spread(point.json for point in ends),
        "right in JSON": spread(point.right for point in ends),
        "rules under audio": spread(point.followed for point in ends),
        "of the ceiling's JSON": spread(share(point.json, ceiling.json) for point in ends),
        "of its rules": spread(share(point.followed, ceiling.followed) for point in ends),
        "text replies changed": spread(point.changed for point in ends),
        "KL on text": _mean([point.kl for point in ends], 3),
        TEXT["json_rate"]: spread(point.text.get("json_rate") for point in ends),
        TEXT["refusal_rate"]: spread(point.text.get("refusal_rate") for point in ends),
        TEXT["perplexity"]: _mean([point.text.get("perplexity") for point in ends], 1),
        "speech-text gap": _mean([point.gap for point in ends], 3),
        "seconds of training": _mean(seconds, 0),
    }


def _mean(values: Iterable[float | None], digits: int) -> str:
    known = [value for value in values if value is not None]
    return f"{statistics.fmean(known):.{digits}f}" if known else "–"


def share(value: float | None, whole: float | None) -> float | None:
    """What a value is of the ceiling's; above 1 where it is better."""
    return value / whole if value is not None and whole else None


def examples(course: Course, questions: int = 1) -> list[dict[str, Any]]:
    """The same first questions of every task and what the model replied at each checkpoint."""
    found = []
    for path in sorted((course.points[0].folder / RESPONSES).glob(f"*.{MODEL}.jsonl")):
        for k in range(questions):
            rows = [_line(point.folder / RESPONSES / path.name, k) for point in course.points]
            if rows[0] is not None:
                said = [(p.step, row["response"]) for p, row in zip(course.points, rows, strict=True) if row]
                found.append({"prompt": rows[0]["prompt"], "label": rows[0]["label"], "replies": said})
    return found


def _line(path: Path, k: int) -> dict[str, Any] | None:
    lines = text_lines(path) if path.exists() else []
    return dict(json.loads(lines[k])) if k < len(lines) else None
