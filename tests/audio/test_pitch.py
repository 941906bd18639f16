"""Pitch of signals whose pitch is known."""

import numpy as np
import pytest
from signals import noise, silence, voice

from speechllm.audio.measure.levels import active_frames, frame_power
from speechllm.audio.measure.pitch import median_pitch, voiced_pitch


def measured(wave):
    return voiced_pitch(wave, active_frames(frame_power(wave)))


@pytest.mark.parametrize("hertz", [70, 110, 220, 330, 480])
@pytest.mark.parametrize("snr", [None, 10])
def test_the_pitch_of_a_harmonic_tone(hertz, snr):
    wave = voice(1, hertz)
    if snr is not None:
        wave = wave + noise(1, -20 - snr)
    assert median_pitch(*measured(wave)) == pytest.approx(hertz, rel=0.02)


def test_pauses_and_noise_between_do_not_count():
    wave = np.concatenate([silence(1), voice(0.6, 200), noise(1.5, -30), silence(1)])
    pitch, voiced = measured(wave)
    assert median_pitch(pitch, voiced) == pytest.approx(200, rel=0.02)
    assert voiced.sum() == pytest.approx(0.6 / 0.016, abs=6)


def test_a_missing_fundamental_is_heard():
    t = np.arange(16_000) / 16_000
    wave = sum(np.sin(2 * np.pi * 120 * k * t) for k in (3, 4, 5, 6)).astype(np.float32) * 0.1  # as on the telephone
    assert median_pitch(*measured(wave)) == pytest.approx(120, rel=0.02)


@pytest.mark.parametrize("wave", [noise(2), noise(2, pink=True), silence(1), np.ones(1, np.float32)])
def test_what_has_no_pitch_gets_none(wave):
    assert median_pitch(*measured(wave)) is None
