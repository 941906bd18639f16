"""Filters over replies: which ones must not teach, and why."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Literal

from speechllm.data.attributes import ATTRIBUTES, extract_value
from speechllm.data.bins import values_among
from speechllm.targets.strategies.base import Item
from speechllm.targets.verify import has_form

Verdict = Literal["empty", "truncated", "repetition", "refusal", "language", "leaked_metadata", "form", "contradiction"]

DROPPED: frozenset[Verdict] = frozenset({"empty", "repetition", "refusal", "language", "leaked_metadata", "form"})
"""Verdicts that keep a reply out of the targets.

A reply without the form that its prompt `expects` would teach to leave it out: of 40 replies of SmolLM2-135M to prompts
that asked for a postscript 2 had one (`egs/forgetting/RESULTS.md`).

A truncated one stays, since it does not teach an end of turn; a contradiction stays, since the reply is still what this
LLM says about that description, which is what self-output teaches.
"""

_REFUSAL = re.compile(
    r"\b(?:I'?m sorry|I apologi[sz]e|I (?:can'?t|cannot|am (?:not able|unable)|'?m (?:not able|unable)) (?:to )?"
    r"(?:hear|listen|help|assist|answer|provide|process|access|determine|identify)|as an? (?:AI|text-based)|"
    r"(?:no|any) audio (?:was |has been )?(?:provided|attached)|don'?t have (?:access|the ability))"
    r"|抱歉|对不起|无法(?:听|回答|提供|处理|判断|识别)|作为一个?(?:AI|人工智能|语言模型)",
    re.IGNORECASE,
)
_LEAK = re.compile(
    r"</?(?:text|gender|pitch|age|emotion|accent|volume|speaking speed)>|\[\d\d:\d\d(?::\d\d)? ?- ?\d\d:\d\d"
    r"|<\|[a-z_]+\|>|\((?:Gender|Pitch|Emotion|Age|Accent|Volume|Speaking speed): "
    r"|\b(?:in|from|of|to) (?:(?:the )?(?:parenthes[ei]s|brackets|metadata)"
    r"|the (?:tags?|(?:text |audio )?description))\b"
    r"|(?:括号|元数据|标签|描述)(?:中|里|内)",
    re.IGNORECASE,
)
_HAN = re.compile(r"[\u3400-\u9fff]")
_LATIN = re.compile(r"[A-Za-z]")


def verdicts(item: Item, reply: str, finish_reason: str) -> list[Verdict]:
    """All that is wrong with a reply, in the order of `Verdict`."""
    tests: dict[Verdict, Callable[[], bool]] = {
        "empty": lambda: not reply.strip(),
        "truncated": lambda: finish_reason == "length",
        "repetition": lambda: repeats(reply),
        "refusal": lambda: refuses(reply),
        "language": lambda: wrong_language(item, reply),
        "leaked_metadata": lambda: _LEAK.search(reply) is not None and _LEAK.search(item.prompt.text) is None,
        "form": lambda: has_form(item.prompt.expects, reply) is False,
        "contradiction": lambda: contradicts(item, reply),
    }
    return [verdict for verdict, holds in tests.items() if holds()]


def refuses(reply: str) -> bool:
    """Whether the reply declines to answer."""
    return _REFUSAL.search(reply) is not None


def repeats(reply: str, times: int = 4) -> bool:
    """Whether one phrase of at least three words (characters, in Chinese) stands `times` times in a row or a line
    `times` times in all."""
    words = list(reply) if _HAN.search(reply) else reply.split()
    for size in range(3, len(words) // times + 1):
        run = 0
        for a, b in zip(words, words[size:]):
            run = run + 1 if a == b else 0
            if run >= size * (times - 1):
                return True
    lines = [line.strip() for line in reply.splitlines() if len(line.strip()) > 3]
    return bool(lines) and max(Counter(lines).values()) >= times


def wrong_language(item: Item, reply: str) -> bool:
    """Whether a reply to an English prompt is in Chinese or the other way round; not judged where words are quoted.

    Prompts that ask for a transcript or a translation, and prompts in other languages, are not judged.
    """
    if item.prompt.kind in {"transcribe", "translate"} or item.prompt.expects:
        return False
    han, latin = len(_HAN.findall(reply)), len(_LATIN.findall(reply))
    if han + latin < 8:
        return False
    spoken = (item.utterance.language or "en") if item.utterance else "en"
    if item.prompt.language == "zh":
        return han == 0
    return item.prompt.language == "en" and not spoken.startswith("zh") and han > latin


def contradicts(item: Item, reply: str) -> bool:
    """Whether the reply names a value other than the described one for the attribute that the prompt asks for."""
    kind = item.prompt.kind
    if item.utterance is None or kind not in ATTRIBUTES or not ATTRIBUTES[kind].values:
        return False
    true = item.utterance.value(kind)
    if true is None:
        return False
    named = extract_value(kind, reply, values_among(kind, [true]))
    return named is not None and named != true


def rejected(found: Sequence[Verdict]) -> bool:
    """Whether any verdict keeps the reply out."""
    return bool(DROPPED & set(found))
