"""Numbers to words: at the stated limits, by gender where pitch is concerned, calibrated on a corpus, kept on disk."""

import itertools
import json

import numpy as np
import pytest

from speechllm.data.bins import WORDS, Limits, calibrate, read_limits, words_for, write_limits
from speechllm.data.manifest import Utterance
from speechllm.errors import SpeechLLMError

LIMITS = Limits()


def utterance(i, **attributes):
    return Utterance(id=str(i), audio="a.wav", duration=1.0, sampling_rate=16000, attributes=attributes)


@pytest.mark.parametrize(
    ("attributes", "attribute", "word"),
    [
        ({"pitch_hz": 99.9, "gender": "male"}, "pitch", "very low"),
        ({"pitch_hz": 100, "gender": "male"}, "pitch", "low"),
        ({"pitch_hz": 170.0, "gender": "male"}, "pitch", "very high"),
        ({"pitch_hz": 170.0, "gender": "female"}, "pitch", "low"),
        ({"pitch_hz": 170.0}, "pitch", "medium"),
        ({"pitch_hz": 170.0, "gender": "other"}, "pitch", "medium"),
        ({"syllables_per_second": 3.0, "nuclei_per_second": 9.0}, "speaking_rate", "very slow"),
        ({"nuclei_per_second": 9.0}, "speaking_rate", "very fast"),
        ({"volume_dbfs": -50.0}, "volume", "very low"),
        ({"snr_db": 3.0}, "noise", "very high"),
        ({"snr_db": 60.0}, "noise", "very low"),
        ({"rt60_s": 0.3}, "reverberation", "medium"),
        ({"silence_share": 0.6}, "silence", "very high"),
        ({"bandwidth_hz": 3400}, "bandwidth", "low"),
    ],
)
def test_words_at_the_stated_limits(attributes, attribute, word):
    assert words_for(10.0, attributes, LIMITS) == {attribute: word, "length": "long"}


def test_words_rise_with_the_number_and_every_one_is_reached():
    for attribute, (measures, scale) in WORDS.items():
        for measure in measures:
            limits = LIMITS.pitch if measure == "pitch_hz" else getattr(LIMITS, measure)
            steps = [limits[0] - 1, *((a + b) / 2 for a, b in itertools.pairwise(limits)), limits[-1] + 1]
            found = [
                words_for(step, {}, LIMITS)[attribute]
                if measure == "duration"
                else words_for(1.0, {measure: step}, LIMITS)[attribute]
                for step in steps
            ]
            assert found == list(scale)


def test_a_corpus_s_own_words_under_a_measure_s_name_are_not_numbers():
    assert words_for(1.0, {"snr_db": "high"}, LIMITS) == {"length": "short"}


def test_calibrated_limits_are_the_quantiles_of_the_corpus():
    rng = np.random.default_rng(0)
    men = [utterance(f"m{i}", gender="male", pitch_hz=float(p)) for i, p in enumerate(rng.normal(100, 10, 400))]
    women = [utterance(f"w{i}", gender="female", pitch_hz=float(p), snr_db=float(p)) for i, p in enumerate(range(401))]
    limits = calibrate(men + women)
    assert limits.snr_db == limits.pitch_female == (40, 120, 280, 360)
    assert limits.pitch_male == tuple(
        round(float(q), 4) for q in np.quantile([u.attributes["pitch_hz"] for u in men], (0.1, 0.3, 0.7, 0.9))
    )
    everyone = [u.attributes["pitch_hz"] for u in men + women]
    assert limits.pitch[0] == pytest.approx(np.quantile(everyone, 0.1), abs=1e-3)
    assert limits.rt60_s == LIMITS.rt60_s
    words = [words_for(1.0, u.attributes, limits)["pitch"] for u in men]
    assert [words.count(w) for w in ("very low", "low", "medium", "high", "very high")] == [40, 80, 160, 80, 40]


def test_too_few_utterances_do_not_move_a_limit():
    assert calibrate([utterance(i, snr_db=float(i), gender="female") for i in range(19)]).snr_db == LIMITS.snr_db
    assert calibrate([utterance(i, snr_db=float(i)) for i in range(20)]).snr_db != LIMITS.snr_db


def test_limits_come_back_from_disk(tmp_path):
    limits = Limits(snr_db=(1, 2, 3, 4))
    write_limits(tmp_path / "l.json", limits)
    assert read_limits(tmp_path / "l.json") == limits


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ({"snr": [1, 2, 3, 4]}, "unknown key 'snr'; did you mean 'snr_db'"),
        ({"snr_db": [1, 2, 4, 3]}, "snr_db: limits must ascend"),
        ({"snr_db": [1, 2, 3]}, "snr_db"),
        ([], "Input should be an object"),
    ],
)
def test_bad_limits_are_refused(text, message, tmp_path):
    path = tmp_path / "l.json"
    path.write_text(json.dumps(text))
    with pytest.raises(SpeechLLMError, match=message):
        read_limits(path)
    with pytest.raises(SpeechLLMError, match="cannot be read"):
        read_limits(tmp_path / "none.json")
