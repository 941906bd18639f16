"""The short-time spectrum that several measures share."""

from __future__ import annotations

import librosa
import numpy as np
from numpy.typing import NDArray
from scipy.signal import get_window

from speechllm.audio.measure.levels import FRAME, HOP, Signal

FFT = 512
"""Points; bins are 31.25 Hz apart."""


def power_spectrum(signal: Signal) -> NDArray[np.float32]:
    """Power of each bin of each frame, (257, frames); the frames are those of `frame_power`."""
    padded = np.pad(signal, (0, max(0, FRAME - len(signal))))
    frames = librosa.util.frame(padded, frame_length=FRAME, hop_length=HOP)
    window = get_window("hann", FRAME).astype(np.float32)
    spectrum = np.fft.rfft(frames * window[:, None], FFT, axis=0)
    return np.square(np.abs(spectrum)).astype(np.float32)
