"""How fast someone speaks: syllables a second, counted in the text or heard in the signal."""

from __future__ import annotations

import re
import unicodedata

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.signal import find_peaks

from speechllm.audio.io import SAMPLING_RATE
from speechllm.audio.measure.levels import HOP, decibels
from speechllm.audio.measure.spectrum import FFT

DIP_DB = 1.0
"""How far the level has to fall between two syllables; 2 in de Jong and Wempe (2009), whose level is smoother."""

SMOOTHED = 2
"""Frames (20 ms), the deviation of the Gaussian that smooths the level: periods of a deep voice are no syllables."""

RANGE_DB = 25.0
"""Under the maximum; what is below has no peaks: breath, room, the ends of words."""

SONORANT_HZ = (300.0, 3000.0)
"""The band in which vowels stand out from what surrounds them; hiss lies above it, rumble and much of voicing below."""

LEAST_ACTIVE_S = 0.3
"""Of active speech; a rate over less means nothing."""

_VOWELS = re.compile("[aeiouyαεηιουωаеёиоуыэюяіїє]+")
_SILENT_E = re.compile("[^aeiouy][^aeiouyl]e$|[aeiouy][^aeiouy]e$|[^aeiouytd]ed$")
_ONE_EACH = re.compile("[\u3041-\u3096\u30a1-\u30fa\u3400-\u9fff\uac00-\ud7a3]")
_SMALL_KANA = re.compile("[ゃゅょャュョぁぃぅぇぉァィゥェォ]")


def count_syllables(text: str, language: str | None = None) -> int:
    """The syllables of a text, roughly.

    Groups of vowels in Latin, Greek and Cyrillic words, at least one a word, less the silent e of English and French
    endings; every Chinese character, Hangul block or kana (small ones go with the one before) is one.
    """
    plain = "".join(c for c in unicodedata.normalize("NFD", text.lower()) if not unicodedata.combining(c))
    words = re.findall(r"[^\W\d_]+(?:['’][^\W\d_]+)*", unicodedata.normalize("NFC", plain))
    silent_e = (language or "en")[:2] in ("en", "fr")
    return sum(_of_word(word, silent_e) for word in words)


def _of_word(word: str, silent_e: bool) -> int:
    each = len(_ONE_EACH.findall(word))
    if each:
        return max(1, each - len(_SMALL_KANA.findall(word)))
    groups = len(_VOWELS.findall(word))
    return max(1, groups - bool(silent_e and _SILENT_E.search(word)))


def count_nuclei(spectrum: NDArray[np.float32], active: NDArray[np.bool_]) -> int:
    """The syllable nuclei in a signal: peaks of level, during speech, with a dip of `DIP_DB` on both sides.

    After de Jong and Wempe (2009), with the level taken in the band of the vowels and without their test of voicing,
    which loses half of the nuclei of noisy recordings. Held against the texts: 101 % of the syllables of synthetic
    voices (0.4 of 8 off in a clip, rates correlate at 0.88), 85 % of those of CREMA-D's actors (rates at 0.4).

    Args:
        spectrum: power, (257, frames), from `power_spectrum`.
        active: frames in which speech is active, (frames,).
    """
    low, high = (round(hertz * FFT / SAMPLING_RATE) for hertz in SONORANT_HZ)
    level = decibels(gaussian_filter1d(spectrum[low:high].sum(axis=0, dtype=np.float64), SMOOTHED))
    level = np.maximum(level, level.max() - RANGE_DB)
    peaks, _ = find_peaks(np.pad(level, 1, constant_values=level.min() - DIP_DB), prominence=DIP_DB)
    return int(active[peaks - 1].sum())


def per_second(count: int, active: NDArray[np.bool_]) -> float | None:
    """Events a second of active speech; None where there is too little of it, or there are none."""
    seconds = float(active.sum()) * HOP / SAMPLING_RATE
    return count / seconds if count and seconds >= LEAST_ACTIVE_S else None
