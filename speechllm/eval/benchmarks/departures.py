"""Where Speech-IFEval's checks depart from IFEval's, in five places.

From https://github.com/kehanlu/Speech-IFEval (`instruction_following_eval/instructions.py`).
"""

from __future__ import annotations

import functools
import re
from typing import Any

from speechllm.eval.benchmarks.checkers import Check, Checkers, load_checkers, with_check

_BULLETS = (r"^\s*\*[^\*].*$", r"^\s*-.*$", r"^\s*•.*$", r"^\s*\d.*$")
"""Lines that begin with one of three signs or with any digit, Arabic-Indic and full-width ones included."""


def bullets(arguments: dict[str, Any], response: str) -> bool:
    """A literal backslash-n counts as a line break, and lines that begin with a digit count as bullets."""
    text = response.replace("\\n", "\n")
    found = sum(len(re.findall(pattern, text, flags=re.MULTILINE)) for pattern in _BULLETS)
    return found == arguments["num_bullets"]


def paragraphs(arguments: dict[str, Any], response: str) -> bool:
    """Any line break parts paragraphs, not only three asterisks."""
    parts = re.split(r"\s*\*\*\*\s*|\n{1,}", response.strip())
    if any(not part.strip() for part in parts[1:-1]):
        return False
    edges = parts[:1] if len(parts) == 1 else [parts[0], parts[-1]]
    return len(parts) - sum(not part.strip() for part in edges) == arguments["num_paragraphs"]


def repeats_prompt(arguments: dict[str, Any], response: str) -> bool:
    """Quotation marks around the response are taken off first."""
    said = response.strip().lower().strip("\"'")
    return said.startswith(arguments["prompt_to_repeat"].strip().lower())


def upper_case(arguments: dict[str, Any], response: str) -> bool:
    """In any language."""
    return response.isupper()


def lower_case(arguments: dict[str, Any], response: str) -> bool:
    """In any language."""
    return response.islower()


DEPARTURES: dict[str, Check] = {
    "detectable_format:number_bullet_lists": bullets,
    "length_constraints:number_paragraphs": paragraphs,
    "combination:repeat_prompt": repeats_prompt,
    "change_case:english_capital": upper_case,
    "change_case:english_lowercase": lower_case,
}


@functools.cache
def speech_checkers() -> Checkers:
    """Google's checkers, with Speech-IFEval's in five places.

    Raises:
        SpeechLLMError: the extra `eval` is not installed.
    """
    google = load_checkers()
    return {**google, **{name: with_check(google[name], check) for name, check in DEPARTURES.items()}}
