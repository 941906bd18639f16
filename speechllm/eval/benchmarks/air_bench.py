"""AIR-Bench's foundation part: one option letter, by task and corpus.

Rule of https://github.com/OFA-Sys/AIR-Bench (`score_foundation.py`; arXiv 2402.07729): line breaks taken out, the
letter is the first character if that is A, B, C or D (even of "A dog"), else the last but one ("The answer is A.").
Responses without a letter are in no official accuracy, only in `fail_num`; a second accuracy counts them as wrong.
The chat part needs a judge that rates from 1 to 10, twice with the order swapped, and is not scored here.
"""

from __future__ import annotations

from typing import Any

from speechllm.errors import SpeechLLMError
from speechllm.eval.benchmarks.benchmark import Benchmark, Inputs, Item, Scored, Verdict, grouped, percent, read_items
from speechllm.eval.benchmarks.responses import Row

LETTERS = "ABCD"

ID = ("task_name", "dataset_name", "path", "question", "choice_a", "choice_b", "answer_gt")
"""One clip may be asked about more than once; published response files carry no id."""


def score(inputs: Inputs) -> Scored:
    """Rows of `Foundation_meta.json` with a `response`, or such rows and responses apart."""
    items, notes = read_items(inputs, (ID,))
    verdicts = [_verdict(item) for item in items]
    parsed = [v for v in verdicts if v.verdict in {"right", "wrong"}]
    failed = len(verdicts) - len(parsed)
    metrics: dict[str, Any] = {
        "acc": grouped((_task(v), v.right) for v in parsed),
        "acc, failures wrong": grouped((_task(v), v.right) for v in verdicts),
        "total acc, failures wrong": percent(v.right for v in verdicts),
        "total_sum": len(parsed),
        "fail_num": failed,
    }
    if failed:
        notes.append(f"{failed} responses without an option letter are left out of `acc`, as by the official script")
    return Scored(verdicts, metrics, notes)


def _task(verdict: Verdict) -> str:
    return str((verdict.model_extra or {})["task"])


def letter(response: str) -> str | None:
    """The option letter of a response, None if it has none where the rule looks."""
    said = response.strip().replace("\n", "")
    if not said or said == "None":
        return None
    if said[0] in LETTERS:
        return said[0]
    return said[-2] if len(said) > 1 and said[-2] in LETTERS else None


def right_letter(row: Row) -> str:
    """The letter of the first choice that is the answer.

    Raises:
        SpeechLLMError: none is.
    """
    answer = row.need("answer_gt", str)
    for name in LETTERS:
        if row.data.get(f"choice_{name.lower()}") == answer:
            return name
    raise SpeechLLMError(f"{row.where}: the answer {answer!r} is none of the choices; see Foundation_meta.json")


def task_of(row: Row) -> str:
    """Task and corpus of a row: what accuracies are told by, and the folder of its clip."""
    return f"{row.need('task_name', str)}_{row.need('dataset_name', str)}"


def _verdict(item: Item) -> Verdict:
    row = item.question
    right = right_letter(row)
    task = task_of(row)
    shown = {"task": task, "label": f"{right}. {row.data['answer_gt']}"}
    name = f"{task} {row.text('path')} {row.text('question')}"
    response = item.answer.text("response") if item.answer else None
    if response is None:
        return Verdict(id=name, verdict="missing", reason="no response", **shown)
    said = letter(response)
    if said is None:
        return Verdict(id=name, verdict="unparsable", reason="no option letter", response=response, **shown)
    verdict = "right" if said == right else "wrong"
    return Verdict(id=name, verdict=verdict, reason=f"chooses {said}", response=response, **shown)


AIR_BENCH = Benchmark("air_bench", "AIR-Bench foundation", "arXiv 2402.07729; score_foundation.py", score)
