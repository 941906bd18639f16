import numpy as np
import pytest
from transformers import GenerationConfig

from speechllm import stages
from speechllm.audio.io import save_audio
from speechllm.data.manifest import Utterance, read_manifest, write_manifest
from speechllm.models.recogniser import Recogniser
from speechllm.testing.corpus import tone
from speechllm.testing.tiny import tiny_whisper


@pytest.fixture(scope="module")
def english(tmp_path_factory):
    return tiny_whisper(tmp_path_factory.mktemp("english"))


@pytest.fixture(scope="module")
def multilingual(tmp_path_factory):
    """The same random Whisper with three of its tokens called languages."""
    folder = tmp_path_factory.mktemp("multilingual")
    tiny_whisper(folder)
    config = GenerationConfig.from_pretrained(folder)
    config.is_multilingual = True
    config.lang_to_id = {"<|en|>": 11, "<|fr|>": 12, "<|zh|>": 13}
    config.task_to_id = {"transcribe": 14, "translate": 15}
    config.save_pretrained(folder)
    return str(folder)


@pytest.fixture
def manifest(tmp_path):
    """One clip with text and language, one with neither, one broken."""
    save_audio(tmp_path / "a.wav", tone(0.6))
    save_audio(tmp_path / "b.wav", tone(0.8, 500.0))
    (tmp_path / "c.wav").write_text("not sound")
    values = {"duration": 0.6, "sampling_rate": 16_000}
    own = {"text": "Hello.", "language": "zh-CN"}
    known = [Utterance(id=i, audio=f"{i}.wav", **values, **(own if i == "a" else {})) for i in "abc"]
    write_manifest(tmp_path / "m.jsonl", known)
    return tmp_path / "m.jsonl"


def test_text_of_the_corpus_stays_beside_the_recognised_one_and_is_filled_where_missing(english, manifest, capsys):
    stages.recognise(manifest, manifest.parent / "out.jsonl", english, "cpu")
    a, b = read_manifest(manifest.parent / "out.jsonl")
    assert (a.text, a.language) == ("Hello.", "zh-CN")
    assert a.recognised_text is not None
    assert a.recognised_text != a.text
    assert b.text == b.recognised_text is not None
    assert b.language is None  # an English-only model does not tell languages
    assert "c.wav: is not audio that can be read" in capsys.readouterr().err


def test_a_multilingual_model_tells_the_language_where_the_corpus_does_not(multilingual, manifest):
    a, b = stages.recognise(manifest, manifest.parent / "out.jsonl", multilingual, "cpu")
    assert a.language == "zh-CN"
    assert b.language in {"en", "fr", "zh"}


def test_each_clip_of_a_batch_is_decoded_in_its_own_language(multilingual):
    recogniser = Recogniser(multilingual)
    prompts = []
    generate = recogniser._model.generate

    def recorded(**kwargs):
        prompts.append(kwargs["language"])
        return generate(**kwargs)

    recogniser._model.generate = recorded
    waveforms = [tone(0.5), tone(0.6), tone(0.7).astype(np.float32)]
    heard = recogniser.hear(waveforms, ["fr_FR", "tlh", "ZH"])
    assert [prompts[0][0], prompts[0][2]] == ["fr", "zh"]
    assert [heard[0].language, heard[2].language] == ["fr", "zh"]
    assert heard[1].language in {"en", "fr", "zh"}  # one that the model does not know is told anew
    assert heard[1].language == recogniser.hear([waveforms[1]], [None])[0].language


def test_sound_that_breaks_off_behind_a_good_header_is_left_out(english, manifest, capsys):
    flac = manifest.parent / "c.wav"
    save_audio(manifest.parent / "c.flac", tone(0.6))
    body = (manifest.parent / "c.flac").read_bytes()
    flac.write_bytes(body[: len(body) // 2])
    assert [u.id for u in stages.recognise(manifest, manifest.parent / "out.jsonl", english, "cpu")] == ["a", "b"]
    assert "skipped: 'c'" in capsys.readouterr().err
