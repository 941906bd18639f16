"""A scripted LLM: replies that a function of the conversation decides, for tests of everything around an LLM."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from speechllm.data.render import Message
from speechllm.models.reply import Reply, Sampling


class ScriptedReplier:
    """Answers each conversation with `script(messages)`; keeps what it was asked in `asked`."""

    def __init__(self, script: Callable[[Sequence[Message]], str]) -> None:
        self._script = script
        self.asked: list[Sequence[Message]] = []

    def __call__(
        self, conversations: Sequence[Sequence[Message]], sampling: Sampling, description: str = "replies"
    ) -> list[Reply]:
        """See `Replier`."""
        self.asked += conversations
        return [Reply(self._script(messages), "stop") for messages in conversations]
