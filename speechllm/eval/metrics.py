"""Numbers from answers: by libraries, each with the interval that holds it in 95 of 100 samples of this size."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats
from sklearn.metrics import confusion_matrix, f1_score

from speechllm.data.score import word_error_rate, word_errors

NONE = "(none)"
"""In a confusion matrix: replies that name no answer, or several."""


def accuracy(truths: Sequence[str], answers: Sequence[str | None]) -> dict[str, Any]:
    """Share of right answers with its interval (Wilson 1927), macro-F1 and the confusion matrix.

    Returns:
        `value`, `interval`, `n`, `macro_f1` over the true labels, `answered` (share of replies that give an answer),
        `constant` (what the most frequent label would score), `labels`, and `confusion`: counts, a row a true label, a
        column a given answer.
    """
    given = [answer if answer is not None else NONE for answer in answers]
    right = sum(map(str.__eq__, truths, given))
    labels = sorted(set(truths))
    columns = [*labels, *sorted(set(given) - set(labels))]
    # One label more than there are, cut off again: scikit-learn warns of a matrix of one column.
    matrix = confusion_matrix(truths, given, labels=[*columns, "(no label)"])[: len(labels), : len(columns)]
    interval = stats.binomtest(right, len(truths)).proportion_ci(method="wilson")
    return {
        "value": right / len(truths),
        "interval": [float(interval.low), float(interval.high)],
        "n": len(truths),
        "macro_f1": float(f1_score(truths, given, labels=labels, average="macro", zero_division=0)),
        "answered": sum(answer is not None for answer in answers) / len(answers),
        "constant": max(Counter(truths).values()) / len(truths),
        "labels": columns,
        "confusion": matrix.tolist(),
    }


def word_error(references: Sequence[str], hypotheses: Sequence[str], language: str | None) -> dict[str, Any]:
    """Corpus word error rate (characters for languages written without spaces), interval by bootstrap over clips."""
    counts = np.array([word_errors(r, h, language) for r, h in zip(references, hypotheses, strict=True)], dtype=float)
    return {
        "value": word_error_rate(references, hypotheses, language),
        "interval": _bootstrap(counts[:, 0], counts[:, 1]),
        "n": len(references),
    }


def _bootstrap(errors: np.ndarray, words: np.ndarray) -> list[float] | None:
    if len(errors) < 2:
        return None

    def rate(e: np.ndarray, w: np.ndarray, axis: int = -1) -> np.ndarray:
        return e.sum(axis) / np.maximum(w.sum(axis), 1)

    found = stats.bootstrap((errors, words), rate, paired=True, method="percentile", n_resamples=1000, rng=0)
    return [float(found.confidence_interval.low), float(found.confidence_interval.high)]


def correlation(truths: Sequence[float], answers: Sequence[float | None]) -> dict[str, Any]:
    """Pearson's r over the replies that give a number, and the share that give none (`na_rate`)."""
    pairs = [(t, a) for t, a in zip(truths, answers, strict=True) if a is not None]
    result: dict[str, Any] = {"value": None, "interval": None, "n": len(truths)}
    result["na_rate"] = 1 - len(pairs) / len(truths)
    if len(pairs) > 3 and all(len(set(side)) > 1 for side in zip(*pairs, strict=True)):
        found = stats.pearsonr(*zip(*pairs, strict=True))
        interval = found.confidence_interval()
        result |= {"value": float(found.statistic), "interval": [float(interval.low), float(interval.high)]}
    return result


def paired_difference(mine: Sequence[bool], theirs: Sequence[bool]) -> dict[str, float]:
    """Difference of two systems' accuracies on the same questions, and its p-value by the exact McNemar test."""
    only_mine = sum(a and not b for a, b in zip(mine, theirs, strict=True))
    only_theirs = sum(b and not a for a, b in zip(mine, theirs, strict=True))
    changed = only_mine + only_theirs
    p = float(stats.binomtest(only_mine, changed).pvalue) if changed else 1.0
    return {"difference": (only_mine - only_theirs) / len(mine), "p_value": p}
