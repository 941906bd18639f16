"""How faithful a reply is to what is known about the utterance: used to choose prompts and to evaluate models."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import jiwer
from whisper_normalizer.basic import BasicTextNormalizer
from whisper_normalizer.english import EnglishTextNormalizer

from speechllm.data.attributes import extract_value
from speechllm.data.manifest import Utterance
from speechllm.data.prompts import TRANSCRIBE


def faithfulness(kind: str, utterance: Utterance, reply: str) -> float:
    """1 where the reply names the attribute's true value and no other, else 0; for transcripts 1 - WER, at least 0."""
    if kind == TRANSCRIBE:
        return max(0.0, 1.0 - word_error_rate([utterance.text or ""], [reply], utterance.language))
    return float(extract_value(kind, reply) == utterance.attributes[kind])


def word_error_rate(references: Sequence[str], hypotheses: Sequence[str], language: str | None = "en") -> float:
    """Corpus WER after Whisper's normaliser (English for `en`, basic otherwise), as published results use it.

    References that normalise to nothing are left out; the result is NaN if none remains.
    """
    normalise = _normaliser(language or "en")
    pairs = [(normalise(r).strip(), normalise(h).strip()) for r, h in zip(references, hypotheses, strict=True)]
    pairs = [(r, h) for r, h in pairs if r]
    if not pairs:
        return float("nan")
    return float(jiwer.wer(reference=[r for r, _ in pairs], hypothesis=[h for _, h in pairs]))


@lru_cache
def _normaliser(language: str) -> Any:
    return EnglishTextNormalizer() if language.startswith("en") else BasicTextNormalizer()
