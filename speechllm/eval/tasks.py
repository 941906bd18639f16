"""What is asked and how a reply is read: questions about audio with a true answer, an extraction, and a metric."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from speechllm.data.attributes import ATTRIBUTES, extract_value
from speechllm.data.bins import values_among
from speechllm.data.describe import describe
from speechllm.data.manifest import Utterance
from speechllm.data.prompts import TRANSCRIBE, Prompt
from speechllm.data.render import Message, audio_parts, describe_audio

Metric = Literal["accuracy", "wer", "pearson", "bleu", "chrf", "slot_f1"]

Extract = Callable[["Question", str], str | None]
"""From a question and a reply the answer that it gives; None where it gives none, or several."""


@dataclass(frozen=True)
class Question:
    """One prompt about utterances, or about none, and the true answer."""

    utterances: tuple[Utterance, ...]
    prompt: Prompt
    truth: str
    choices: tuple[str, ...] = ()
    """The answers that the prompt names, where it does."""
    row: Mapping[str, Any] = field(default_factory=dict)
    """The benchmark's own row, which its files of responses repeat."""
    reading: str | None = None
    """All that the text LLM is told in place of description and prompt, where the benchmark words it itself."""
    spoken: bool = False
    """Whether the utterances themselves ask: the user's turn is them alone, and a text LLM reads their words alone."""

    @property
    def id(self) -> str:
        """Of the question, within its task."""
        return "+".join(u.id for u in self.utterances) or self.prompt.id

    def heard(self, transcript: bool) -> list[Message]:
        """What the speech LLM is asked; `transcript`: it takes the recogniser's words too."""
        if not self.utterances:
            return self.bare()
        parts: list[dict[str, object]] = [
            {
                "path": u.audio,
                "start": u.start,
                "end": u.end,
                **({"transcript": u.recognised_text} if transcript and u.recognised_text else {}),
            }
            for u in self.utterances
        ]
        messages = self.prompt.messages(parts[0])
        content = messages[-1]["content"]
        assert isinstance(content, list)
        clips = [*content[:1], *({"type": "audio", **part} for part in parts[1:])]
        asked = [] if self.spoken else content[1:]
        return [*messages[:-1], {**messages[-1], "content": [*clips, *asked]}]

    def read(self, attributes: Sequence[str] | None) -> list[Message]:
        """What the text LLM is asked that reads the true description: the ceiling.

        Its words are the corpus's, or where there are none the recogniser's, as in the descriptions that are trained on
        (`speechllm transcribe`): who reads fewer words than the speech LLM is easily better at a form, and no ceiling.
        """
        if self.reading is not None:
            return self.prompt.model_copy(update={"text": self.reading}).text_messages()
        known = [u if u.text else u.model_copy(update={"text": u.recognised_text}) for u in self.utterances]
        return self._described(known, attributes)

    def transcribed(self) -> list[Message]:
        """What the text LLM is asked that reads the recogniser's words alone: the cascade."""
        words = [u.model_copy(update={"text": u.recognised_text or ""}) for u in self.utterances]
        return self._described(words, [])

    def bare(self) -> list[Message]:
        """What the text LLM is asked that is told nothing."""
        return self.prompt.text_messages()

    def _described(self, utterances: Sequence[Utterance], attributes: Sequence[str] | None) -> list[Message]:
        style = self.prompt.style or "desta"
        told = [(u.text or "") if self.spoken else describe(u, style, attributes) for u in utterances]
        messages = self.heard(False)
        assert len(audio_parts(messages)) == len(told)
        return describe_audio(messages, told)


@dataclass(frozen=True)
class Official:
    """The benchmark whose own scorer scores the replies to a task, and the file in which it takes them."""

    benchmark: str
    """As `speechllm score` calls it."""
    file: str
    """Of the responses, beside those to its other tasks: `.jsonl` a row a line, `.json` an object by question's id."""
    holds: str = "response"
    """Field of a row that holds the response."""
    beside: Mapping[str, Any] = field(default_factory=dict)
    """JSON files that the scorer looks for there too, by name."""
    alone: bool = False
    """Whether the task has no other scores: nothing else can tell if a reply is right, or nothing is heard in it."""


@dataclass(frozen=True)
class Task:
    """Questions that are scored together."""

    name: str
    questions: tuple[Question, ...]
    extract: Extract
    metric: Metric = "accuracy"
    version: str = "1"
    """Changes when its scores can no longer be compared with older ones."""
    rule: str = ""
    """How a reply is scored, in words for the report."""
    tolerant: Extract | None = None
    """A second way to read a reply, where the official one asks for the very words; both are shown."""
    follows: Callable[[Question, str], bool] | None = None
    """Whether a reply keeps to the form that it is asked for; such tasks tell of what is kept, not of what is heard."""
    schema: dict[str, Any] | None = None
    """JSON schema that a reply is asked to keep to, where the form is JSON."""
    official: Official | None = None
    """Who scores the replies by a benchmark's own rules, where it has a scorer."""
    open: bool = False
    """Whether the prompt is this package's own and may be put in other words; a benchmark's may not."""
    described: tuple[str, ...] = ()
    """Attributes that the ceiling is told although nobody asks for them."""

    @property
    def left_to_benchmark(self) -> bool:
        """Whether `extract` tells nothing of what is right, and the benchmark's scorer alone does."""
        return self.official is not None and self.official.alone


def attribute_task(kind: str, utterances: Sequence[Utterance], prompt: Prompt) -> Task:
    """Names of an attribute's value, or the words spoken where `kind` is `transcribe`, of labelled utterances."""
    if kind == TRANSCRIBE:
        said = tuple(Question((u,), prompt, u.text) for u in utterances if u.text)
        return Task(kind, said, whole_reply, "wer", rule=WHOLE, open=True)
    asked = [(u, str(value)) for u in utterances if (value := u.value(kind)) is not None]
    values = values_among(kind, (value for _, value in asked))
    questions = tuple(Question((u,), prompt, value, values) for u, value in asked)
    return Task(kind, questions, named_value, rule="the reply names the true value and no other", open=True)


SPEAKER = "speaker_verification"

SAME_SPEAKER = Prompt(id=SPEAKER, kind=SPEAKER, text="Is it the same speaker in both recordings? Answer yes or no.")


def speaker_task(utterances: Sequence[Utterance]) -> Task:
    """Speaker verification: two recordings each, half of them of one speaker; every clip that has a mate is asked once.

    The true descriptions do not name speakers, so that the ceiling here is what gender, age and manner give away.
    """
    rng = random.Random(0)
    by_speaker: dict[str, list[Utterance]] = {}
    for utterance in utterances:
        if utterance.speaker is not None:
            by_speaker.setdefault(utterance.speaker, []).append(utterance)
    mates = []
    for speaker in sorted(by_speaker):
        clips = rng.sample(by_speaker[speaker], len(by_speaker[speaker]))
        mates += list(zip(clips[::2], clips[1::2]))
    questions = []
    for number, (first, second) in enumerate(rng.sample(mates, len(mates))):
        others = [u for _, u in mates if u.speaker != first.speaker]
        if number % 2 and others:
            questions.append(Question((first, rng.choice(others)), SAME_SPEAKER, "no", ("yes", "no")))
        else:
            questions.append(Question((first, second), SAME_SPEAKER, "yes", ("yes", "no")))
    if len({question.truth for question in questions}) < 2:
        questions = []  # of one speaker, or of one pair, there is nothing to tell
    return Task(SPEAKER, tuple(questions), named_choice, rule="the reply says yes or no, and rightly")


WHOLE = "word error rate of the whole reply"


def whole_reply(question: Question, reply: str) -> str:
    """The reply as it is."""
    return reply


def named_value(question: Question, reply: str) -> str | None:
    """The one value that the reply names as whole words: by the synonyms of a known attribute, else by the choices."""
    kind = question.prompt.kind
    known = set(ATTRIBUTES[kind].values) if kind in ATTRIBUTES else set()
    if known and (known >= set(question.choices) or known <= set(question.choices)):
        return extract_value(kind, reply, question.choices)
    return named_choice(question, reply)


def named_choice(question: Question, reply: str) -> str | None:
    """The one choice that the reply names: by its words, or by its letter as `(a)`, `a)`, `a.` or alone.

    A choice that lies within another that is named, as `sad` within `very sad`, does not count.
    """
    text = _plain(reply)
    named = [c for c in question.choices if re.search(rf"(?<!\w){re.escape(_plain(c))}(?!\w)", text)]
    named = [c for c in named if not any(c != other and _plain(c) in _plain(other) for other in named)]
    if named:
        return named[0] if len(named) == 1 else None
    letters = set(re.findall(r"\(([a-z])\)", text)) or set(re.findall(r"^\s*([a-z])\s*(?:[).:]|$)", text))
    at = [ord(letter) - ord("a") for letter in letters]
    return question.choices[at[0]] if len(at) == 1 and at[0] < len(question.choices) else None


def _plain(text: str) -> str:
    return " ".join(text.lower().split())
