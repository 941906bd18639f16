"""Levels: where speech is active, how loud it is, and up to which frequency the recording reaches."""

from __future__ import annotations

import librosa
import numpy as np
import pyloudnorm
from numpy.typing import NDArray

from speechllm.audio.io import SAMPLING_RATE

Signal = NDArray[np.float32]
"""Mono samples (samples,) at `SAMPLING_RATE`, full scale at +-1."""

HOP = 160
"""Samples (10 ms) from one frame to the next."""

FRAME = 400
"""Samples (25 ms) of a frame of which the level is taken."""

SILENT_DB = -120.0
"""dBFS; levels below it (digital silence) count as this, the rounding error of 20 bits."""

MARGIN_DB = 15.9
"""Speech is active where it is at most this far below the active level: the margin of ITU-T P.56."""

HANGOVER = 20
"""Frames (0.2 s) that activity lasts beyond the last active frame, so that stop consonants do not end it: P.56."""

OVER_FLOOR_DB = 12.0
"""How far above the noise floor (the tenth percentile of levels) speech has to stand where noise fills the pauses.

Found on synthetic voices between seconds of pink noise: the share of silence is right to 0.06 at 10 dB and above, where
the plain method takes everything for speech up to 15 dB.
"""

MIN_LOUDNESS_S = 0.4
"""ITU-R BS.1770 measures loudness over blocks of this length; a shorter clip has none."""

BANDWIDTH_DB = 50.0
"""How far below the strongest band of the mean spectrum a recording still counts as reaching."""


def frame_power(signal: Signal) -> NDArray[np.float64]:
    """Mean square of each frame, (frames,): 25 ms every 10 ms, padded with silence to at least one frame."""
    padded = np.pad(signal.astype(np.float64), (0, max(0, FRAME - len(signal))))
    return np.square(librosa.util.frame(padded, frame_length=FRAME, hop_length=HOP)).mean(axis=0)


def decibels(power: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """Power (mean square; 1 is 0 dBFS) in dB, not below `SILENT_DB`."""
    return 10 * np.log10(np.maximum(power, 10 ** (SILENT_DB / 10)))


def active_frames(power: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which frames speech is active in, (frames,), after ITU-T P.56 (2011), method B, on frames for its envelope.

    Active is what lies less than 15.9 dB under the active level, or less than 0.2 s behind such a frame; the active
    level is the mean power of what is active. Where noise fills the pauses to within that margin the threshold is
    raised: `OVER_FLOOR_DB` above the noise floor, at most half way from it to the peaks. In digital silence nothing is
    active.
    """
    if power.max() <= 10 ** (SILENT_DB / 10):
        return np.zeros(len(power), bool)
    active = np.ones(len(power), bool)
    for _ in range(20):
        threshold = power[active].mean() * 10 ** (-MARGIN_DB / 10)
        found = _held(power >= threshold)
        if (found == active).all():
            break
        active = found
    floor, peak = np.quantile(decibels(power), (0.1, 0.95))
    raised = 10 ** (min(floor + OVER_FLOOR_DB, (floor + peak) / 2) / 10)
    return _held(power >= max(threshold, raised))


def _held(loud: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The frames that are loud or at most `HANGOVER` behind one that is."""
    places = np.arange(len(loud))
    last = np.maximum.accumulate(np.where(loud, places, -HANGOVER - 1))
    return places - last <= HANGOVER


def volume(power: NDArray[np.float64], active: NDArray[np.bool_]) -> float:
    """The active speech level: RMS over the frames in which speech is active, dBFS."""
    return float(decibels(power[active].mean() if active.any() else 0.0))


def loudness(signal: Signal) -> float | None:
    """Integrated loudness, LUFS (ITU-R BS.1770-4, by pyloudnorm); None for what is silent or shorter than 0.4 s."""
    if len(signal) <= MIN_LOUDNESS_S * SAMPLING_RATE:
        return None
    lufs = float(pyloudnorm.Meter(SAMPLING_RATE).integrated_loudness(signal.astype(np.float64)))
    return lufs if np.isfinite(lufs) else None


def bandwidth(spectrum: NDArray[np.float32], active: NDArray[np.bool_]) -> float | None:
    """The highest frequency, Hz, at which the mean power spectrum is less than `BANDWIDTH_DB` under its maximum.

    Args:
        spectrum: power, (bins, frames), bins evenly from 0 Hz to half the sampling rate.
        active: the frames to average, (frames,).
    """
    if not active.any():
        return None
    mean = decibels(spectrum[:, active].mean(axis=1, dtype=np.float64))
    highest = int(np.flatnonzero(mean > mean.max() - BANDWIDTH_DB)[-1])
    return highest * SAMPLING_RATE / 2 / (len(spectrum) - 1)
