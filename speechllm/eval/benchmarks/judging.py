"""From a judge's replies to verdicts; what a reply leaves open stays visible."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from speechllm.eval.benchmarks.benchmark import Status
from speechllm.eval.judges import Judge, Question

STORED = "stored in the response files"
"""How reports call a judge whose replies came with the responses (`eval_response`)."""


@dataclass(frozen=True)
class Judgement:
    """A verdict, and the judge's reply that it was read from, if there is one."""

    status: Status
    reply: str | None


def read_verdict(reply: str | None, pattern: str) -> Judgement:
    """The first `yes` or `no` that the benchmark's own pattern finds; a reply without is `unparsable`."""
    if reply is None:
        return Judgement("not judged", None)
    found = re.search(pattern, reply)
    if found is None:
        return Judgement("unparsable", reply)
    return Judgement("right" if found.group(1).lower() == "yes" else "wrong", reply)


def replies(questions: Sequence[Question], stored: Sequence[str | None], judge: Judge | None) -> list[str | None]:
    """A judge's reply to each question: the stored one where there is one and no judge was given, else the judge's."""
    return list(judge(questions)) if judge else list(stored)


def judged_by(stored: Sequence[str | None], judge: Judge | None) -> str | None:
    """Who judged, for the report."""
    if judge:
        return judge.name
    return STORED if any(reply is not None for reply in stored) else None
