"""Numbers from answers: by libraries, each with the interval that holds it in 95 of 100 samples of this size."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats
from sklearn.metrics import confusion_matrix, f1_score
from sklearn.preprocessing import MultiLabelBinarizer

from speechllm.data.score import word_errors
from speechllm.errors import SpeechLLMError
from speechllm.eval.json_form import parse_json

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


def word_error(references: Sequence[str], hypotheses: Sequence[str], languages: Sequence[str]) -> dict[str, Any]:
    """Corpus word error rate (characters for languages written without spaces), interval by bootstrap over clips.

    Returns:
        `value`, `interval`, `n`, and where there are several languages the same of each, `by_language`. The value is
        None where no reference holds a word.
    """
    told = zip(references, hypotheses, languages, strict=True)
    counts = np.array([word_errors(*one) for one in told], dtype=float)
    found = _rate(counts)
    several = sorted(set(languages))
    if len(several) > 1:
        spoken = np.array(languages)
        found["by_language"] = {language: _rate(counts[spoken == language]) for language in several}
    return found


def _rate(counts: np.ndarray) -> dict[str, Any]:
    """Of errors and words, (clips, 2); no rate where there are no words."""
    errors, words = counts.sum(0)
    if not words:
        return {"value": None, "interval": None, "n": len(counts)}
    return {
        "value": float(errors / words),
        "interval": _bootstrap(counts[:, 0], counts[:, 1]),
        "n": len(counts),
    }


def translation(references: Sequence[str], hypotheses: Sequence[str], metric: str) -> dict[str, Any]:
    """sacreBLEU's `bleu` (13a tokens; Papineni et al. 2002) or `chrf` (Popovic 2015), 0 to 1, interval by bootstrap.

    Of languages written without spaces chrF tells more: 13a takes a sentence of them for a word.

    Returns:
        `value`, `interval`, `n`, and sacreBLEU's `signature`, which says how it was counted.

    Raises:
        SpeechLLMError: the extra `eval` is not installed.
    """
    try:
        from sacrebleu.metrics import BLEU, CHRF
    except ImportError as error:
        raise SpeechLLMError(f"{metric} needs sacrebleu; pip install 'speechllm[eval]'") from error
    counter = BLEU() if metric == "bleu" else CHRF()
    several = len(references) > 1
    found = counter.corpus_score(list(hypotheses), [list(references)], n_bootstrap=1000 if several else 1)
    middle, half = (found._mean, found._ci) if several else (0.0, 0.0)
    return {
        "value": found.score / 100,
        "interval": [(middle - half) / 100, (middle + half) / 100] if several else None,
        "n": len(references),
        "signature": str(counter.get_signature()),
    }


def slot_f1(references: Sequence[str], hypotheses: Sequence[str]) -> dict[str, Any]:
    """Micro F1 over (slot, value) pairs of JSON objects; case and outer spaces do not count.

    A reply that holds no JSON object has no slots. Pairs that are wholly right count, as in the entity F1 of SLURP
    (Bastianelli et al. 2020) without its partial credit.

    Returns:
        `value`, `interval` (bootstrap over clips), `n`, and `answered`: the share of replies that hold a JSON object.
    """
    told = [(_slots(r) or set(), _slots(h)) for r, h in zip(references, hypotheses, strict=True)]
    counts = np.array([(2 * len(r & (h or set())), len(r) + len(h or set())) for r, h in told], dtype=float)
    pairs = MultiLabelBinarizer().fit([r | (h or set()) for r, h in told])
    truth, given = pairs.transform([r for r, _ in told]), pairs.transform([h or set() for _, h in told])
    return {
        "value": float(f1_score(truth, given, average="micro", zero_division=0)) if len(pairs.classes_) else 0.0,
        "interval": _bootstrap(counts[:, 0], counts[:, 1]),
        "n": len(told),
        "answered": sum(h is not None for _, h in told) / len(told),
    }


def _slots(text: str) -> set[str] | None:
    held = parse_json(text)
    if not isinstance(held, dict):
        return None
    return {json.dumps([str(slot).strip().lower(), str(value).strip().lower()]) for slot, value in held.items()}


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
