"""Signals that are known exactly: harmonic tones, bursts between pauses, noise, decaying rooms."""

import numpy as np
from scipy import signal as scipy_signal

RATE = 16_000


def voice(seconds, hertz=150.0, level_db=-20.0, syllables=0.0):
    """A harmonic tone with the tilt of a voice, at an RMS level in dBFS; `syllables` a second as bursts."""
    t = np.arange(round(seconds * RATE)) / RATE
    wave = sum(np.sin(2 * np.pi * hertz * k * t + k * k) / k for k in range(1, int(4000 / hertz)))
    if syllables:
        wave *= 0.02 + np.sin(np.pi * syllables * t) ** 2
    return (wave / np.sqrt(np.mean(wave**2)) * 10 ** (level_db / 20)).astype(np.float32)


def noise(seconds, level_db=-40.0, seed=0, pink=False):
    """Gaussian noise, white or pink, at an RMS level in dBFS."""
    wave = np.random.default_rng(seed).standard_normal(round(seconds * RATE))
    if pink:
        spectrum = np.fft.rfft(wave)
        wave = np.fft.irfft(spectrum / np.sqrt(np.maximum(np.arange(len(spectrum)), 1)), len(wave))
    return (wave / np.sqrt(np.mean(wave**2)) * 10 ** (level_db / 20)).astype(np.float32)


def silence(seconds):
    """Digital silence."""
    return np.zeros(round(seconds * RATE), np.float32)


def low_passed(wave, hertz):
    """What a steep filter leaves below a frequency."""
    sos = scipy_signal.ellip(10, 0.5, 80, hertz, fs=RATE, output="sos")
    return scipy_signal.sosfilt(sos, wave).astype(np.float32)
