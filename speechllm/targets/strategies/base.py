"""What a strategy is: it turns pieces of work into replies to learn, with an LLM at hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from speechllm.data.manifest import Utterance
from speechllm.data.prompts import Prompt
from speechllm.data.render import Message, describe_audio
from speechllm.errors import SpeechLLMError
from speechllm.models.reply import FinishReason, Replier, Reply, Sampling

Outcome = Literal["kept", "replaced", "dropped"]
"""Of a reply: the LLM's own words stand, others took their place, or there is nothing to learn."""


@dataclass(frozen=True)
class Item:
    """One piece of work: a prompt about a described utterance, or a text-only one (`utterance` is None)."""

    id: str
    prompt: Prompt
    utterance: Utterance | None = None
    description: str = ""
    style: str = ""
    gold: str | None = None
    """The right reply, where the data has it; strategies over audio derive it from the utterance instead."""

    @property
    def messages(self) -> list[Message]:
        """The conversation as the record keeps it: with an audio part, where it is about audio."""
        return self.prompt.messages() if self.utterance is not None else self.prompt.text_messages()

    @property
    def described(self) -> list[Message]:
        """The conversation as the text LLM reads it."""
        return describe_audio(self.messages, [self.description]) if self.utterance is not None else self.messages


@dataclass(frozen=True)
class Written:
    """What a strategy made of an item."""

    text: str
    finish_reason: FinishReason = "stop"
    outcome: Outcome = "kept"
    reason: str = ""
    """Why it was replaced or dropped."""
    messages: list[dict[str, Any]] | None = None
    """The conversation, where the strategy wrote its own."""
    generator: tuple[str, str] | None = None
    """Reference and revision of who wrote it, where it was not the job's LLM; the corpus for gold replies."""


@dataclass(frozen=True)
class Writer:
    """The LLM as strategies use it: `ask` for replies to conversations, `complete` to go on from a bare string."""

    replier: Replier
    sampling: Sampling = field(default_factory=Sampling)
    description: str = ""

    def ask(self, conversations: Sequence[Sequence[Message]], sampling: Sampling | None = None) -> list[Reply]:
        """One reply a conversation, in order."""
        replies = self.replier(conversations, sampling or self.sampling, self.description) if conversations else []
        if len(replies) != len(conversations):
            raise ValueError(f"zip: {len(conversations)} conversations but {len(replies)} replies")
        return replies

    def complete(self, texts: Sequence[str], sampling: Sampling) -> list[Reply]:
        """Continuations of rendered strings."""
        complete = getattr(self.replier, "complete", None)
        if complete is None:
            raise SpeechLLMError(
                f"{type(self.replier).__name__} cannot continue a bare template; use the transformers backend, or"
                " pseudo_replay with --replay-shots 2"
            )
        return list(complete(texts, sampling, self.description))


class Strategy(Protocol):
    """A way to write the reply. Deterministic given the items, the LLM and the sampling."""

    name: str

    @property
    def settings(self) -> dict[str, Any]:
        """What changes the replies, as plain values: part of an item's address."""
        ...

    def write(self, items: Sequence[Item], writer: Writer) -> list[Written]:
        """One result an item, in order."""
        ...
