import dataclasses
import hashlib
import re
import sys
import time
from collections import Counter
from pathlib import Path

import librosa
import numpy as np
import pytest

from speechllm.audio.io import SAMPLING_RATE, load_audio
from speechllm.data import synthetic
from speechllm.data.espeak import Espeak
from speechllm.data.manifest import read_manifest
from speechllm.data.synthetic import RATES, VOICES, design, make_corpus, sentences, speak
from speechllm.errors import SpeechLLMError

ALL_VOICES = [voice for side in VOICES.values() for voice in side]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    make_corpus(folder, num_train=16, num_test=8)
    return folder


def contents(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def f0(samples):
    """Median over the loud frames."""
    f0 = librosa.yin(samples, fmin=55, fmax=450, sr=SAMPLING_RATE, frame_length=1024, hop_length=256)
    loudness = librosa.feature.rms(y=samples, frame_length=1024, hop_length=256)[0]
    return np.median(f0[loudness > 0.3 * loudness.max()])


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(corpus, tmp_path):
    make_corpus(tmp_path / "same", num_train=16, num_test=8)
    make_corpus(tmp_path / "other", num_train=16, num_test=8, seed=1)
    assert contents(tmp_path / "same") == contents(corpus)
    other = contents(tmp_path / "other")
    assert other.keys() == contents(corpus).keys()
    assert other["audio/train-00000.flac"] != contents(corpus)["audio/train-00000.flac"]


def test_breath_does_not_depend_on_the_time_of_day():
    def spoken():
        with Espeak() as espeak:
            return espeak.speak("Hello.", voice="en-us+f2", words_per_minute=175, pitch=50)

    before = spoken()
    time.sleep(1.1)
    assert spoken() == before


def test_more_training_clips_leave_the_test_clips_as_they_are(corpus, tmp_path):
    make_corpus(tmp_path, num_train=1, num_test=8)
    small, large = contents(tmp_path), contents(corpus)
    assert all(small[name] == large[name] for name in small if name.startswith("audio/test") or name == "test.jsonl")


def test_a_complete_corpus_is_kept_and_a_damaged_one_is_remade(tmp_path):
    def written_at():
        return (tmp_path / "train.jsonl").stat().st_mtime_ns

    make_corpus(tmp_path, num_train=2, num_test=1)
    before, first = contents(tmp_path), written_at()
    make_corpus(tmp_path, num_train=2, num_test=1)
    assert written_at() == first
    for missing in ("audio/train-00001.flac", "corpus.json", "test.jsonl"):
        (tmp_path / missing).unlink()
        make_corpus(tmp_path, num_train=2, num_test=1)
        assert contents(tmp_path) == before
    assert written_at() > first
    make_corpus(tmp_path, num_train=3, num_test=1)
    assert len(read_manifest(tmp_path / "train.jsonl")) == 3


def test_the_manifests_describe_the_audio(corpus):
    for split, count in (("train", 16), ("test", 8)):
        utterances = read_manifest(corpus / f"{split}.jsonl")
        assert len(utterances) == count
        for utterance in utterances:
            samples = load_audio(utterance.audio)
            assert samples.size / SAMPLING_RATE == utterance.duration
            assert 0.8 < utterance.duration < 4.5
            assert np.sqrt(np.mean(samples**2)) == pytest.approx(synthetic.RMS, rel=0.05)
            assert (utterance.dataset, utterance.split, utterance.language) == ("synthetic-espeak", split, "en")
            low, high = RATES[utterance.attributes["speaking_rate"]]
            assert low <= utterance.attributes["words_per_minute"] <= high
        raw = (corpus / f"{split}.jsonl").read_text()
        assert f'"audio/{split}-00000.flac"' in raw
        assert str(corpus) not in raw


def test_train_and_test_share_no_voice_and_no_sentence():
    train, test = design("train", 720, 0), design("test", 320, 0)
    assert not {c.voice for c in train} & {c.voice for c in test}
    assert not {c.text for c in train} & {c.text for c in test}
    assert len({c.voice for c in train}) == len(VOICES["train"]) >= 18
    assert len({c.voice for c in test}) == len(VOICES["test"]) >= 8
    for clips in (train, test):
        cells = Counter((c.gender, c.speaking_rate, c.pitch) for c in clips)
        assert len(cells) == 8
        assert len(set(cells.values())) == 1
        per_voice = Counter((c.voice, c.speaking_rate, c.pitch) for c in clips)
        assert len(set(per_voice.values())) == 1


def test_sentences_are_distinct_and_give_no_attribute_away():
    lines = [sentence for split in ("train", "test") for sentence in sentences(split)]
    assert len(lines) >= 240
    assert len({line.lower() for line in lines}) == len(lines)
    telling = "fast slow quick hurry high low man woman men women male female boy girl he she his her voice pitch loud"
    for line in lines:
        words = re.findall(r"[\w'-]+", line.lower())
        assert 4 <= len(words) <= 10
        assert not set(words) & set(telling.split()), line


def test_every_voice_has_the_gender_that_its_file_states():
    import espeakng_loader

    variants = Path(espeakng_loader.get_data_path()) / "voices" / "!v"
    assert len({voice.name for voice in ALL_VOICES}) == len(ALL_VOICES) >= 26
    for voice in ALL_VOICES:
        stated = re.search(r"^gender\s+(\w+)", (variants / voice.name.split("+")[1]).read_text(), re.MULTILINE)
        assert stated is not None
        assert stated[1].lower() == voice.gender
    assert Counter(v.gender for v in VOICES["train"]) == {"female": 9, "male": 9}
    assert Counter(v.gender for v in VOICES["test"]) == {"female": 4, "male": 4}


def test_pitch_and_rate_can_be_heard_in_every_voice():
    clips = [clip for split in VOICES for clip in design(split, 320, 0)]
    heard = {}
    with Espeak() as espeak:
        for voice in ALL_VOICES:
            for pitch, rate in (("low", "slow"), ("high", "fast")):
                wanted = (voice.name, pitch, rate)
                clip = next(c for c in clips if (c.voice, c.pitch, c.speaking_rate) == wanted)
                heard[voice.name, pitch] = speak(
                    espeak, dataclasses.replace(clip, text="We bought oranges at the fair.")
                )
    for voice in ALL_VOICES:
        low_and_slow, high_and_fast = heard[voice.name, "low"], heard[voice.name, "high"]
        assert f0(high_and_fast) > 1.15 * f0(low_and_slow), voice.name
        assert low_and_slow.size > 1.4 * high_and_fast.size, voice.name


def test_formants_vary_in_training_only_and_leave_pitch_and_rate_as_they_are():
    train = design("train", 64, 0)
    assert len({clip.formants for clip in train}) > 32
    assert {clip.formants for clip in design("test", 64, 0)} == {1.0}
    voice = next(v for v in VOICES["train"] if v.name == "en-us+m2")
    heard = {}
    with Espeak() as espeak:
        for formants in (0.93, 1.07):
            setting = voice.setting(110 / formants)
            clip = dataclasses.replace(
                train[0], voice=voice.name, words_per_minute=150, pitch_setting=setting, formants=formants
            )
            heard[formants] = speak(espeak, clip)
    long_tract, short_tract = heard[0.93], heard[1.07]
    assert f0(long_tract) == pytest.approx(f0(short_tract), rel=0.04)  # a change of 15 % if they were left alone
    assert long_tract.size == pytest.approx(short_tract.size, rel=0.06)

    def centroid(samples):
        return np.mean(librosa.feature.spectral_centroid(y=samples, sr=SAMPLING_RATE))

    assert centroid(short_tract) > 1.02 * centroid(long_tract)


def test_without_espeak_the_error_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(SpeechLLMError, match=r"pip install 'speechllm\[quickstart\]'"):
        make_corpus(tmp_path, num_train=1, num_test=1)


def test_an_espeak_that_dies_is_one_clear_error():
    with Espeak() as espeak, pytest.raises(SpeechLLMError, match="exit status 1"):
        espeak.speak("Hello.", voice="no-such-voice", words_per_minute=175, pitch=50)
    with Espeak() as espeak:
        espeak._process.kill()
        espeak._process.wait()
        with pytest.raises(SpeechLLMError, match="exit status -9"):
            espeak.speak("Hello.", voice="en-us", words_per_minute=175, pitch=50)


def test_impossible_requests_are_one_clear_error(tmp_path):
    with pytest.raises(SpeechLLMError, match="num_test=0"):
        make_corpus(tmp_path, num_train=1, num_test=0)
    (tmp_path / "file").write_text("")
    with pytest.raises(SpeechLLMError, match="file"):
        make_corpus(tmp_path / "file", num_train=1, num_test=1)
