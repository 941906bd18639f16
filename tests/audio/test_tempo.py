"""Syllables in texts that were counted by hand, and in signals that were made of a known number of bursts."""

import numpy as np
import pytest
from signals import noise, silence, voice

from speechllm.audio.measure.levels import active_frames, frame_power
from speechllm.audio.measure.spectrum import power_spectrum
from speechllm.audio.measure.tempo import count_nuclei, count_syllables, per_second


@pytest.mark.parametrize(
    ("text", "language", "syllables"),
    [
        ("It's eleven o'clock.", "en", 6),
        ("That is exactly what happened.", "en", 8),
        ("The airplane is almost full.", "en", 7),
        ("I think I have a doctor's appointment.", "en", 10),
        ("We wanted the little table.", "en", 8),
        ("Maybe tomorrow it will be cold.", None, 8),
        ("Das ist eine gute Frage.", "de", 8),
        ("¿Dónde está la niña?", "es", 7),
        ("Привет, как дела?", "ru", 5),
        ("你好世界", "zh", 4),
        ("きょうはいい天気", "ja", 7),
        ("안녕하세요", "ko", 5),
        ("hmm pst", "en", 2),
        ("... 42 -- !", "en", 0),
        ("", "en", 0),
    ],
)
def test_syllables_of_a_text(text, language, syllables):
    assert count_syllables(text, language) == syllables


@pytest.mark.parametrize("rate", [2.5, 4.0, 6.0])
@pytest.mark.parametrize("snr", [None, 20])
def test_the_bursts_of_a_signal_are_counted(rate, snr):
    wave = np.concatenate([silence(0.5), voice(4, 140, syllables=rate), silence(0.5)])
    if snr is not None:
        wave = wave + noise(5, -20 - snr)
    active = active_frames(frame_power(wave))
    nuclei = count_nuclei(power_spectrum(wave), active)
    assert nuclei == pytest.approx(4 * rate, abs=1)
    assert per_second(nuclei, active) == pytest.approx(rate, rel=0.12)


def test_a_steady_tone_is_one_syllable():
    wave = voice(1)
    assert count_nuclei(power_spectrum(wave), active_frames(frame_power(wave))) <= 1


def test_there_is_no_rate_without_speech_or_syllables():
    assert per_second(5, np.zeros(100, bool)) is None
    assert per_second(5, np.ones(29, bool)) is None
    assert per_second(0, np.ones(100, bool)) is None
    assert per_second(5, np.ones(100, bool)) == pytest.approx(5.0)
