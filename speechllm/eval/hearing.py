"""How well a speech LLM hears: attribute accuracy, word error rate, and agreement with the LLM that reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from speechllm.data.attributes import extract_value
from speechllm.data.manifest import Utterance
from speechllm.data.prompts import TRANSCRIBE
from speechllm.data.score import word_error_rate
from speechllm.eval.systems import Answers


def score(answers: Answers) -> dict[str, Any]:
    """`accuracy` and `mean_accuracy` by system, `wer`, `recogniser_wer`, and `agreement`.

    `agreement` is the share of attribute questions to which the speech LLM gives the same answer as the text LLM that
    reads the true description. Chance is what the text LLM scores on the bare question, or what answering everything
    with the most frequent value would score, whichever is higher.
    """
    kinds = sorted({question.prompt.kind for question in answers.questions} - {TRANSCRIBE})
    accuracy = {kind: _accuracy(answers, kind) for kind in kinds}
    results: dict[str, Any] = {"accuracy": accuracy}
    if kinds:
        results["mean_accuracy"] = {
            column: sum(row[column] for row in accuracy.values()) / len(kinds)
            for column in ("model", "ceiling", "cascade", "chance")
        }
        results["agreement"] = _agreement(answers, kinds)
    if transcribed := answers.of_kind(TRANSCRIBE):
        utterances = [answers.questions[i].utterance for i in transcribed]
        references = [u.text or "" for u in utterances]
        language = utterances[0].language
        for name, system in (("wer", "model"), ("ceiling_wer", "ceiling"), ("cascade_wer", "cascade")):
            hypotheses = [answers.replies[system][i].text for i in transcribed]
            results[name] = word_error_rate(references, hypotheses, language)
        results["recogniser_wer"] = word_error_rate(references, [u.recognised_text or "" for u in utterances], language)
    return results


def is_correct(answers: Answers, system: str, index: int) -> bool:
    """Whether a system named the true value, and no other, in its reply to an attribute question."""
    question = answers.questions[index]
    value = extract_value(question.prompt.kind, answers.replies[system][index].text)
    return value == question.utterance.attributes[question.prompt.kind]


def _accuracy(answers: Answers, kind: str) -> dict[str, float]:
    asked = answers.of_kind(kind)
    share = {s: sum(is_correct(answers, s, i) for i in asked) / len(asked) for s in answers.replies}
    truth = Counter(answers.questions[i].utterance.attributes[kind] for i in asked)
    constant = max(truth.values()) / len(asked)
    columns = {name: share[name] for name in ("model", "ceiling", "cascade")}
    return {**columns, "chance": max(share["nothing"], constant), "n": len(asked)}


def _agreement(answers: Answers, kinds: Sequence[str]) -> float:
    asked = [i for kind in kinds for i in answers.of_kind(kind)]
    same = 0
    for i in asked:
        kind = answers.questions[i].prompt.kind
        heard, read = (extract_value(kind, answers.replies[s][i].text) for s in ("model", "ceiling"))
        same += heard is not None and heard == read
    return same / len(asked)


def labelled(utterances: Sequence[Utterance], kind: str) -> list[Utterance]:
    """The utterances about which a prompt of this kind can be scored."""
    return [u for u in utterances if (u.text if kind == TRANSCRIBE else kind in u.attributes)]
