"""Runs on the same questions: how much more, or less, a later one gets right than the first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from speechllm.eval.metrics import paired_difference
from speechllm.eval.runs import Run


def against_first(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Each later run against the first, on every task of accuracy that the first tells reply by reply.

    Returns:
        rows with `task` and `runs`, one cell a later run: None where it was not asked; else `difference` of accuracy,
        `p_value` of the exact McNemar test and `n`; or `reason`, why there is no such number.
    """
    rows = []
    for task in runs[0].judged_tasks() if len(runs) > 1 else ():
        mine = _in_order(runs[0].judged(task))
        rows.append({"task": task, "runs": [_cell(mine, task, runs[0], later) for later in runs[1:]]})
    return rows


def _cell(mine: Sequence[dict[str, Any]], task: str, first: Run, later: Run) -> dict[str, Any] | None:
    told = later.task(task)
    if not told:
        return None
    if task not in later.judged_tasks():
        return {"reason": "its folder does not tell the replies"}
    if told.get("version") != first.task(task).get("version"):
        return {"reason": f"another version of the task, {told.get('version')}"}
    theirs = _in_order(later.judged(task))
    if [*map(_question, mine)] != [*map(_question, theirs)]:
        same = len({*map(_question, mine)} & {*map(_question, theirs)})
        return {"reason": f"other questions: {same} of {len(theirs)} are the same"}
    mine_right, theirs_right = ([row["verdict"] == "right" for row in rows] for rows in (mine, theirs))
    return {**paired_difference(theirs_right, mine_right), "n": len(mine)}


def _in_order(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=_question)


def _question(row: dict[str, Any]) -> tuple[str, str, str]:
    return str(row["id"]), str(row["prompt"]), str(row["label"])
