"""Questions with a rule for the form of the answer that a program checks: instruction following under audio."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from speechllm.eval.benchmarks.checkers import Instructions
from speechllm.eval.benchmarks.departures import speech_checkers
from speechllm.eval.benchmarks.responses import Row
from speechllm.eval.tasks import Question, Task


@dataclass(frozen=True)
class Rule:
    """One of the kinds of rules of Speech-IFEval, and how it is asked for."""

    name: str
    instruction: str
    """IFEval's type of instruction, whose checker decides, with the departures of Speech-IFEval."""
    wording: str
    arguments: dict[str, Any] = field(default_factory=dict)

    def follows(self, question: Question, reply: str) -> bool:
        """Whether a reply keeps to the rule; strict, as Speech-IFEval scores."""
        data = {"instruction_id_list": [self.instruction], "kwargs": [self.arguments], "prompt": question.prompt.text}
        return Instructions(Row(data, self.name), speech_checkers()).strict(reply)[0]


RULES = (
    Rule("title", "detectable_format:title", "Give your answer a title in double angular brackets, as in <<title>>."),
    Rule(
        "postscript",
        "detectable_content:postscript",
        "Add a postscript that begins with P.S.",
        {"postscript_marker": "P.S."},
    ),
    Rule("keyword", "keywords:existence", 'Use the word "evidence" in your answer.', {"keywords": ["evidence"]}),
    Rule(
        "sentences",
        "length_constraints:number_sentences",
        "Answer in at least 3 sentences.",
        {"num_sentences": 3, "relation": "at least"},
    ),
    Rule(
        "one_sentence",
        "length_constraints:number_sentences",
        "Answer in one sentence.",
        {"num_sentences": 2, "relation": "less than"},
    ),
    Rule(
        "few_words",
        "length_constraints:number_words",
        "Answer in less than 8 words.",
        {"num_words": 8, "relation": "less than"},
    ),
)
"""Rules that an LLM of 135 M parameters keeps to at least now and then (SmolLM2-135M-Instruct on 24 descriptions:
title 23, one sentence 22, few words 18, keyword 15, postscript 14, three sentences 12; upper case, lower case,
quotation marks, bullet points, forbidden words and endings 1 at most, so that there is nothing to lose)."""

FOLLOWED = "followed"
"""The truth of these questions."""


def instruction_tasks(task: Task) -> list[Task]:
    """The questions of a task once more with each of `RULES`; how often the rules are kept to is the accuracy."""
    return [_with_rule(task, rule) for rule in RULES]


def _with_rule(task: Task, rule: Rule) -> Task:
    def asked(question: Question) -> Question:
        update = {"id": f"{question.prompt.id}-{rule.name}", "text": f"{question.prompt.text} {rule.wording}"}
        return replace(question, prompt=question.prompt.model_copy(update=update), truth=FOLLOWED, choices=())

    return replace(
        task,
        name=f"instruction.{task.name}.{rule.name}",
        questions=tuple(map(asked, task.questions)),
        extract=lambda question, reply: FOLLOWED if rule.follows(question, reply) else None,
        follows=rule.follows,
        rule=f"IFEval's {rule.instruction}, strict, with the departures of Speech-IFEval",
    )
