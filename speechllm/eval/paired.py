"""Runs on the same questions: how much more, or less, a later one gets right than the first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from speechllm.eval.metrics import paired_difference
from speechllm.eval.runs import Run

FORMS = {"json": "answers in JSON", "instruction": "rules kept to"}
"""Tasks that ask the open questions again in forms, by the first part of their names, and what they are told under."""


def against_first(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Each later run against the first, on every task of accuracy that the first tells reply by reply.

    The many small tasks in forms count together: those that ask for JSON, and those that give a rule.

    Returns:
        rows with `task` and `runs`, one cell a later run: None where it was not asked; else `difference` of accuracy,
        `p_value` of the exact McNemar test and `n`; or `reason`, why there is no such number.
    """
    if len(runs) < 2:
        return []
    together: dict[str, list[str]] = {}
    for task in runs[0].judged_tasks():
        together.setdefault(FORMS.get(task.partition(".")[0], task), []).append(task)
    return [
        {"task": name, "runs": [_cell(tasks, runs[0], later) for later in runs[1:]]} for name, tasks in together.items()
    ]


def _cell(tasks: Sequence[str], first: Run, later: Run) -> dict[str, Any] | None:
    asked = [task for task in tasks if later.task(task)]
    if not asked:
        return None
    if not set(asked) <= set(later.judged_tasks()):
        return {"reason": "its folder does not tell the replies"}
    for task in asked:
        if later.task(task).get("version") != first.task(task).get("version"):
            return {"reason": f"another version of the task, {later.task(task).get('version')}"}
    mine, theirs = _rows(first, tasks), _rows(later, asked)
    if [*map(_question, mine)] != [*map(_question, theirs)]:
        same = len({*map(_question, mine)} & {*map(_question, theirs)})
        return {"reason": f"other questions: {same} of {len(theirs)} are the same"}
    mine_right, theirs_right = ([row["verdict"] == "right" for row in rows] for rows in (mine, theirs))
    return {**paired_difference(theirs_right, mine_right), "n": len(mine)}


def _rows(run: Run, tasks: Sequence[str]) -> list[dict[str, Any]]:
    """The judged replies to several tasks, in an order that is the same for all runs."""
    return sorted((row for task in tasks for row in run.judged(task)), key=_question)


def _question(row: dict[str, Any]) -> tuple[str, str, str, str]:
    return str(row["task"]), str(row["id"]), str(row["prompt"]), str(row["label"])
