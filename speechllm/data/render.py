"""The one renderer of prompts: chat messages to the string that the LLM reads, everywhere in the package.

Target generation, training, evaluation and serving all come through here, so a prompt is the same string in each of
them. Messages are those of the Hugging Face chat convention; `content` is a string or a list of parts,
`{"type": "text", "text": ...}` and `{"type": "audio", ...}`, which are joined by a newline.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from speechllm.errors import SpeechLLMError

AUDIO_TOKEN = "<|audio|>"
"""Stands in the rendered string for one vector of audio."""

Message = dict[str, Any]


class PromptRenderer:
    """Renders messages with a tokenizer's chat template."""

    def __init__(self, tokenizer: Any) -> None:
        if not getattr(tokenizer, "chat_template", None):
            raise SpeechLLMError(
                f"{tokenizer.name_or_path}: its tokenizer has no chat template; use an instruction-tuned LLM"
            )
        self._tokenizer = tokenizer
        self.end_of_turn = self._find_end_of_turn()

    def prompt(self, messages: Sequence[Message]) -> str:
        """The string up to where the reply begins. Each audio part is one `AUDIO_TOKEN`."""
        return str(
            self._tokenizer.apply_chat_template(
                [{**message, "content": flatten(message["content"])} for message in messages],
                tokenize=False,
                add_generation_prompt=True,
            )
        )

    def conversation(self, messages: Sequence[Message], reply: str, *, complete: bool = True) -> tuple[str, int]:
        """Prompt, reply and, if the reply is `complete`, the end of turn; and the character at which the reply starts.

        The string continues the prompt exactly as generation would, so training sees what inference sees.
        """
        prompt = self.prompt(messages)
        return prompt + reply + (self.end_of_turn if complete else ""), len(prompt)

    @property
    def template_hash(self) -> str:
        """SHA-256 of what the LLM reads for a fixed conversation with audio in it, and of the end of turn."""
        probe: list[Message] = [
            {"role": "system", "content": "s"},
            {"role": "user", "content": [{"type": "audio"}, {"type": "text", "text": "u"}]},
            {"role": "assistant", "content": "a"},
            {"role": "user", "content": "v"},
        ]
        return hashlib.sha256((self.prompt(probe) + self.end_of_turn).encode()).hexdigest()

    def _find_end_of_turn(self) -> str:
        """The special token that the template writes after an assistant's reply."""
        reply = "speechllmreply"
        text = str(
            self._tokenizer.apply_chat_template(
                [{"role": "user", "content": "u"}, {"role": "assistant", "content": reply}], tokenize=False
            )
        )
        after = text.rpartition(reply)[2]
        special = self._tokenizer.all_special_tokens
        found = min((token for token in special if token in after), key=after.index, default=None)
        return found if found is not None else str(self._tokenizer.eos_token)


def flatten(content: str | Sequence[dict[str, Any]]) -> str:
    """Message content as one string; the parts are joined by a newline."""
    if isinstance(content, str):
        return content
    return "\n".join(_part(part) for part in content)


def _part(part: dict[str, Any]) -> str:
    kind = part.get("type")
    if kind == "audio":
        # The recogniser's words, tagged so that they are not taken for the instruction.
        transcript = part.get("transcript")
        return AUDIO_TOKEN + (f"<text>{transcript}</text>" if transcript else "")
    if kind == "text":
        return str(part["text"])
    raise SpeechLLMError(f"message part of type {kind!r} is not known; use 'text' or 'audio'")


def audio_parts(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """All audio parts of a conversation, in order."""
    return [
        part
        for message in messages
        if not isinstance(message["content"], str)
        for part in message["content"]
        if part.get("type") == "audio"
    ]


def describe_audio(messages: Sequence[Message], descriptions: Sequence[str]) -> list[Message]:
    """The same conversation for the text LLM: every audio part replaced by its description."""
    remaining = iter(descriptions)

    def written(part: dict[str, Any]) -> dict[str, Any]:
        return {"type": "text", "text": next(remaining)} if part.get("type") == "audio" else part

    return [
        message
        if isinstance(message["content"], str)
        else {**message, "content": [written(part) for part in message["content"]]}
        for message in messages
    ]


def ask(question: str, *, system: str | None = None, audio: dict[str, Any] | None = None) -> list[Message]:
    """A conversation of one question, about an audio part `{"path": ...}` where one is given."""
    parts = ([{"type": "audio", **audio}] if audio is not None else []) + [{"type": "text", "text": question}]
    messages: list[Message] = [] if system is None else [{"role": "system", "content": system}]
    return [*messages, {"role": "user", "content": parts}]
