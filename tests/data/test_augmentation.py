"""After augmentation the description is true: what changed in the signal changed in it, and nothing else did."""

import numpy as np
import pytest

from speechllm.audio.measure.clip import measure_clip
from speechllm.data.augmentation import Recipe, apply_recipe
from speechllm.data.describe import describe
from speechllm.data.manifest import Segment, Utterance

RATE = 16_000


def syllables(seconds=2.0, hertz=150.0):
    t = np.arange(round(seconds * RATE)) / RATE
    wave = sum(np.sin(2 * np.pi * hertz * k * t + k * k) / k for k in range(1, 20)) * (
        0.02 + np.sin(np.pi * 4 * t) ** 2
    )
    return (0.05 * wave).astype(np.float32)


def utterance(wave, **attributes):
    return Utterance(
        id="a",
        audio="a.wav",
        duration=len(wave) / RATE,
        sampling_rate=RATE,
        text="one two three four",
        language="en",
        attributes=attributes,
    )


def augmented(wave, attributes=None, seed=0, noises=None, **recipe):
    line = utterance(wave, **(attributes or {}))
    return apply_recipe(wave, line, Recipe(**recipe), np.random.default_rng(seed), noises)


def test_an_empty_recipe_changes_nothing():
    wave = syllables()
    same, line = augmented(wave, {"pitch": "low"})
    assert np.array_equal(same, wave)
    assert line == utterance(wave, pitch="low")


def test_noise_is_told_exactly_and_the_voice_stays_who_it_is():
    before = {"gender": "male", "pitch": "low", "pitch_hz": 151.0, "noise": "very low"}
    _, line = augmented(syllables(), before, noise=(10, 10))
    assert line.attributes["snr_db"] == 10
    assert line.attributes["noise"] == "high"
    assert {name: line.attributes[name] for name in before} == before | {"noise": "high"}
    assert "Signal-to-Noise Ratio: 10" in describe(line, "desta")


def test_noise_adds_to_the_noise_that_was_there():
    assert augmented(syllables(), {"snr_db": 10.0}, noise=(10, 10))[1].attributes["snr_db"] == 7.0


def test_given_noise_is_used():
    hum = np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE).astype(np.float32)
    wave = syllables()
    spectrum = np.abs(np.fft.rfft(augmented(wave, noises=hum, noise=(0, 0))[0] - wave))
    assert np.argmax(spectrum) == pytest.approx(2000, abs=1)


def test_faster_is_shorter_higher_and_said_so():
    before = {"speaking_rate": "slow", "pitch": "low", "gender": "male", "emotion": "sad", "words_per_minute": 100}
    wave, line = augmented(syllables(), before, speed=(1.5, 1.5))
    assert line.duration == len(wave) / RATE == pytest.approx(2 / 1.5, abs=0.001)
    assert line.attributes["pitch_hz"] == pytest.approx(225, rel=0.02)
    assert line.attributes["pitch"] == "high"
    assert line.attributes["speaking_rate"] == "very slow"  # four syllables by text in 1.33 s
    assert line.attributes["words_per_minute"] == 150
    assert line.attributes["emotion"] == "sad"
    assert "gender" not in line.attributes


@pytest.mark.parametrize(("semitones", "told"), [(1.5, True), (-1.5, True), (3.0, False), (-3.0, False)])
def test_a_voice_moved_far_has_no_known_gender_or_age(semitones, told):
    _, line = augmented(syllables(), {"gender": "male", "age": "30s", "pitch": "low"}, pitch=(semitones, semitones))
    assert ("gender" in line.attributes) == ("age" in line.attributes) == told
    assert line.attributes["pitch_hz"] == pytest.approx(150 * 2 ** (semitones / 12), rel=0.02)
    assert line.duration == 2.0


def test_what_else_changes_is_told():
    wave = syllables()
    louder = augmented(wave, {"volume": "low"}, gain=(6, 6))[1].attributes
    assert louder["volume_dbfs"] == pytest.approx(measure_clip(wave)["volume_dbfs"] + 6, abs=0.11)
    assert louder["volume"] != "low"
    assert augmented(wave, clipping=(0.1, 0.1))[1].attributes["clipped_share"] == 0.1
    phone = augmented(wave, codecs=("telephone",))[1].attributes
    assert phone["codec"] == "telephone"
    assert phone["bandwidth_hz"] < 4100
    assert phone["bandwidth"] in ("low", "medium")
    room = augmented(wave, {"reverberation": "low"}, reverberation=(0.9, 0.9))[1].attributes
    assert (room["rt60_s"], room["reverberation"]) == (0.9, "very high")


def test_nothing_is_written_beyond_full_scale_and_the_level_told_is_that():
    wave, line = augmented(np.clip(12 * syllables(), -1, 1), noise=(0, 0))
    assert np.abs(wave).max() <= 1
    assert line.attributes["volume_dbfs"] == pytest.approx(measure_clip(wave)["volume_dbfs"], abs=0.01)


def test_segments_follow_the_speed_and_lose_what_is_stale():
    wave = syllables()
    parts = [
        Segment(start=0.0, end=0.5, text="one", attributes={"pitch": "low", "emotion": "sad"}),
        Segment(start=0.5, end=2.0, text="two"),
    ]
    line = utterance(wave).model_copy(update={"segments": parts})
    _, new = apply_recipe(wave, line, Recipe(speed=(1.25, 1.25)), np.random.default_rng(0))
    assert [(s.start, s.end) for s in new.segments] == [
        (0, pytest.approx(0.4)),
        (pytest.approx(0.4), pytest.approx(1.6)),
    ]
    assert new.segments[0].attributes == {"emotion": "sad"}
    assert Utterance.model_validate_json(new.model_dump_json())


def test_the_generator_decides_what_happens_and_how_strongly():
    recipe = {"noise": (0, 30), "gain": (-20, 0), "codecs": ("mp3", "opus"), "chance": 0.5}
    lines = [augmented(syllables(), seed=seed, **recipe) for seed in range(12)]
    again = augmented(syllables(), seed=3, **recipe)
    assert np.array_equal(again[0], lines[3][0])
    assert again[1] == lines[3][1]
    noisy = [line.attributes["snr_db"] for _, line in lines if "snr_db" in line.attributes]
    assert 2 <= len(noisy) <= 10
    assert len(set(noisy)) == len(noisy)
    assert all(0 <= snr <= 30 for snr in noisy)


@pytest.mark.parametrize("bad", [{"noise": (20, 5)}, {"codecs": ("gsm",)}, {"chance": 0.0}, {"volume": (1, 2)}])
def test_a_recipe_that_makes_no_sense_is_refused(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        Recipe(**bad)
