"""Which of several options a response chooses; the tolerant reading that stands beside a benchmark's own rule."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence

_OPTIONS = re.compile(r"the answer could be (.+?)\.?\s*$", re.IGNORECASE | re.DOTALL)


def offered(instruction: str) -> list[str]:
    """The options at the end of an instruction of Dynamic-SUPERB: "... The answer could be A, B, or C."."""
    found = _OPTIONS.search(instruction)
    if found is None:
        return []
    parts = re.split(r"\s*,\s*(?:or\s+)?|\s+or\s+", found.group(1).strip())
    return [part.strip(" \"'") for part in parts if part.strip(" \"'")]


def normal(text: str) -> list[str]:
    """Words whatever their case, signs, and forms of letters and digits (`３` is `3`); a literal \\n parts them."""
    return re.findall(r"\w+", unicodedata.normalize("NFKC", text.replace("\\n", "\n")).casefold())


def contains(words: Sequence[str], part: Sequence[str]) -> bool:
    """Whether `part` stands in `words` in one piece."""
    return bool(part) and any(list(words[k : k + len(part)]) == list(part) for k in range(len(words) - len(part) + 1))


def named(response: str, options: Sequence[str]) -> list[str]:
    """The options that a response names; not those that only stand inside a longer one ("loud" in "very loud")."""
    words = normal(response)
    parts = {option: normal(option) for option in options}
    found: list[str] = []
    for option in sorted(options, key=lambda option: -len(parts[option])):
        if contains(words, parts[option]):
            found.append(option)
            words = _without(words, parts[option])
    return [option for option in options if option in found]


def lettered(instruction: str) -> dict[str, str]:
    """Options by letter: "Which? (a) Paris (b) London"."""
    parts = re.split(r"\(([a-z])\)", instruction)
    return {letter: text.strip() for letter, text in zip(parts[1::2], parts[2::2])}


def chosen(response: str, options: Mapping[str, str]) -> list[str]:
    """The letters of the options that a response chooses: by letter (in brackets, alone, in front) or by text."""
    text = response.strip().lower()
    found = set(re.findall(r"\(([a-z])\)", text)) | set(re.findall(r"^\W*([a-z])(?:[.):]|\W*$)", text))
    texts = named(response, [text for text in options.values() if text])
    return [letter for letter, text in options.items() if letter in found or text in texts]


def _without(words: Sequence[str], part: Sequence[str]) -> list[str]:
    left, k = [], 0
    while k < len(words):
        if list(words[k : k + len(part)]) == list(part):
            left.append("")  # so that what stood around it does not grow together
            k += len(part)
        else:
            left.append(words[k])
            k += 1
    return left
