"""What every benchmark's scorer takes and gives: files in, a verdict a row and the official metrics out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from speechllm.errors import SpeechLLMError
from speechllm.eval.benchmarks.responses import Fields, Row, by_id, read_rows
from speechllm.eval.judges import Judge

Status = Literal["right", "wrong", "missing", "not judged", "unparsable", "measured", "n/a"]
"""`missing` and `unparsable` (a judge's reply without a verdict) count as wrong; `not judged` is in no metric.

`measured` rows enter a metric that is no share of right rows, such as a word error rate; `n/a` rows give it no value.
"""


class Verdict(BaseModel):
    """How one response fared; a benchmark adds fields of its own, such as the response's group."""

    model_config = ConfigDict(extra="allow")

    id: str
    verdict: Status
    reason: str
    response: str | None = None

    @property
    def right(self) -> bool:
        """Whether the row counts as right."""
        return self.verdict == "right"


@dataclass(frozen=True)
class Inputs:
    """What `speechllm score` was given.

    Attributes:
        responses: files of responses.
        questions: files of questions, where a benchmark keeps them apart; they say which responses are missing.
        judge: for the parts that no rule decides; None leaves them unjudged.
        reference: scores.json of the system to compare with (Speech-IFEval: the text LLM).
    """

    responses: Sequence[Path]
    questions: Sequence[Path] = ()
    judge: Judge | None = None
    reference: Path | None = None


@dataclass(frozen=True)
class Scored:
    """Verdicts and metrics.

    Attributes:
        verdicts: one a row, in the file's order; with questions, in theirs.
        metrics: under their official names; accuracies in percent.
        notes: what a reader of the numbers has to know, such as rows that were left out.
        judge: who judged, where a row needed it.
        files: more files for the output folder, such as a benchmark's submission file: name to JSON value.
    """

    verdicts: list[Verdict]
    metrics: dict[str, Any]
    notes: list[str] = field(default_factory=list)
    judge: str | None = None
    files: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Benchmark:
    """A published benchmark.

    Attributes:
        name: on the command line.
        title: as its authors write it.
        version: of its data and rules, as far as they carry one.
        score: its scorer.
        judged: whether a judge decides parts of it.
        compared: whether it compares with a reference.
    """

    name: str
    title: str
    version: str
    score: Callable[[Inputs], Scored]
    judged: bool = False
    compared: bool = False


@dataclass(frozen=True)
class Item:
    """A question and the response to it.

    Attributes:
        id: what names both.
        question: the row that carries question and label.
        answer: the row that carries the response; None if there is none.
    """

    id: str
    question: Row
    answer: Row | None


def read_items(inputs: Inputs, fields: Fields) -> tuple[list[Item], list[str]]:
    """Pairs questions and responses by the first of `fields`; without question files, rows carry both.

    Returns:
        The items, and a note on responses that answer none of the questions, if there are any.

    Raises:
        SpeechLLMError: a file is damaged, an id is missing or double, or no response answers any question.
    """
    answers = by_id((row for path in inputs.responses for row in read_rows(path)), fields)
    if not inputs.questions:
        return [Item(name, row, row) for name, row in answers.items()], []
    questions = by_id((row for path in inputs.questions for row in read_rows(path)), fields)
    strays = [row.where for name, row in answers.items() if name not in questions]
    if len(strays) == len(answers):
        raise SpeechLLMError(f"{strays[0]}: neither this response nor any other has a question of the same id")
    items = [Item(name, row, answers.get(name)) for name, row in questions.items()]
    return items, [f"responses without a question, left out: {', '.join(strays)}"] if strays else []


def percent(rights: Iterable[bool]) -> float | None:
    """Share in percent, to two decimals as published tables give it; None for no rows."""
    counted = [bool(right) for right in rights]
    return round(100 * sum(counted) / len(counted), 2) if counted else None


def rate(verdicts: Sequence[Verdict]) -> float | None:
    """Percent right, unrounded; None if there are no rows, or rows that wait for a judge."""
    if not verdicts or any(v.verdict == "not judged" for v in verdicts):
        return None
    return 100 * sum(v.right for v in verdicts) / len(verdicts)


def grouped(pairs: Iterable[tuple[str, bool]]) -> dict[str, float | None]:
    """Percent by group, in the order of first appearance."""
    groups: dict[str, list[bool]] = {}
    for name, right in pairs:
        groups.setdefault(name, []).append(right)
    return {name: percent(rights) for name, rights in groups.items()}
