"""The one exception whose message is meant for the person at the keyboard."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SpeechLLMError(Exception):
    """Bad input or a bad environment: one line that names the file or key and says what to do.

    The command line prints the message without a traceback and exits with `exit_status`; library users catch it like
    any exception. Bugs are never wrapped in it.
    """

    exit_status = 2
    """What the command line exits with."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the nearest of `known`, else the list of what is known."""
    choices = sorted(known)
    near = difflib.get_close_matches(word, choices, n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(choices)}"
