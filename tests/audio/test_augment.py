"""What happens to a signal is what was asked for, and the same for the same seed."""

import numpy as np
import pytest
from signals import noise, silence, speech, voice

from speechllm.audio import augment
from speechllm.audio.measure.levels import active_frames, bandwidth, frame_power
from speechllm.audio.measure.pitch import median_pitch, voiced_pitch
from speechllm.audio.measure.reverberation import reverberation_time
from speechllm.audio.measure.spectrum import power_spectrum


def rng(seed=0):
    return np.random.default_rng(seed)


def rms_db(wave):
    return 10 * np.log10(np.mean(np.square(wave, dtype=np.float64)))


def pitch(wave):
    return median_pitch(*voiced_pitch(wave, active_frames(frame_power(wave))))


@pytest.mark.parametrize("snr", [-5, 0, 20])
@pytest.mark.parametrize("seconds", [1, 10])
def test_noise_lies_under_the_active_speech_not_under_its_mean_with_the_pauses(snr, seconds):
    wave = np.concatenate([silence(2), voice(2, level_db=-20), silence(2)])
    noisy = augment.add_noise(wave, noise(seconds, -3), snr, rng())
    assert rms_db(noisy - wave) == pytest.approx(-20 - snr, abs=0.6)
    assert len(noisy) == len(wave)


def test_nothing_is_added_to_silence_and_silence_adds_nothing():
    assert np.array_equal(augment.add_noise(silence(1), noise(1), 10, rng()), silence(1))
    assert np.array_equal(augment.add_noise(voice(1), silence(1), 10, rng()), voice(1))


def test_pink_noise_falls_by_three_decibels_an_octave():
    spectrum = power_spectrum(augment.pink_noise(160_000, rng())).mean(axis=1)
    octaves = [10 * np.log10(spectrum[a : 2 * a].mean()) for a in (8, 16, 32, 64, 128)]
    assert np.diff(octaves) == pytest.approx([-3, -3, -3, -3], abs=0.6)


@pytest.mark.parametrize("rt60", [0.3, 0.8])
def test_an_impulse_in_a_room_decays_by_sixty_decibels_in_its_time(rt60):
    impulse = silence(2)
    impulse[0] = 1
    wave = augment.reverberate(impulse, rt60, rng())
    energy = np.cumsum(np.square(wave[1:], dtype=np.float64)[::-1])[::-1]  # Schroeder's backward integral
    level = 10 * np.log10(energy / energy[0] + 1e-12)
    falls = [np.flatnonzero(level < -db)[0] / 16_000 for db in (5, 35)]
    assert 2 * (falls[1] - falls[0]) == pytest.approx(rt60, rel=0.1)


def test_a_room_keeps_length_and_level_and_is_heard():
    dry = speech(4)
    wet = augment.reverberate(dry, 0.8, rng())
    assert len(wet) == len(dry)
    assert rms_db(wet) == pytest.approx(rms_db(dry), abs=0.01)
    assert reverberation_time(power_spectrum(wet)) > 2 * reverberation_time(power_spectrum(dry))


@pytest.mark.parametrize("factor", [0.8, 1.0, 1.3])
def test_speed_changes_length_and_pitch(factor):
    wave = augment.change_speed(voice(2, 200), factor)
    assert len(wave) == pytest.approx(32_000 / factor, abs=2)
    assert pitch(wave) == pytest.approx(200 * factor, rel=0.02)


@pytest.mark.parametrize("semitones", [-4, 3])
def test_a_shift_changes_pitch_and_not_length(semitones):
    wave = augment.shift_pitch(voice(2, 200), semitones)
    assert len(wave) == 32_000
    assert pitch(wave) == pytest.approx(200 * 2 ** (semitones / 12), rel=0.02)


def test_level_and_clipping():
    wave = voice(1, level_db=-26)
    assert rms_db(augment.amplify(wave, -10)) == pytest.approx(-36, abs=0.01)
    assert np.abs(augment.amplify(wave, 60)).max() == 1
    clipped = augment.clip(wave, 0.1)
    assert np.mean(np.abs(clipped) == np.abs(clipped).max()) == pytest.approx(0.1, abs=0.01)
    assert np.array_equal(augment.clip(wave, 0.0), wave)


@pytest.mark.parametrize("codec", augment.CODECS)
def test_codecs_keep_length_place_and_most_of_the_sound(codec):
    wave = speech(2)
    coded = augment.through_codec(wave, codec, rng())
    assert len(coded) == len(wave)
    assert not np.array_equal(coded, wave)
    assert np.corrcoef(coded, wave)[0, 1] > (
        0.5 if codec == "telephone" else 0.9
    )  # the telephone takes the fundamental
    assert abs(int(np.correlate(coded[:16_000], wave[:16_000], "same").argmax()) - 8_000) <= 2


def test_the_telephone_band_ends_at_both_sides():
    spectrum = power_spectrum(augment.through_codec(noise(2, -20), "telephone", rng()))
    assert bandwidth(spectrum, np.ones(spectrum.shape[1], bool)) == pytest.approx(3700, abs=350)
    mean = 10 * np.log10(spectrum.mean(axis=1))
    assert mean[3] < mean[32] - 20  # 94 Hz under 1 kHz


@pytest.mark.parametrize(
    "change",
    [
        lambda w, r: augment.add_noise(w, noise(5), 10, r),
        lambda w, r: augment.reverberate(w, 0.4, r),
        lambda w, r: augment.through_codec(w, "mp3", r),
        lambda w, r: augment.pink_noise(100, r),
    ],
)
def test_the_same_generator_gives_the_same_samples(change):
    wave = speech(1)
    assert np.array_equal(change(wave, rng(1)), change(wave, rng(1)))
    assert not np.array_equal(change(wave, rng(1)), change(wave, rng(2)))
