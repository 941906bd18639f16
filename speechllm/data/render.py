"""The one renderer of prompts: chat messages to the string that the LLM reads, everywhere in the package.

Target generation, training, evaluation and serving all come through here, so a prompt is the same string in each of
them. Messages are those of the Hugging Face chat convention; `content` is a string or a list of parts,
`{"type": "text", "text": ...}` and `{"type": "audio", ...}`, which are joined by a newline.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import jinja2

from speechllm.data.translations import WORDINGS
from speechllm.errors import SpeechLLMError

AUDIO_TOKEN = "<|audio|>"
"""Stands in the rendered string for one vector of audio."""

Message = dict[str, Any]

_SAYS = WORDINGS["en"].says
"""As in descriptions of the style `natural`."""

_TIMELESS = "{% macro strftime_now(form) %}{{ form }}{% endmacro %}"
"""Put before a template, takes the place of the clock that transformers gives it."""


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
        """The string up to where the reply begins. Each audio part is one `AUDIO_TOKEN`.

        Raises:
            SpeechLLMError: the messages are not well formed, or the template refuses them (some know no system prompt).
        """
        return self._render(messages)

    def conversation(self, messages: Sequence[Message], reply: str, *, complete: bool = True) -> tuple[str, int]:
        """Prompt, reply and, if the reply is `complete`, the end of turn; and the character at which the reply starts.

        The string continues the prompt exactly as generation would, so training sees what inference sees.
        """
        prompt = self.prompt(messages)
        return prompt + reply + (self.end_of_turn if complete else ""), len(prompt)

    @property
    def template_hash(self) -> str:
        """SHA-256 of what the LLM reads for fixed conversations with audio in them, and of the end of turn.

        With and without a system prompt, since templates write one of their own or refuse one; on a fixed day, since
        some write today's date.
        """
        probe: list[Message] = [
            {"role": "user", "content": [{"type": "audio", "transcript": "t"}, {"type": "text", "text": "u"}]},
            {"role": "assistant", "content": "a"},
            {"role": "user", "content": "v"},
        ]
        read = [self.end_of_turn]
        template = _TIMELESS + self._tokenizer.get_chat_template()
        for messages in (probe, [{"role": "system", "content": "s"}, *probe]):
            try:
                read.append(self._render(messages, chat_template=template))
            except SpeechLLMError:
                read.append("refused")
        return hashlib.sha256("\0".join(read).encode()).hexdigest()

    def _render(self, messages: Sequence[Message], chat_template: str | None = None) -> str:
        plain = [{**message, "content": flatten(_content(message))} for message in messages]
        try:
            return str(
                self._tokenizer.apply_chat_template(
                    plain, chat_template=chat_template, tokenize=False, add_generation_prompt=True
                )
            )
        except jinja2.TemplateError as error:
            raise SpeechLLMError(
                f"the chat template of {self._tokenizer.name_or_path} refuses the messages ({error});"
                f" they are from {', '.join(str(message.get('role')) for message in messages)}"
            ) from error

    def _find_end_of_turn(self) -> str:
        """The special token that the template writes after an assistant's reply."""
        reply = "speechllmreply"
        text = str(
            self._tokenizer.apply_chat_template(
                [{"role": "user", "content": "u"}, {"role": "assistant", "content": reply}], tokenize=False
            )
        )
        after = text.rpartition(reply)[2]
        found = min(
            (token for token in special_tokens(self._tokenizer) if token in after),
            key=lambda t: (after.index(t), -len(t)),
            default="",
        )
        return found or str(self._tokenizer.eos_token)


def special_tokens(tokenizer: Any) -> list[str]:
    """All strings that become one control token; the tokenizer's `all_special_tokens` has only those with a name."""
    added = [str(token) for token in tokenizer.added_tokens_decoder.values() if token.special]
    return list(dict.fromkeys([*tokenizer.all_special_tokens, *added]))


def flatten(content: str | Sequence[dict[str, Any]]) -> str:
    """Message content as one string; the parts are joined by a newline."""
    if isinstance(content, str):
        return content
    return "\n".join(_part(part) for part in content)


def _content(message: Message) -> str | Sequence[dict[str, Any]]:
    if not isinstance(message, dict) or "role" not in message:
        raise SpeechLLMError(
            f'{str(message)[:80]!r} is not a message; a conversation is a list of {{"role": ..., "content": ...}}'
        )
    content = message.get("content")
    if isinstance(content, str) or (isinstance(content, list | tuple) and all(isinstance(p, dict) for p in content)):
        return content
    raise SpeechLLMError(
        f"content of a message of role {message['role']!r}: {str(content)[:80]!r} is neither a string nor a list of"
        ' parts {"type": "text", "text": ...} and {"type": "audio", ...}'
    )


def _part(part: dict[str, Any]) -> str:
    kind = part.get("type")
    if kind == "audio":
        # The recogniser's words, said to be words so that they are not taken for the instruction; in a sentence, for a
        # small LLM that reads markup, and is asked for JSON, writes brackets without end (egs/forgetting/RESULTS.md).
        transcript = part.get("transcript")
        return AUDIO_TOKEN + (f" {_SAYS.format(speaker='The speaker', text=transcript)}" if transcript else "")
    if kind == "text":
        if not isinstance(part.get("text"), str):
            raise SpeechLLMError("message part of type 'text': 'text' is missing or not a string")
        return str(part["text"])
    raise SpeechLLMError(f"message part of type {kind!r} is not known; use 'text' or 'audio'")


def audio_parts(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """All audio parts of a conversation, in order."""
    return [
        part
        for message in messages
        if not isinstance(content := _content(message), str)
        for part in content
        if part.get("type") == "audio"
    ]


def describe_audio(messages: Sequence[Message], descriptions: Sequence[str]) -> list[Message]:
    """The same conversation for the text LLM: every audio part replaced by its description."""
    if len(audio_parts(messages)) != len(descriptions):
        raise ValueError(f"{len(audio_parts(messages))} audio parts but {len(descriptions)} descriptions")
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
