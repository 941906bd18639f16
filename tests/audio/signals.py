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


def speech(seconds=4.0, seed=0):
    """Something like speech: syllables of random length, pitch and vowel, with hisses and pauses between."""
    rng, parts = np.random.default_rng(seed), []
    while sum(map(len, parts)) < seconds * RATE:
        length = rng.uniform(0.08, 0.25)
        tone = voice(length, rng.uniform(100, 160), rng.uniform(-30, -18))
        formant, width = rng.uniform(300, 2500), 400
        sos = scipy_signal.butter(2, [max(formant - width, 80), formant + width], "bandpass", fs=RATE, output="sos")
        ends = np.minimum(1, np.minimum(np.arange(len(tone)), np.arange(len(tone))[::-1]) / (0.01 * RATE))
        parts.append((tone * 0.3 + scipy_signal.sosfilt(sos, tone)) * ends)
        parts.append(noise(rng.uniform(0.03, 0.08), rng.uniform(-50, -35), seed=int(rng.integers(1 << 30))))
        if rng.random() < 0.3:
            parts.append(silence(rng.uniform(0.05, 0.3)))
    return np.concatenate(parts)[: round(seconds * RATE)].astype(np.float32)


def in_a_room(wave, rt60, seed=0):
    """The signal in a room: a direct path and noise that decays by 60 dB in `rt60` seconds."""
    t = np.arange(round(1.2 * rt60 * RATE)) / RATE
    response = np.random.default_rng(seed).standard_normal(len(t)) * 10 ** (-3 * t / rt60)
    response[: min(40, len(t))] = 0
    response /= np.sqrt(np.sum(response**2))
    response[0] = 1
    return scipy_signal.fftconvolve(wave, response)[: len(wave)].astype(np.float32)
