"""Evaluations side by side: what `speechllm eval` wrote of several runs, or of checkpoints of one, as one structure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from speechllm.eval.asking import CASCADE, CEILING, MODEL
from speechllm.eval.official_table import BENCHMARKS, official_remarks, official_rows
from speechllm.eval.paired import FORMS, against_first
from speechllm.eval.runs import Run
from speechllm.eval.table import broken_clips, number, part

HEARING = {"tasks", "accuracy", "mean_accuracy", "agreement", "wer", "ceiling_wer", "cascade_wer", "recogniser_wer"}
ABOUT = {"seconds", "total_seconds", "peak_memory_bytes", "model", "data", "machine", "prompts", "command"}
"""Sections of results.json that tell of the run; any other with numbers, but BENCHMARKS, tells what the LLM kept."""

GAP_SHOWN = ("by_strategy", "by_kind")
GAP_GROUPS = {*GAP_SHOWN, "by_prompt", "by_attribute"}
"""Groups of the speech-text gap; those by prompt and by attribute may be hundreds: results.json alone has them."""

MOST_LABELS = 16
"""Of answers in a confusion matrix; where the options change with the question there are more, and nothing to see."""

FEW = 3
"""Examples of each kind."""


def compare(runs: Sequence[Run]) -> dict[str, Any]:
    """Everything that the page, the Markdown and the JSON show.

    Returns:
        `runs` (names); `tasks`: rows with `task`, `group`, `metric`, `rule`, and `runs`, one cell a run or None: `n`,
        `chance` and, for each system, `value`, `interval`; `against_first` (see `paired.against_first`); `groups`: rows
        with `group` and `runs`, one cell a run: mean accuracy over the group's tasks of each system and chance;
        `mean_accuracy` and `retention` (rows with `name` and `values`), one value a run; `official`, what benchmarks'
        own scorers say: rows with `benchmark`, `name` and `runs`, a mapping of system to value each, and `remarks` on
        them (rows with `benchmark`, `run` and `text`); `broken`, a sentence for each run with clips that could not be
        decoded; `confusion` (of tasks with up to MOST_LABELS answers) and `examples` of the models;
        `without_examples`, the runs whose folders tell no answers.
    """
    return {
        "runs": [run.name for run in runs],
        "tasks": [_task_row(name, runs) for name in _union(part(run.results, "tasks") for run in runs)],
        "against_first": against_first(runs),
        "groups": _groups(runs),
        "mean_accuracy": [dict(part(run.results, "mean_accuracy")) for run in runs],
        "retention": _retention(runs),
        "official": _official(runs),
        "remarks": [
            {"benchmark": benchmark, "run": run.name, "text": text}
            for run in runs
            for benchmark, texts in official_remarks(run.results).items()
            for text in texts
        ],
        "broken": [f"{run.name}: {text}" for run in runs if (text := broken_clips(run.results))],
        "confusion": list(_confusions(runs)),
        "examples": [example for run in runs for example in _examples(run)],
        "without_examples": [run.name for run in runs if run.answers is None],
    }


def _union(mappings: Iterable[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(key for mapping in mappings for key in mapping))


def group_of(task: str) -> str:
    """The first part of a task's name: the benchmark, or the task itself."""
    return task.partition(".")[0]


def _task_row(name: str, runs: Sequence[Run]) -> dict[str, Any]:
    found = [part(part(run.results, "tasks"), name) for run in runs]
    first = next(told for told in found if told)
    row = {"task": name, "group": group_of(name), "metric": first.get("metric"), "rule": first.get("rule") or ""}
    return {**row, "runs": [_cell(told) if told else None for told in found]}


def _cell(told: Mapping[str, Any]) -> dict[str, Any]:
    systems = part(told, "systems")
    scores = {s: {"value": systems[s].get("value"), "interval": systems[s].get("interval")} for s in systems}
    return {"version": told.get("version"), "n": told.get("n"), "chance": told.get("chance"), "systems": scores}


def _groups(runs: Sequence[Run]) -> list[dict[str, Any]]:
    names = _union({group_of(task): 1 for task in part(run.results, "accuracy")} for run in runs)
    return [{"group": name, "runs": [_group_means(run, name) for run in runs]} for name in names]


def _group_means(run: Run, group: str) -> dict[str, float]:
    accuracy = part(run.results, "accuracy")
    rows = [part(accuracy, task) for task in accuracy if group_of(task) == group]
    means = {}
    for column in (MODEL, CEILING, CASCADE, "chance"):
        shares = [share for row in rows if (share := number(row.get(column))) is not None]
        if rows and len(shares) == len(rows):
            means[column] = sum(shares) / len(shares)
    return means


def _retention(runs: Sequence[Run]) -> list[dict[str, Any]]:
    found = [dict(_numbers(_kept(run.results))) for run in runs]
    return [{"name": name, "values": [numbers.get(name) for numbers in found]} for name in _union(found)]


def _kept(results: Mapping[str, Any]) -> dict[str, Any]:
    """The sections that tell what the LLM kept; of the gap by groups the divergence alone, and no row a prompt."""
    about = {*HEARING, *ABOUT, BENCHMARKS}
    kept = {name: value for name, value in results.items() if name not in about and isinstance(value, Mapping)}
    if "gap" in kept:
        kept["gap"] = {name: value for name, value in kept["gap"].items() if name not in GAP_GROUPS} | {
            name: {group: part(rows, group).get("kl") for group in rows}
            for name in GAP_SHOWN
            if (rows := part(kept["gap"], name))
        }
    return kept


def _official(runs: Sequence[Run]) -> list[dict[str, Any]]:
    found = [official_rows(run.results) for run in runs]
    return [
        {"benchmark": benchmark, "name": name, "runs": [told.get(benchmark, {}).get(name, {}) for told in found]}
        for benchmark in _union(found)
        for name in _union(told.get(benchmark, {}) for told in found)
    ]


def _numbers(value: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, float]]:
    for key, inner in value.items():
        name = f"{above}.{key}" if above else str(key)
        if isinstance(inner, Mapping):
            yield from _numbers(inner, name)
        elif (found := number(inner)) is not None:
            yield name, found


def _confusions(runs: Sequence[Run]) -> Iterator[dict[str, Any]]:
    for run in runs:
        for task, told in part(run.results, "tasks").items():
            scores = part(part(told, "systems"), MODEL)
            if group_of(task) not in FORMS and scores.get("confusion") and len(scores["labels"]) <= MOST_LABELS:
                yield {"run": run.name, "task": task, "labels": scores["labels"], "counts": scores["confusion"]}


def _examples(run: Run) -> Iterator[dict[str, Any]]:
    """A few right, wrong and unanswered replies of the model, in turn from each task."""
    kept: dict[str, list[list[dict[str, Any]]]] = {"right": [], "wrong": [], "no answer": []}
    for task in run.judged_tasks():
        rows = run.judged(task)
        for verdict, lists in kept.items():
            lists.append([{"run": run.name, **row} for row in rows if row["verdict"] == verdict][:FEW])
    for lists in kept.values():
        in_turn = (rows[at] for at in range(FEW) for rows in lists if at < len(rows))
        yield from (row for row, _ in zip(in_turn, range(FEW), strict=False))
