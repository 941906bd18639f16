"""The pitch of a voice: librosa's YIN, and of its frames those that are voiced."""

from __future__ import annotations

import librosa
import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, sosfilt

from speechllm.audio.io import SAMPLING_RATE
from speechllm.audio.measure.levels import HOP, Signal

LOWEST_HZ, HIGHEST_HZ = 60.0, 500.0
"""The range that is searched: a bass's creak to a child's shout."""

WINDOW = 1024
"""Samples (64 ms) that YIN compares with themselves: more than two periods of the lowest pitch."""

PITCH_HOP = 256
"""Samples (16 ms) from one pitch to the next."""

VOICED = 0.7
"""The correlation of a frame with itself one period later from which on it counts as voiced."""

_HIGH_PASS = butter(4, LOWEST_HZ, "highpass", fs=SAMPLING_RATE, output="sos")
"""Rumble under the lowest pitch correlates with itself at any lag: without this a tenth of pink noise is voiced."""

FEWEST_VOICED = 3
"""Voiced frames under which a clip has no pitch."""


def voiced_pitch(signal: Signal, active: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Fundamental frequency, Hz, every 16 ms and whether the frame is voiced; two arrays (pitch frames,).

    YIN (de Cheveigne and Kawahara, 2002; `librosa.yin`) gives every frame a period, also where there is none. A frame
    counts as voiced where speech is active and the signal correlates with itself one such period later: the test
    of Boersma (1993).

    Args:
        signal: mono samples.
        active: frames of `levels.frame_power` in which speech is active.
    """
    signal = sosfilt(_HIGH_PASS, signal).astype(np.float32)
    pitch = librosa.yin(
        signal, fmin=LOWEST_HZ, fmax=HIGHEST_HZ, sr=SAMPLING_RATE, frame_length=WINDOW, hop_length=PITCH_HOP
    ).astype(np.float64)
    centres = np.minimum(np.arange(len(pitch)) * PITCH_HOP // HOP, len(active) - 1)
    return pitch, active[centres] & (_periodicity(signal, pitch) >= VOICED)


def _periodicity(signal: Signal, pitch: NDArray[np.float64]) -> NDArray[np.float64]:
    """The normalised correlation of half a window around each frame's centre with the signal one period later."""
    half = WINDOW // 2
    longest = int(np.ceil(SAMPLING_RATE / LOWEST_HZ))
    padded = np.pad(signal, (half // 2, half + longest))
    lags = np.round(SAMPLING_RATE / pitch).astype(int)
    starts = np.arange(len(pitch)) * PITCH_HOP
    windows = np.lib.stride_tricks.sliding_window_view(padded, half)
    here, later = windows[starts], windows[starts + lags]
    dots = np.einsum("fs,fs->f", here, later, dtype=np.float64)
    energies = np.einsum("fs,fs->f", here, here, dtype=np.float64) * np.einsum(
        "fs,fs->f", later, later, dtype=np.float64
    )
    return dots / np.sqrt(np.maximum(energies, 1e-20))


def median_pitch(pitch: NDArray[np.float64], voiced: NDArray[np.bool_]) -> float | None:
    """The median pitch, Hz, of the voiced frames; None where there are hardly any."""
    return float(np.median(pitch[voiced])) if voiced.sum() >= FEWEST_VOICED else None
