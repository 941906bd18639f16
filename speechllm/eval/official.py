"""Replies written as a benchmark publishes responses, and scored by the very scorer of `speechllm score`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from speechllm.data.jsonl import written_aside
from speechllm.eval.asking import CEILING
from speechllm.eval.benchmarks import registry
from speechllm.eval.benchmarks.benchmark import Inputs
from speechllm.eval.hearing import Answers
from speechllm.eval.judges import Judge

FOLDER, SCORES = "official", "scores.json"
"""Under the folder of an evaluation; `official`/BENCHMARK.SYSTEM/`scores` is what `speechllm score --out` writes."""


def official_scores(answered: Sequence[Answers], out: Path, judge: Judge | None = None) -> dict[str, Any]:
    """Writes the replies to tasks of benchmarks under `out`/official and scores them.

    The files there are those that `speechllm score` takes, to be scored again, say by another judge.

    Args:
        answered: replies to any tasks; those without `official` are passed over.
        out: folder of the evaluation.
        judge: decides what no rule does; without one, such rows are counted as not judged.

    Returns:
        benchmark -> system -> what `speechllm score` prints; a system is compared with the ceiling, which is the text
        LLM alone, where the benchmark compares.
    """
    found: dict[str, list[Answers]] = {}
    for answers in answered:
        if answers.task.official is not None:
            found.setdefault(answers.task.official.benchmark, []).append(answers)
    return {name: _scores(name, answers, out / FOLDER, judge) for name, answers in found.items()}


def _scores(name: str, answered: Sequence[Answers], folder: Path, judge: Judge | None) -> dict[str, Any]:
    benchmark = registry.find(name)
    systems = list(answered[0].replies)
    scores: dict[str, Any] = {}
    for system in sorted(systems, key=lambda s: s != CEILING):  # the others are compared with it
        of_system = folder / f"{name}.{system}"
        files = [write_responses(answers, system, of_system) for answers in answered]
        reference = of_system.with_name(f"{name}.{CEILING}") / "scores" / SCORES
        known = scores.get(CEILING, {}).get("metrics", {}).get("IFrate")
        compared = reference if benchmark.compared and known is not None else None
        inputs = Inputs(files, judge=judge if benchmark.judged else None, reference=compared)
        told = registry.score(name, inputs, of_system / "scores")
        scores[system] = {**told, "notes": [*told["notes"], *_cut_short(answered, system)]}
    return {system: scores[system] for system in systems}


def _cut_short(answered: Sequence[Answers], system: str) -> list[str]:
    replies = [reply for answers in answered for reply in answers.replies[system]]
    cut = sum(reply.finish_reason == "length" for reply in replies)
    return [f"{cut} of {len(replies)} responses were cut short; raise --max-new-tokens"] if cut else []


def write_responses(answers: Answers, system: str, folder: Path) -> Path:
    """The replies of a system to a task of a benchmark's as a file of its, each beside the question's own row."""
    official = answers.task.official
    assert official is not None
    path = folder / official.file
    pairs = zip(answers.task.questions, answers.replies[system], strict=True)
    rows = [(question.prompt.id, {**question.row, official.holds: reply.text}) for question, reply in pairs]
    with written_aside(path) as file:
        if path.suffix == ".jsonl":
            file.writelines(_json(row) + "\n" for _, row in rows)
        else:
            file.write(_json(dict(rows), indent=2) + "\n")
    for name, value in official.beside.items():
        with written_aside(path.with_name(name)) as file:
            file.write(_json(value, indent=2) + "\n")
    return path


def _json(value: Mapping[str, Any], indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)
