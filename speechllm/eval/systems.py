"""The systems that are compared on the same questions: the speech LLM, its ceiling, the cascade, and nothing heard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from speechllm.data.describe import describe
from speechllm.data.manifest import Utterance
from speechllm.data.prompts import Prompt
from speechllm.data.render import Message, describe_audio
from speechllm.models.reply import Replier, Reply, Sampling

SYSTEMS = ("model", "ceiling", "cascade", "nothing")
"""speech LLM; text LLM with the true description; text LLM with the recognised words; text LLM with the question."""


@dataclass(frozen=True)
class Question:
    """One prompt about one utterance."""

    utterance: Utterance
    prompt: Prompt

    def conversation(self, system: str, attributes: Sequence[str] | None, transcript: bool) -> list[Message]:
        """What the system of that name is asked."""
        u, style = self.utterance, self.prompt.style or "desta"
        if system == "model":
            heard = {"transcript": u.recognised_text} if transcript and u.recognised_text else {}
            return self.prompt.messages({"path": u.audio, "start": u.start, "end": u.end, **heard})
        messages = self.prompt.messages()
        if system == "ceiling":
            return describe_audio(messages, [describe(u, style, attributes)])
        if system == "cascade":
            words = u.model_copy(update={"text": u.recognised_text or ""})
            return describe_audio(messages, [describe(words, style, [])])
        question = [part for part in messages[-1]["content"] if part["type"] == "text"]
        return [*messages[:-1], {**messages[-1], "content": question}]


@dataclass
class Answers:
    """The replies of each system to the same questions, in order."""

    questions: list[Question]
    replies: dict[str, list[Reply]] = field(default_factory=dict)

    def of_kind(self, kind: str) -> list[int]:
        """Which questions ask for `kind`."""
        return [i for i, question in enumerate(self.questions) if question.prompt.kind == kind]


def ask_all(
    questions: Sequence[Question],
    speech: Replier,
    text: Replier,
    *,
    attributes: Sequence[str] | None,
    transcript: bool,
    sampling: Sampling,
) -> Answers:
    """Puts the same questions to all systems; equal conversations are answered once."""
    answers = Answers(list(questions))
    for system in SYSTEMS:
        conversations = [q.conversation(system, attributes, transcript) for q in questions]
        distinct = {str(conversation): conversation for conversation in conversations}
        replier = speech if system == "model" else text
        replies = dict(zip(distinct, replier(list(distinct.values()), sampling, f"ask {system}"), strict=True))
        answers.replies[system] = [replies[str(conversation)] for conversation in conversations]
    return answers
