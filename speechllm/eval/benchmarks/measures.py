"""Metrics over values or texts that responses give, from the libraries that published figures use."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import jiwer
import numpy as np

from speechllm.errors import SpeechLLMError


def pearson(labels: Sequence[str], values: Sequence[str]) -> float | None:
    """Pearson's correlation, -1 to 1; None where one side does not vary or there are fewer than two rows.

    Raises:
        SpeechLLMError: a label is not a number.
    """
    try:
        x, y = np.array(labels, dtype=float), np.array(values, dtype=float)
    except ValueError as error:
        raise SpeechLLMError(f"Pearson's correlation is of numbers ({error}); is the metric the right one?") from error
    if len(x) < 2 or not x.std() or not y.std():
        return None
    return round(float(np.corrcoef(x, y)[0, 1]), 4)


def word_error_rate(labels: Sequence[str], texts: Sequence[str]) -> float | None:
    """Corpus word error rate in percent, of the texts as they are."""
    return round(100 * float(jiwer.wer(reference=list(labels), hypothesis=list(texts))), 2) if labels else None


def character_error_rate(labels: Sequence[str], texts: Sequence[str]) -> float | None:
    """Corpus character error rate in percent, of the texts as they are."""
    return round(100 * float(jiwer.cer(reference=list(labels), hypothesis=list(texts))), 2) if labels else None


def bleu(labels: Sequence[str], texts: Sequence[str]) -> float | None:
    """sacreBLEU with its 13a tokenizer, 0 to 100.

    Raises:
        SpeechLLMError: the extra `eval` is not installed.
    """
    try:
        import sacrebleu
    except ImportError as error:
        raise SpeechLLMError("BLEU needs sacrebleu; pip install speechllm[eval]") from error
    return round(sacrebleu.corpus_bleu(list(texts), [list(labels)], tokenize="13a").score, 2) if labels else None


MEASURES: dict[str, Callable[[Sequence[str], Sequence[str]], float | None]] = {
    "pearson": pearson,
    "wer": word_error_rate,
    "cer": character_error_rate,
    "bleu": bleu,
}
"""By the name that `NAMES` gives."""
NUMERIC = {"pearson"}
"""Measures of numbers; a value that is none counts as N/A."""

NAMES: dict[str, tuple[str, ...]] = {
    "pearson": ("pearson", "pearsonr", "pcc", "pearsoncorrelation", "pearsoncorrelationcoefficient"),
    "wer": ("wer", "worderrorrate"),
    "cer": ("cer", "charactererrorrate"),
    "bleu": ("bleu", "sacrebleu"),
    "classification": ("accuracy", "classification", "llmclassification"),
}
"""What a metric may be called in `instance.json`, as `plain` writes it; a judge decides `classification`."""


def plain(name: str) -> str:
    """Lower case, and nothing but letters and digits: `LLM_classification` is `llmclassification`."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def measure_of(metric: str) -> str | None:
    """The key of `NAMES` for a whole name of a metric: `bleurt` is not BLEU; None where it is not known."""
    return next((key for key, names in NAMES.items() if plain(metric) in names), None)
