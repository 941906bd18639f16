"""Levels of signals that are known exactly."""

import numpy as np
import pytest
from signals import low_passed, noise, silence, voice

from speechllm.audio.measure.levels import HOP, active_frames, bandwidth, frame_power, loudness, volume
from speechllm.audio.measure.spectrum import power_spectrum


def activity(wave):
    return active_frames(frame_power(wave))


@pytest.mark.parametrize("level", [-60, -30, -6])
def test_the_volume_is_the_level_of_the_speech_whatever_the_pauses(level):
    wave = voice(2, level_db=level)
    for padded in (wave, np.concatenate([silence(3), wave, silence(1)])):
        power = frame_power(padded)
        assert volume(power, active_frames(power)) == pytest.approx(level, abs=0.5)


def test_twice_the_amplitude_is_six_decibels_of_volume_and_of_loudness():
    wave = voice(2)
    power = [frame_power(w) for w in (wave, 2 * wave)]
    assert volume(power[1], active_frames(power[1])) - volume(power[0], active_frames(power[0])) == pytest.approx(
        6.02, abs=0.01
    )
    assert loudness(2 * wave) - loudness(wave) == pytest.approx(6.02, abs=0.01)


def test_a_full_scale_tone_at_997_hertz_has_the_loudness_that_the_standard_states():
    tone = np.sin(2 * np.pi * 997 * np.arange(48_000) / 16_000).astype(np.float32)
    assert loudness(tone) == pytest.approx(-3.01, abs=0.1)  # ITU-R BS.1770-4, annex 1


def test_silence_and_short_clips_have_no_loudness():
    assert loudness(silence(1)) is None
    assert loudness(voice(0.3)) is None


@pytest.mark.parametrize("floor_db", [None, -70, -40, -30])
def test_the_share_of_silence_is_that_of_the_pauses(floor_db):
    wave = np.concatenate([silence(1), voice(2, level_db=-20, syllables=4), silence(1)])
    if floor_db is not None:
        wave = wave + noise(4, floor_db, pink=True)
    assert activity(wave).mean() == pytest.approx(0.5, abs=0.06)  # 0.05 of it is the hangover


def test_speech_without_pauses_is_all_active():
    assert activity(voice(2, syllables=4) + noise(2, -35)).mean() > 0.95


def test_digital_silence_and_a_single_sample_are_measured():
    assert not activity(silence(1)).any()
    power = frame_power(np.zeros(1, np.float32))
    assert len(power) == 1
    assert volume(power, active_frames(power)) == -120


@pytest.mark.parametrize("hertz", [2000, 3400, 5500])
def test_bandwidth_is_where_a_filter_cut(hertz):
    wave = low_passed(noise(2, -20), hertz)
    spectrum = power_spectrum(wave)
    # the filter is 50 dB down a twentieth above its corner; the window widens that by two bins
    assert hertz <= bandwidth(spectrum, np.ones(spectrum.shape[1], bool)) <= 1.05 * hertz + 100


def test_the_spectrum_has_as_many_frames_as_the_levels():
    for samples in (1, 399, 400, 559, 560, 16_000):
        wave = np.ones(samples, np.float32)
        assert power_spectrum(wave).shape[1] == len(frame_power(wave)) == max(1, 1 + (samples - 400) // HOP)


def test_all_noise_reaches_half_the_sampling_rate():
    spectrum = power_spectrum(noise(1))
    assert bandwidth(spectrum, np.ones(spectrum.shape[1], bool)) == 8000
    assert bandwidth(spectrum, np.zeros(spectrum.shape[1], bool)) is None
