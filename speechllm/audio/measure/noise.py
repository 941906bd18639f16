"""The signal-to-noise ratio of a recording, without knowing the noise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

BANDS = 32
"""Equal bands, 250 Hz each, in each of which the noise floor is found."""

SMOOTHED = 5
"""Frames (50 ms) over which the power of a band is averaged before its floor is taken."""

FLOOR = 0.05
"""The quantile over time that is taken for the floor of a band."""

BIAS = 1.8
"""How far the mean of steady noise lies above that floor: 1.6 (white) to 2.8 (pink, few bins hold most of it)."""

LEAST_DB, MOST_DB = -10.0, 60.0
"""Outside these the estimate says nothing more; it is held to them."""


def signal_to_noise(spectrum: NDArray[np.float32], active: NDArray[np.bool_]) -> float | None:
    """Power of active speech over that of the noise, dB; None where nothing is active.

    The noise floor of each band is a low quantile of its smoothed power over time (quantile-based noise estimation,
    Stahl et al. 2000, after the minimum statistics of Martin 2001), so that the gaps of speech in each band suffice
    and no pause is needed. Found with white and pink noise added to human clips from 0 to 30 dB: right to 3 dB. Speech
    in clips without any pause counts partly as floor, so that 20 dB read as about 17 and 30 as about 22. Noise that
    comes and goes, other people's speech above all, is not a floor and is not seen. WADA-SNR (Kim and Stern, 2008)
    was tried and is not used: above 20 dB it tells nothing on the same clips.

    Args:
        spectrum: power, (257, frames), from `power_spectrum`.
        active: in which frames speech is active, (frames,).
    """
    if not active.any():
        return None
    bands = spectrum[1:].reshape(BANDS, -1, spectrum.shape[1]).sum(axis=1, dtype=np.float64)
    noise = np.quantile(uniform_filter1d(bands, SMOOTHED, axis=1), FLOOR, axis=1).sum() * BIAS
    speech = bands[:, active].sum(axis=0).mean() - noise
    if speech <= noise * 10 ** (LEAST_DB / 10):
        return LEAST_DB
    if noise <= speech * 10 ** (-MOST_DB / 10):
        return MOST_DB
    return float(10 * np.log10(speech / noise))
