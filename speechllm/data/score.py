"""How faithful a reply is to what is known about the utterance: used to choose prompts and to evaluate models."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import jiwer
from whisper_normalizer.basic import BasicTextNormalizer
from whisper_normalizer.english import EnglishTextNormalizer

from speechllm.data.attributes import extract_value
from speechllm.data.bins import values_among
from speechllm.data.manifest import Utterance
from speechllm.data.prompts import TRANSCRIBE


def faithfulness(kind: str, utterance: Utterance, reply: str) -> float:
    """1 where the reply names the attribute's true value and no other, else 0; for transcripts 1 - WER, at least 0."""
    if kind == TRANSCRIBE:
        return max(0.0, 1.0 - word_error_rate([utterance.text or ""], [reply], utterance.language))
    true = utterance.value(kind)
    return float(extract_value(kind, reply, values_among(kind, [] if true is None else [true])) == true)


def word_error_rate(references: Sequence[str], hypotheses: Sequence[str], language: str | None = "en") -> float:
    """Corpus WER after Whisper's normaliser (English for `en`, basic otherwise), as published results use it.

    Languages written without spaces are counted by character. References that normalise to nothing are left out; the
    result is NaN if none remains.
    """
    counts = [word_errors(r, h, language) for r, h in zip(references, hypotheses, strict=True)]
    words = sum(n for _, n in counts)
    return sum(errors for errors, _ in counts) / words if words else float("nan")


def word_errors(reference: str, hypothesis: str, language: str | None = "en") -> tuple[int, int]:
    """Errors and words of one reference; (0, 0) where it normalises to nothing."""
    said, heard = (_words(text, language or "en") for text in (reference, hypothesis))
    if not said:
        return 0, 0
    found = jiwer.process_words(reference=said, hypothesis=heard)
    return found.substitutions + found.deletions + found.insertions, len(said.split())


def _words(text: str, language: str) -> str:
    words = _normaliser(language)(text).strip()
    return " ".join(words.replace(" ", "")) if re.split("[-_]", language.lower())[0] in UNSPACED else words


UNSPACED = frozenset({"zh", "cmn", "yue", "ja", "th", "lo", "my", "km"})
"""Languages that are written without spaces between words: Chinese (also as FLEURS calls it), Japanese, Thai, Lao,
Burmese, Khmer."""


@lru_cache
def _normaliser(language: str) -> Any:
    return EnglishTextNormalizer() if language.startswith("en") else BasicTextNormalizer()
