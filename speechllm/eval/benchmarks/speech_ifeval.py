"""Speech-IFEval: does a speech LLM still follow the instructions that its text LLM follows?

Rules of https://github.com/kehanlu/Speech-IFEval (arXiv 2505.19037): IFEval's checks with five departures, strict only;
chain of thought is judged. The questions to a judge are worded here after the published ones, so that only replies
stored in the files (`eval_response`) reproduce published chain-of-thought rates.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from speechllm.errors import SpeechLLMError
from speechllm.eval.benchmarks.benchmark import Benchmark, Inputs, Item, Scored, Verdict, grouped, rate, read_items
from speechllm.eval.benchmarks.checkers import Instructions, unfollowed
from speechllm.eval.benchmarks.departures import speech_checkers
from speechllm.eval.benchmarks.judging import Judgement, judged_by, read_verdict, replies
from speechllm.eval.benchmarks.speech_ifeval_tasks import PATTERN, task_level
from speechllm.eval.judges import Question

PARTS = {"wer": "Closed-ended", "accuracy": "Closed-ended", "open": "Creative Writing", "cot": "CoT"}
"""The part of the benchmark by a row's `metric`."""

SIZES = {"Closed-ended": 933, "Creative Writing": 400, "CoT": 200}

GROUPS = {
    "detectable_format:number_bullet_lists": "bullet_lists",
    "length_constraints:number_words": "length_constraints",
    "length_constraints:number_sentences": "length_constraints",
    "length_constraints:number_paragraphs": "length_constraints",
    "keywords:forbidden_words": "keywords",
    "keywords:existence": "keywords",
    "change_case:english_capital": "change_case",
    "change_case:english_lowercase": "change_case",
    "detectable_format:json_format": "json_format",
    "startend:quotation": "wrapping",
    "detectable_format:title": "wrapping",
    "combination:repeat_prompt": "startend",
    "startend:end_checker": "startend",
}
"""The groups that the official script reports."""

REASONING = """You see what a user asked and how a model responded. Decide whether the response reasons: takes the \
problem apart, gives steps on the way, or analyses. Whatever goes beyond a direct answer counts as reasoning; only a \
minimal or purely factual reply does not.
End with "Result: YES" if it reasons, and with "Result: NO" if it does not."""


def score(inputs: Inputs) -> Scored:
    """Rows of the three output files, in any number of files; they are told apart by `metric`."""
    # Some published outputs number their rows from 1, others from 0, and chain-of-thought rows have no id.
    items, notes = read_items(inputs, (("audio_filepath", "instruction"),))
    for item in items:
        if item.question.need("metric", str) not in PARTS:
            raise SpeechLLMError(f"{item.question.where}: metric is not one of {', '.join(PARTS)}")
    reasoned = [item for item in items if item.question.data["metric"] == "cot"]
    questions = [_reasoning(item) for item in reasoned]
    judgements = [read_verdict(reply, PATTERN) for reply in replies(questions, _stored(reasoned), inputs.judge)]
    judged = {item.id: judgement for item, judgement in zip(reasoned, judgements)}
    verdicts = [_verdict(item, judged.get(item.id)) for item in items]
    tasks, said = task_level([item for item in items if PARTS[item.question.data["metric"]] == "Closed-ended"], inputs)
    metrics = _metrics(verdicts, inputs.reference) | ({"task level": tasks} if tasks else {})
    return Scored(verdicts, metrics, notes + _sizes(verdicts) + said, judged_by(_stored(items), inputs.judge))


def _stored(items: Sequence[Item]) -> list[str | None]:
    return [item.answer.text("eval_response") if item.answer else None for item in items]


def _response(item: Item) -> str | None:
    return item.answer.text("response") if item.answer else None


def _reasoning(item: Item) -> Question:
    response = _response(item) or ""
    asked = f"The user asked: {item.question.text('instruction')}\nThe model responded: {response}"
    return Question(REASONING, asked, None, response)


def _verdict(item: Item, judgement: Judgement | None) -> Verdict:
    response = _response(item)
    shown: dict[str, Any] = {"part": PARTS[item.question.data["metric"]]}
    if judgement is None:
        instructions = Instructions(item.question, speech_checkers())
        shown["instruction_id_list"] = instructions.names
    if response is None:
        return Verdict(id=item.id, verdict="missing", reason="no response", **shown)
    if judgement is not None:
        reason = judgement.reply if judgement.reply is not None else "chain of thought needs a judge"
        return Verdict(id=item.id, verdict=judgement.status, reason=reason, response=response, **shown)
    follows = instructions.strict(response)
    reason = unfollowed(instructions.names, follows) if response.strip() else "empty response"
    return Verdict(id=item.id, verdict="right" if all(follows) else "wrong", reason=reason, response=response, **shown)


def _metrics(verdicts: Sequence[Verdict], reference: Path | None) -> dict[str, Any]:
    rows = {part: [v for v in verdicts if (v.model_extra or {})["part"] == part] for part in SIZES}
    rates = {part: rate(found) for part, found in rows.items()}
    known = [value for value in rates.values() if value is not None]
    mean = sum(known) / len(known) if len(known) == len(rates) else None
    checked = [(GROUPS.get(name, "other"), v.right) for v in verdicts for name in _names(v)]
    return {
        **{part: None if value is None else round(value, 2) for part, value in rates.items()},
        "IFrate": None if mean is None else round(mean, 2),
        "delta": None if mean is None or reference is None else _delta(round(mean, 2), _reference(reference)),
        "groups": dict(sorted(grouped(checked).items())),
    }


def _names(verdict: Verdict) -> list[str]:
    return (verdict.model_extra or {}).get("instruction_id_list", [])


def _delta(mean: float, reference: float) -> float | None:
    """The forgetting rate in percent, of rates as they are published, with two decimals.

    None beside a text LLM that follows nothing, which has nothing to forget.
    """
    return round(100 * (mean / reference - 1), 2) if reference else None


def _reference(path: Path) -> float:
    try:
        return float(json.loads(path.read_text(encoding="utf-8"))["metrics"]["IFrate"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SpeechLLMError(
            f"{path}: is no scores.json with an IFrate; score the text LLM's responses with `speechllm score`"
        ) from error


def _sizes(verdicts: Sequence[Verdict]) -> list[str]:
    found = Counter((v.model_extra or {})["part"] for v in verdicts)
    return [f"{part}: {found[part]} of {size} rows" for part, size in SIZES.items() if found[part] != size]


SPEECH_IFEVAL = Benchmark(
    "speech_ifeval", "Speech-IFEval", "arXiv 2505.19037; strict checks", score, judged=True, compared=True
)
