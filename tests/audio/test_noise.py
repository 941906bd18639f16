"""Signal-to-noise ratio where it was set."""

import numpy as np
import pytest
from signals import noise, silence, voice

from speechllm.audio.measure.levels import active_frames, frame_power
from speechllm.audio.measure.noise import signal_to_noise
from speechllm.audio.measure.spectrum import power_spectrum


def snr(wave):
    return signal_to_noise(power_spectrum(wave), active_frames(frame_power(wave)))


def speech():
    return np.concatenate([voice(1.5, level_db=-20, syllables=4), silence(0.5), voice(1, level_db=-20, syllables=4)])


@pytest.mark.parametrize("decibels", [0, 5, 10, 20, 30, 40])
@pytest.mark.parametrize("pink", [False, True])
def test_steady_noise_is_measured_to_three_decibels(decibels, pink):
    assert snr(speech() + noise(3, -20 - decibels, pink=pink)) == pytest.approx(decibels, abs=3)


def test_the_level_of_the_recording_does_not_matter():
    wave = speech() + noise(3, -35)
    assert snr(0.05 * wave) == pytest.approx(snr(wave), abs=0.01)


def test_noise_alone_has_a_low_ratio_and_a_clean_signal_the_greatest():
    assert snr(noise(3)) < 3
    assert snr(speech()) == 60
    assert snr(silence(1)) is None
