"""MMAU and MMAR: multiple choice, scored by the set of words in the response.

Rule of https://github.com/Sakshi113/MMAU and https://github.com/ddlBoJack/MMAR (`evaluation.py`): every word of the
answer is in the response, and no word that only a wrong choice has. Nothing is taken off the response before, so that
"The correct answer is: " can make it wrong. The official scripts pass over rows without a response; here such a row
counts as wrong and is shown as missing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial

from speechllm.eval.benchmarks.benchmark import Benchmark, Inputs, Item, Scored, Verdict, grouped, percent, read_items

MMAU_FIELDS = ("model_prediction", "model_output", "response")
"""Where responses stand: MMAU's README names the first, its script reads the second; the third is this package's."""

MMAR_FIELDS = ("answer_prediction", "model_prediction", "model_output", "response")
"""MMAR's script reads the first."""


def match(answer: str, response: str, choices: Sequence[str]) -> tuple[bool, str]:
    """Whether the response is right by the official rule, and why."""
    said, wanted = _words(response), _words(answer)
    if not said:
        return False, "empty response"
    wrong: set[str] = set()
    for choice in choices:
        tokens = _words(choice)
        if tokens != wanted:
            wrong |= tokens - wanted
    if not wanted <= said:
        return False, f"lacks {_list(wanted - said)}"
    if said & wrong:
        return False, f"has {_list(said & wrong)} of a wrong choice"
    return True, "has every word of the answer and none of a wrong choice alone"


def _words(text: str) -> set[str]:
    return set(re.findall(r"\b\w+\b", text.lower()))


def _list(found: set[str]) -> str:
    return ", ".join(repr(word) for word in sorted(found))


def _score(inputs: Inputs, fields: Sequence[str], groups: dict[str, str]) -> Scored:
    items, notes = read_items(inputs, ("id",))
    verdicts = [_verdict(item, fields, groups) for item in items]
    metrics: dict[str, object] = {}
    for title, key in groups.items():
        pairs = [(value, v.right) for v in verdicts if (value := (v.model_extra or {}).get(key)) is not None]
        metrics[title] = grouped(pairs)
    missing = sum(v.verdict == "missing" for v in verdicts)
    metrics["Total Accuracy"] = percent(v.right for v in verdicts)
    metrics["No prediction count"] = missing
    if missing:
        notes.append(f"{missing} rows without a response count as wrong; the official script passes over them")
    return Scored(verdicts, metrics, notes)


def _verdict(item: Item, fields: Sequence[str], groups: dict[str, str]) -> Verdict:
    answer = item.question.need("answer", (str, int, float))
    choices = [str(choice) for choice in item.question.need("choices", list)]
    shown = {"answer": str(answer), **{key: item.question.text(key) for key in groups.values()}}
    response = item.answer.text(*fields) if item.answer else None
    if response is None:
        return Verdict(id=item.id, verdict="missing", reason="no response", **shown)
    right, reason = match(str(answer), response, choices)
    return Verdict(id=item.id, verdict="right" if right else "wrong", reason=reason, response=response, **shown)


MMAU = Benchmark(
    "mmau",
    "MMAU",
    "rule of evaluation.py; data v05.15.25 or before, as given",
    partial(
        _score,
        fields=MMAU_FIELDS,
        groups={
            "Task-wise Accuracy": "task",
            "Difficulty-wise Accuracy": "difficulty",
            "Sub-category-wise Accuracy": "sub-category",
        },
    ),
)

MMAR = Benchmark(
    "mmar",
    "MMAR",
    "rule of code/evaluation.py (accuracy; the rubric scores need a judge and are not computed)",
    partial(
        _score,
        fields=MMAR_FIELDS,
        groups={
            "Modality-wise Accuracy": "modality",
            "Category-wise Accuracy": "category",
            "Sub-category-wise Accuracy": "sub-category",
        },
    ),
)
