"""What can happen to a recording: noise, rooms, speed, pitch, level, clipping, codecs.

Every function takes and returns mono float32 (samples,) at `SAMPLING_RATE`. Those that draw take a generator, so
that the same generator gives the same samples.
"""

from __future__ import annotations

import io

import numpy as np
import soundfile
import soxr
from librosa.effects import pitch_shift
from scipy.signal import butter, fftconvolve, sosfiltfilt

from speechllm.audio.io import SAMPLING_RATE
from speechllm.audio.measure.levels import Signal, active_frames, frame_power

DIRECT_DB = (-3.0, 6.0)
"""The level of the direct sound over that of the room's, from far away to near."""

PREDELAY_S = 0.0025
"""Between the direct sound and the first echo: 0.85 m of way."""

CODECS = ("mu-law", "telephone", "mp3", "opus", "vorbis")
"""8-bit G.711 at 8 kHz; the same behind the telephone's band-pass; and what libsndfile writes and reads."""

_COMPRESSED = {"mp3": ("MP3", "MPEG_LAYER_III"), "opus": ("OGG", "OPUS"), "vorbis": ("OGG", "VORBIS")}

_COMPRESSION = {"mp3": (0.0, 0.8), "opus": (0.9, 1.0), "vorbis": (0.0, 1.0)}
"""libsndfile's compression levels, best to worst; of speech: 73 to 34, 31 to 9 and 82 to 34 kbit/s."""

_TELEPHONE = butter(3, (300.0, 3400.0), "bandpass", fs=SAMPLING_RATE, output="sos")


def add_noise(signal: Signal, noise: Signal, snr_db: float, rng: np.random.Generator) -> Signal:
    """Adds noise so that active speech stands `snr_db` over it (mean power); its place in `noise` is drawn.

    A noise that is too short is repeated. Digital silence on either side leaves the signal as it is.
    """
    at = int(rng.integers(max(1, len(noise) - len(signal) + 1)))
    wanted = np.resize(noise[at:], len(signal))
    power = frame_power(signal)
    active = active_frames(power)
    level = float(np.mean(np.square(wanted, dtype=np.float64)))
    if not active.any() or level == 0:
        return signal
    gain = np.sqrt(power[active].mean() / level * 10 ** (-snr_db / 10))
    return (signal + gain * wanted).astype(np.float32)


def pink_noise(samples: int, rng: np.random.Generator) -> Signal:
    """Gaussian noise whose power falls by 3 dB an octave, (samples,), RMS 0.1: what rooms and streets sound like."""
    spectrum = np.fft.rfft(rng.standard_normal(samples))
    wave = np.fft.irfft(spectrum / np.sqrt(np.maximum(np.arange(len(spectrum)), 1)), samples)
    return (0.1 * wave / max(np.sqrt(np.mean(wave**2)), 1e-12)).astype(np.float32)


def reverberate(signal: Signal, rt60: float, rng: np.random.Generator) -> Signal:
    """Puts the signal into a room whose sound falls by 60 dB in `rt60` s; length and RMS level stay.

    The room is a direct path and decaying Gaussian noise (Polack's model), their ratio drawn from `DIRECT_DB`.
    """
    t = np.arange(round((PREDELAY_S + 1.2 * rt60) * SAMPLING_RATE)) / SAMPLING_RATE
    response = rng.standard_normal(len(t)) * 10 ** (-3 * t / rt60)
    response[: round(PREDELAY_S * SAMPLING_RATE)] = 0
    response *= 10 ** (-rng.uniform(*DIRECT_DB) / 20) / np.sqrt(np.sum(response**2))
    response[0] = 1.0
    return _at_level(fftconvolve(signal, response)[: len(signal)], signal)


def _at_level(wave: np.ndarray, like: Signal) -> Signal:
    before, after = (float(np.mean(np.square(w, dtype=np.float64))) for w in (like, wave))
    return (wave * np.sqrt(before / after) if after > 0 else wave).astype(np.float32)


def change_speed(signal: Signal, factor: float) -> Signal:
    """Plays the signal `factor` times as fast, by resampling: shorter for more than 1, and higher."""
    return soxr.resample(signal, SAMPLING_RATE * factor, SAMPLING_RATE).astype(np.float32)


def shift_pitch(signal: Signal, semitones: float) -> Signal:
    """Moves the pitch, and the formants with it, at the same length (librosa's phase vocoder)."""
    shifted = pitch_shift(signal, sr=SAMPLING_RATE, n_steps=semitones, n_fft=1024)
    return shifted.astype(np.float32)


def amplify(signal: Signal, decibels: float) -> Signal:
    """Changes the level; what would pass full scale is clipped, as a converter does."""
    return np.clip(signal * 10 ** (decibels / 20), -1.0, 1.0).astype(np.float32)


def clip(signal: Signal, share: float) -> Signal:
    """Clips the signal so that about this share of its samples is flattened, as an overdriven microphone does."""
    limit = float(np.quantile(np.abs(signal), 1.0 - share))
    return np.clip(signal, -limit, limit).astype(np.float32)


def through_codec(signal: Signal, codec: str, rng: np.random.Generator) -> Signal:
    """Encodes and decodes the signal, at its length; the compression is drawn. `codec` is one of `CODECS`."""
    if codec in _COMPRESSED:
        container, subtype = _COMPRESSED[codec]
        level = float(rng.uniform(*_COMPRESSION[codec]))
        decoded = _round_trip(signal, SAMPLING_RATE, container, subtype, level)
    else:
        narrow = sosfiltfilt(_TELEPHONE, signal).astype(np.float32) if codec == "telephone" else signal
        coded = _round_trip(soxr.resample(narrow, SAMPLING_RATE, SAMPLING_RATE // 2), SAMPLING_RATE // 2, "WAV", "ULAW")
        decoded = soxr.resample(coded, SAMPLING_RATE // 2, SAMPLING_RATE)
    return np.pad(decoded, (0, max(0, len(signal) - len(decoded))))[: len(signal)].astype(np.float32)


def _round_trip(
    signal: Signal, rate: int, container: str, subtype: str, compression_level: float | None = None
) -> Signal:
    coded = io.BytesIO()
    soundfile.write(coded, signal, rate, format=container, subtype=subtype, compression_level=compression_level)
    coded.seek(0)
    return soundfile.read(coded, dtype="float32")[0]
