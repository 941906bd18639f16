"""All measures of one clip together."""

import numpy as np
import pytest
from signals import noise, silence, voice

from speechllm.audio.measure.clip import DECIMALS, measure_clip


def test_every_measure_of_a_known_clip():
    wave = np.concatenate([silence(0.5), voice(3, 180, -20, syllables=4), silence(0.5)]) + noise(4, -45)
    found = measure_clip(wave, "one two three four five six one two three four", "en")
    assert list(found) == list(DECIMALS)
    assert found["pitch_hz"] == pytest.approx(180, rel=0.02)
    assert found["syllables_per_second"] == pytest.approx(10 / 3, rel=0.1)
    assert found["nuclei_per_second"] == pytest.approx(4, rel=0.12)
    assert found["volume_dbfs"] == pytest.approx(-20, abs=0.7)
    assert found["snr_db"] == pytest.approx(25, abs=3)
    assert found["silence_share"] == pytest.approx(0.25, abs=0.06)


@pytest.mark.parametrize("wave", [silence(1), np.zeros(1, np.float32), np.full(1, 0.5, np.float32)])
def test_what_cannot_be_measured_is_left_out(wave):
    found = measure_clip(wave, "words")
    assert set(found) <= {"volume_dbfs", "silence_share", "snr_db", "bandwidth_hz"}
    assert {"volume_dbfs", "silence_share"} <= set(found)


def test_without_a_text_there_is_no_rate_from_it():
    assert "syllables_per_second" not in measure_clip(voice(1, syllables=4))
