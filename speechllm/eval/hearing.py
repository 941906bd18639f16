"""How well a speech LLM hears: every system's scores on the same questions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from speechllm.eval.asking import BARE, CASCADE, CEILING, MODEL
from speechllm.eval.json_form import json_scores
from speechllm.eval.metrics import accuracy, correlation, paired_difference, slot_f1, translation, word_error
from speechllm.eval.tasks import Task
from speechllm.models.reply import Reply


@dataclass(frozen=True)
class Answers:
    """The replies of each system to the questions of a task, in order."""

    task: Task
    replies: Mapping[str, Sequence[Reply]]

    def extracted(self, system: str) -> list[str | None]:
        """What each reply answers."""
        return [self.task.extract(q, r.text) for q, r in zip(self.task.questions, self.replies[system], strict=True)]

    def right(self, system: str) -> list[bool]:
        """Which replies give the true answer."""
        return [q.truth == said for q, said in zip(self.task.questions, self.extracted(system), strict=True)]

    def follows(self, system: str) -> list[bool]:
        """Which replies keep to the form that they are asked for; all where none is."""
        follows = self.task.follows or (lambda question, reply: True)
        return [follows(q, r.text) for q, r in zip(self.task.questions, self.replies[system], strict=True)]


def score(answered: Sequence[Answers]) -> dict[str, Any]:
    """All scores; tasks that their benchmark alone can score are left to it.

    Returns:
        `tasks`, by name: metric, version, rule, `systems` (scores of each) and, for accuracies, `chance`: what the text
        LLM scores on the bare question or what answering everything with the most frequent answer scores, whichever is
        higher; `ahead_of_cascade`, the paired difference. And drawn from these: `accuracy` (a row a task),
        `mean_accuracy`, `wer`, `ceiling_wer`, `cascade_wer`, `recogniser_wer`, and `agreement`, the share of questions
        of accuracy to which model and ceiling give the same answer. Questions to be answered in a form stand apart:
        `json_retention`, by system the shares of replies that hold JSON (`found`), are nothing else (`valid`),
        keep to the `schema`, and hold the true value (`right`); `instruction_following`, by system the share of
        replies that keep to the rule (`followed`). In both, `kept` is the share of the questions to which the ceiling
        keeps to the form (`able`) where the model does too.
    """
    answered = [answers for answers in answered if not answers.task.left_to_benchmark]
    tasks = {answers.task.name: _scores(answers) for answers in answered}
    hearing = [answers for answers in answered if answers.task.follows is None]
    results: dict[str, Any] = {
        "tasks": tasks,
        "accuracy": _accuracies({a.task.name: tasks[a.task.name] for a in hearing}),
    }
    rows = results["accuracy"].values()
    if rows:
        columns = [c for c in (MODEL, CEILING, CASCADE, "chance") if all(c in row for row in rows)]
        results["mean_accuracy"] = {c: sum(row[c] for row in rows) / len(rows) for c in columns}
        if all(CEILING in a.replies and MODEL in a.replies for a in hearing):
            results["agreement"] = _agreement([a for a in hearing if a.task.metric == "accuracy"])
    in_json = [answers for answers in answered if answers.task.schema is not None]
    in_form = [answers for answers in answered if answers.task.follows is not None and answers.task.schema is None]
    if in_json:
        results["json_retention"] = _shares(in_json, tasks, JSON_SHARES) | _kept(in_json)
    if in_form:
        results["instruction_following"] = _shares(in_form, tasks, {"followed": "value"}) | _kept(in_form)
    for answers in answered:
        if answers.task.metric == "wer":
            results |= _transcription(answers, tasks[answers.task.name])
    return results


def _scores(answers: Answers) -> dict[str, Any]:
    task = answers.task
    told: dict[str, Any] = {"metric": task.metric, "version": task.version, "rule": task.rule}
    told |= {"n": len(task.questions), "systems": {s: _of_system(answers, s) for s in answers.replies}}
    if task.metric != "accuracy":
        return told
    systems = told["systems"]
    # Where a rule is to be kept to there is no most frequent answer that one could always give.
    rule_alone = task.follows is not None and task.schema is None
    constant = 0.0 if rule_alone else next(iter(systems.values()))["constant"]
    told["chance"] = max(constant, systems[BARE]["value"]) if BARE in systems else constant
    if {MODEL, CASCADE} <= systems.keys():
        told["ahead_of_cascade"] = paired_difference(answers.right(MODEL), answers.right(CASCADE))
    return told


def _of_system(answers: Answers, system: str) -> dict[str, Any]:
    task = answers.task
    truths = [question.truth for question in task.questions]
    said = answers.extracted(system)
    if task.metric == "wer":
        return word_error(truths, [s or "" for s in said], _languages(task))
    if task.metric in ("bleu", "chrf"):
        return translation(truths, [s or "" for s in said], task.metric)
    if task.metric == "slot_f1":
        return slot_f1(truths, [s or "" for s in said])
    if task.metric == "pearson":
        return correlation([float(t) for t in truths], [_number(s) for s in said])
    scores = accuracy(truths, said)
    if task.tolerant is not None:
        pairs = zip(task.questions, answers.replies[system], strict=True)
        found = [task.tolerant(question, reply.text) for question, reply in pairs]
        scores["tolerant"] = sum(map(_same, truths, found)) / len(truths)
    if task.schema is not None:
        scores |= json_scores([reply.text for reply in answers.replies[system]], task.schema)
    return scores


def _languages(task: Task) -> list[str]:
    """What is spoken in each question's clip."""
    return [question.utterances[0].language or "en" for question in task.questions]


def _same(truth: str, said: str | None) -> bool:
    return said is not None and truth.lower() == said.lower()


def _number(text: str | None) -> float | None:
    try:
        found = float(text or "")
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def _accuracies(tasks: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        name: {
            **{s: told["systems"][s]["value"] for s in (MODEL, CEILING, CASCADE) if s in told["systems"]},
            "chance": told["chance"],
            "n": told["n"],
        }
        for name, told in tasks.items()
        if told["metric"] == "accuracy"
    }


JSON_SHARES = {"found": "found", "valid": "valid", "schema": "schema", "right": "value"}
"""What `json_retention` tells of a system, and the score of each task that it is the mean of."""


def _shares(
    answered: Sequence[Answers], tasks: Mapping[str, Any], names: Mapping[str, str]
) -> dict[str, dict[str, float] | float]:
    forms = [tasks[answers.task.name] for answers in answered]
    n = sum(told["n"] for told in forms)
    return {
        system: {
            name: sum(told["systems"][system][key] * told["n"] for told in forms) / n for name, key in names.items()
        }
        for system in forms[0]["systems"]
        if all(system in told["systems"] for told in forms)
    }


def _kept(answered: Sequence[Answers]) -> dict[str, float]:
    """Of the questions to which the ceiling keeps to the form, how many there are and the share the model keeps to."""
    if not all({MODEL, CEILING} <= answers.replies.keys() for answers in answered):
        return {}
    both = [pair for answers in answered for pair in zip(answers.follows(MODEL), answers.follows(CEILING), strict=True)]
    able = [model for model, ceiling in both if ceiling]
    return {"able": float(len(able))} | ({"kept": sum(able) / len(able)} if able else {})


def _agreement(answered: Sequence[Answers]) -> float:
    pairs = [p for a in answered for p in zip(a.extracted(MODEL), a.extracted(CEILING), strict=True)]
    return sum(heard is not None and heard == read for heard, read in pairs) / len(pairs)


def _transcription(answers: Answers, told: Mapping[str, Any]) -> dict[str, float | None]:
    names = {"wer": MODEL, "ceiling_wer": CEILING, "cascade_wer": CASCADE}
    rates = {name: told["systems"][s]["value"] for name, s in names.items() if s in told["systems"]}
    utterances = [question.utterances[0] for question in answers.task.questions]
    if all(u.recognised_text is not None for u in utterances):
        truths, heard = [u.text or "" for u in utterances], [u.recognised_text or "" for u in utterances]
        rates["recogniser_wer"] = word_error(truths, heard, _languages(answers.task))["value"]
    return rates
