"""The LLM's own words: the reply to the described audio (DeSTA2), to the description alone, or its continuation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from speechllm.data.render import Message
from speechllm.models.reply import Replier
from speechllm.targets.strategies.base import Item, Writer, Written

Form = Literal["instruction", "bare", "continuation"]

CONTINUE = "Continue the following text in a coherent and engaging style with less than 40 words."
"""BLSP's instruction (arXiv 2309.00916)."""


class SelfOutput:
    """The reply of the LLM that the adapter is trained for.

    Args:
        form: `instruction` answers the prompt (DeSTA2, arXiv 2409.20007); `bare` answers the description with no
            prompt at all (AZeroS, arXiv 2601.06086); `continuation` goes on from the words spoken (BLSP).
    """

    def __init__(self, form: Form = "instruction") -> None:
        self.name = "self_output" if form == "instruction" else f"self_output_{form}"
        self.form = form

    @property
    def settings(self) -> dict[str, Any]:
        """See `Strategy`."""
        return {"form": self.form}

    def write(self, items: Sequence[Item], writer: Writer) -> list[Written]:
        """See `Strategy`."""
        replies = writer.ask([self._read(item) for item in items])
        return [
            Written(reply.text, reply.finish_reason, messages=self._kept(item))
            for item, reply in zip(items, replies, strict=True)
        ]

    def _read(self, item: Item) -> list[Message]:
        if self.form == "instruction":
            return item.described
        words = (item.utterance.text if item.utterance else None) or item.description
        system, audio = _frame(item)
        told = item.description if self.form == "bare" else f"{CONTINUE}\n{words}"
        return [*system, {**audio, "content": [{"type": "text", "text": told}]}]

    def _kept(self, item: Item) -> list[Message] | None:
        """The model hears the audio where the LLM read; it is given no more than the LLM was."""
        if self.form == "instruction":
            return None
        system, audio = _frame(item)
        told = [{"type": "text", "text": CONTINUE}] if self.form == "continuation" else []
        return [*system, {**audio, "content": [*told, {"type": "audio"}]}]


def _frame(item: Item) -> tuple[list[Message], Message]:
    """The system prompt, and an empty user's turn."""
    return [m for m in item.messages if m["role"] == "system"], {"role": "user"}


class CrossModel:
    """Another LLM's reply: what self-output is compared with.

    Args:
        replier: the other LLM.
        reference: its model reference.
        revision: hash of its weights.
    """

    name = "cross_model"

    def __init__(self, replier: Replier, reference: str, revision: str) -> None:
        self._replier = replier
        self._generator = (reference, revision)

    @property
    def settings(self) -> dict[str, Any]:
        """See `Strategy`."""
        return {"generator": list(self._generator)}

    def write(self, items: Sequence[Item], writer: Writer) -> list[Written]:
        """See `Strategy`; `writer` lends its sampling only."""
        other = Writer(self._replier, writer.sampling, writer.description)
        replies = other.ask([item.described for item in items])
        return [Written(reply.text, reply.finish_reason, generator=self._generator) for reply in replies]
