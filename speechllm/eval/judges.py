"""Who decides whether a response is right where no rule of the benchmark does."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from speechllm.errors import SpeechLLMError
from speechllm.eval.benchmarks.options import chosen, contains, lettered, named, normal, offered

if TYPE_CHECKING:  # rules score without torch
    from speechllm.models.reply import Replier

_NUMBER = r"[-+]?\d+(?:\.\d+)?"

JUDGE_TOKENS = 256
"""Longest reply of a judge: a brief explanation and the verdict."""


@dataclass(frozen=True)
class Question:
    """One thing to judge, as the benchmark puts it.

    Attributes:
        system: the benchmark's instructions to the judge; empty if it gives none.
        user: question, label and response in the benchmark's wording.
        label: the right answer, for judges that apply rules; None where there is none (chain of thought).
        response: what is judged.
        instruction: the question that was asked; judges that apply rules read its options.
        replies: what a judge writes for right and for wrong.
        extract: the reply is not a verdict but the value or text that the response gives, or N/A.
    """

    system: str
    user: str
    label: str | None
    response: str
    instruction: str = ""
    replies: tuple[str, str] = ("Result: YES", "Result: NO")
    extract: bool = False


class Judge(Protocol):
    """Anything that replies to a benchmark's questions about responses; the benchmark parses the replies."""

    @property
    def name(self) -> str:
        """Who judges, for reports."""
        ...

    def __call__(self, questions: Sequence[Question]) -> list[str | None]:
        """Replies in order; None where this judge does not decide."""
        ...


class LlmJudge:
    """A text LLM, local or behind an OpenAI-compatible server; it answers greedily.

    Args:
        replier: the LLM.
        name: what reports call it.
    """

    def __init__(self, replier: Replier, name: str) -> None:
        self._replier = replier
        self._name = name

    @property
    def name(self) -> str:
        """See `Judge`."""
        return self._name

    def __call__(self, questions: Sequence[Question]) -> list[str | None]:
        """See `Judge`."""
        from speechllm.models.reply import Sampling

        conversations = []
        for question in questions:
            system = [{"role": "system", "content": question.system}] if question.system else []
            conversations.append([*system, {"role": "user", "content": question.user}])
        replies = self._replier(conversations, Sampling(max_new_tokens=JUDGE_TOKENS), "")
        return [reply.text for reply in replies]


class RuleJudge:
    """Needs no LLM: a response is right if it chooses the label and no other option.

    Options stand in the instruction, as "(a) ... (b) ..." or "The answer could be ...". Without any, the response has
    to contain the label as whole words, whatever its case and signs. Rules do not see a negation ("not angry") nor
    another word for the label ("furious"); an LLM judge does. They decide nothing where there is no label.
    """

    name = "rules (the label chosen, and no other option)"

    def __call__(self, questions: Sequence[Question]) -> list[str | None]:
        """See `Judge`."""
        return [_by_rule(question) for question in questions]


def _by_rule(question: Question) -> str | None:
    if question.label is None:
        return None
    if question.extract:
        return _value(question.response, question.label)
    return question.replies[0] if _chooses_label(question, question.label) else question.replies[1]


def _value(response: str, label: str) -> str:
    """Where the label is a number, the only number in the response; else all of the response."""
    if not re.fullmatch(_NUMBER, label.strip()):
        return response.strip() or "N/A"
    numbers = re.findall(rf"(?<![\w.]){_NUMBER}(?![\w])", response)
    return numbers[0] if len(numbers) == 1 else "N/A"


def _chooses_label(question: Question, label: str) -> bool:
    letters = lettered(question.instruction)
    if wanted := chosen(label, letters):
        return chosen(question.response, letters) == wanted
    if options := offered(question.instruction):
        others = [option for option in options if normal(option) != normal(label)]
        return named(question.response, [label, *others]) == [label]
    return contains(normal(question.response), normal(label))


def load_judge(name: str, server: str | None = None) -> Judge | None:
    """A judge by name: `none`, `rules`, the reference of a local LLM, or the name of an LLM behind a server.

    Raises:
        SpeechLLMError: the reference or the server is no good, or a server is given without an LLM to judge.
    """
    if name in {"none", "rules"}:
        if server is not None:
            raise SpeechLLMError(f"judge {name!r} needs no server; give the LLM's name on {server} as the judge")
        return RuleJudge() if name == "rules" else None
    if server is not None:
        from speechllm.models.served import ServedReplier

        return LlmJudge(ServedReplier(server, name), f"{name} at {server}")
    from speechllm.targets.generation import load_text_llm

    return LlmJudge(load_text_llm(name).reply, name)
