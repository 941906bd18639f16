"""Reverberation time in rooms that were made."""

import numpy as np
import pytest
from signals import in_a_room, silence, speech

from speechllm.audio.measure.reverberation import _slopes, reverberation_time
from speechllm.audio.measure.spectrum import power_spectrum


def estimates(rt60):
    return [reverberation_time(power_spectrum(in_a_room(speech(seed=i), rt60, seed=i))) for i in range(6)]


def test_longer_rooms_read_longer_and_nearly_right():
    medians = {rt60: float(np.median(estimates(rt60))) for rt60 in (0.2, 0.4, 0.6, 0.9, 1.3)}
    assert list(medians.values()) == sorted(medians.values())
    for rt60, estimate in medians.items():
        assert estimate == pytest.approx(rt60, rel=0.55), medians  # made-up syllables read longer than people


def test_the_level_does_not_matter():
    wave = in_a_room(speech(), 0.5)
    assert reverberation_time(power_spectrum(0.1 * wave)) == pytest.approx(
        reverberation_time(power_spectrum(wave)), rel=0.01
    )


def test_nothing_is_said_about_silence_or_a_moment():
    assert reverberation_time(power_spectrum(silence(1))) is None
    assert reverberation_time(power_spectrum(speech(0.05))) is None


def test_slopes_are_those_of_fitted_lines():
    level = np.random.default_rng(0).standard_normal((3, 50)).cumsum(axis=1)
    band, first, last = np.array([0, 2, 1]), np.array([0, 5, 40]), np.array([9, 30, 49])
    expected = [np.polyfit(np.arange(f, n + 1), level[b, f : n + 1], 1)[0] for b, f, n in zip(band, first, last)]
    assert _slopes(level, band, first, last) == pytest.approx(expected)
