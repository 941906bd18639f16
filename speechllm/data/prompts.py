"""The pool of prompts: questions about audio, by what they ask for."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from speechllm.data.describe import DescriptionStyle
from speechllm.data.jsonl import parse_line, read_jsonl
from speechllm.data.render import Message, ask

TRANSCRIBE = "transcribe"
"""The kind of prompts that ask for the words spoken; replies to these and to attributes can be checked."""


class Prompt(BaseModel):
    """One question; `style` and `system` are how the description it was chosen with was written and framed."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    id: str = Field(min_length=1)
    kind: str = Field(description="what it asks for: an attribute by name, 'transcribe', 'describe', 'reason', ...")
    text: str = Field(min_length=1)
    system: str | None = None
    style: DescriptionStyle | None = None
    language: str = Field(default="en", description="in which it asks")
    before: list[dict[str, str]] | None = Field(
        default=None, description="turns of text that come before the one with the audio"
    )
    expects: dict[str, Any] | None = Field(
        default=None, description="the form of a right reply: {'regex': ...} for all of it, or {'json_schema': ...}"
    )

    def messages(self, audio: dict[str, object] | None = None) -> list[Message]:
        """The conversation that asks this prompt about a piece of audio."""
        return self._after_before(ask(self.text, system=self.system, audio=audio if audio is not None else {}))

    def text_messages(self) -> list[Message]:
        """The conversation that asks this prompt about nothing but itself."""
        return self._after_before(ask(self.text, system=self.system))

    def _after_before(self, messages: list[Message]) -> list[Message]:
        return [*messages[:-1], *(self.before or []), messages[-1]]


def built_in_prompts(kinds: Sequence[str] | None = None, language: str | None = None) -> list[Prompt]:
    """The prompts that come with the package, all or those of some kinds and of one language (`en`, `zh`)."""
    text = resources.files("speechllm.data").joinpath("prompts.jsonl").read_text(encoding="utf-8")
    prompts = [parse_line(line, Prompt, f"prompts.jsonl:{n}") for n, line in enumerate(text.splitlines(), 1)]
    return [
        prompt
        for prompt in prompts
        if (kinds is None or prompt.kind in kinds) and (language is None or prompt.language == language)
    ]


def plain(prompts: Sequence[Prompt]) -> list[Prompt]:
    """Those without a system prompt or earlier turns of their own: what a search can combine freely."""
    return [prompt for prompt in prompts if prompt.system is None and prompt.before is None]


def read_prompts(path: Path) -> list[Prompt]:
    """Prompts of a JSON Lines file of the user's."""
    return read_jsonl(path, Prompt)
