"""Speech-IFEval's task level: are its closed-ended answers right, whatever their form?

Rules of https://github.com/kehanlu/Speech-IFEval (`script/llm_evaluation.py`): a judge agrees or not (accuracy by
dataset), or takes the transcript out of the response, unmodified (corpus word error rate after `<>` are removed and
Whisper's basic normaliser is applied). Judged by replies stored in the files (`eval_response`) or by a judge that is
given; the questions to it are worded here after the published ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jiwer
from whisper_normalizer.basic import BasicTextNormalizer

from speechllm.eval.benchmarks.benchmark import Inputs, Item, percent
from speechllm.eval.benchmarks.judging import read_verdict, replies
from speechllm.eval.judges import Question

PATTERN = r"(?i)(?<=result:\s)(yes|no)"

AGREES = """You see a question, its right answer and a model's response. Decide whether the response agrees with the \
right answer. End with "Result: YES" if it does, and with "Result: NO" if it does not."""

TRANSCRIPT = """You see the response of a speech recogniser. Copy out of it the transcript alone, exactly as it \
stands there, without any introduction, explanation or remark around it. Write nothing else."""


def task_level(items: Sequence[Item], inputs: Inputs) -> tuple[dict[str, Any], list[str]]:
    """Accuracy by dataset and word error rate, both in percent, and notes; empty where nobody judged.

    Args:
        items: closed-ended rows; those without a label are left out.
        inputs: as given to the benchmark.
    """
    labelled = [item for item in items if item.question.text("label") is not None]
    stored = [item.answer.text("eval_response") if item.answer else None for item in labelled]
    if not labelled or (inputs.judge is None and all(reply is None for reply in stored)):
        return {}, []
    judged = list(zip(labelled, replies([_question(item) for item in labelled], stored, inputs.judge)))
    waiting = [item for item, reply in judged if reply is None and item.answer is not None and _response(item)]
    if waiting:
        return {}, [f"task level: {len(waiting)} of {len(labelled)} closed-ended rows are not judged; not computed"]
    metrics: dict[str, Any] = {}
    rights: dict[str, list[bool]] = {}
    unparsable = 0
    for item, reply in judged:
        if item.question.data["metric"] == "accuracy":
            judgement = read_verdict(reply, PATTERN)
            unparsable += judgement.status == "unparsable"
            rights.setdefault(str(item.question.text("dataset")), []).append(judgement.status == "right")
    metrics |= {f"{dataset} ACC": percent(found) for dataset, found in rights.items()}
    spoken = [(item, reply) for item, reply in judged if item.question.data["metric"] == "wer"]
    if spoken:
        metrics["WER"] = _word_error_rate(spoken)
    changed = sum(_changed(item, reply) for item, reply in spoken)
    notes = [f"task level: {changed} transcripts that a judge took out are not in the response"] if changed else []
    return metrics, notes + ([f"task level: {unparsable} replies of the judge are unparsable"] if unparsable else [])


def _response(item: Item) -> str:
    return (item.answer.text("response") if item.answer else None) or ""


def _question(item: Item) -> Question:
    instruction, label = item.question.text("instruction") or "", str(item.question.text("label"))
    if item.question.data["metric"] == "wer":
        return Question(TRANSCRIPT, f"Response: {_response(item)}", label, _response(item), instruction, extract=True)
    user = f"Question: {instruction}\nRight answer: {label}\nResponse: {_response(item)}"
    return Question(AGREES, user, label, _response(item), instruction)


def normal(text: str) -> str:
    """As the official script prepares transcripts."""
    return str(BasicTextNormalizer()(text.replace("<", "").replace(">", ""))).strip()


def _word_error_rate(rows: Sequence[tuple[Item, str | None]]) -> float:
    labels = [normal(str(item.question.text("label"))) for item, _ in rows]
    texts = [normal(reply or "") for _, reply in rows]
    return round(100 * float(jiwer.wer(reference=labels, hypothesis=texts)), 2)


def _changed(item: Item, reply: str | None) -> bool:
    return normal(reply or "") not in normal(_response(item))
