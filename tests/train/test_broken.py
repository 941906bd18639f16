import json

import pytest
from runs import context_of

from speechllm.audio.io import load_audio, save_audio
from speechllm.data.manifest import read_manifest, relocated, write_manifest
from speechllm.errors import SpeechLLMError
from speechllm.train import loop
from speechllm.train.data import AudioStore


def with_a_broken_file(corpus, folder, **data):
    """The corpus with one file that is not audio."""
    (folder / "broken.wav").write_text("This is not sound.\n" * 99)
    utterances = relocated(corpus.utterances, folder)
    utterances[3] = utterances[3].model_copy(update={"audio": "broken.wav"})
    write_manifest(folder / "manifest.jsonl", utterances)
    return {"manifest": str(folder / "manifest.jsonl"), **data}


def test_training_leaves_a_broken_file_out_and_tells(train_config, corpus, tmp_path, capsys):
    checkpoint = loop.train(train_config(tmp_path / "run", data=with_a_broken_file(corpus, tmp_path)))
    assert json.loads((checkpoint / "training.json").read_text(encoding="utf-8"))["targets"] == 7
    assert "broken.wav: is not audio that can be read" in capsys.readouterr().err


def test_training_ends_with_an_error_where_more_is_broken_than_may_be(train_config, corpus, tmp_path):
    data = with_a_broken_file(corpus, tmp_path, max_broken=0.0)
    with pytest.raises(SpeechLLMError, match=r"1 of 8 utterances cannot be read.*broken\.wav"):
        loop.train(train_config(tmp_path / "run", data=data))


def cut_body(corpus, folder, ids=("tone-3",), **data):
    """The corpus with FLAC files whose headers are whole and whose sound is not."""
    utterances = relocated(corpus.utterances, folder)
    for at, utterance in enumerate(corpus.utterances):
        if utterance.id in ids:
            path = folder / f"{utterance.id}.flac"
            save_audio(path, load_audio(utterance.audio))
            body = path.read_bytes()
            path.write_bytes(body[: len(body) // 2])
            utterances[at] = utterances[at].model_copy(update={"audio": path.name})
    write_manifest(folder / "manifest.jsonl", utterances)
    return {"manifest": str(folder / "manifest.jsonl"), **data}


def test_training_leaves_out_sound_that_breaks_off_behind_a_whole_header(train_config, corpus, tmp_path, capsys):
    data = cut_body(corpus, tmp_path)
    config = train_config(tmp_path / "run", data=data)
    checkpoint = loop.train(config)
    assert json.loads((checkpoint / "training.json").read_text(encoding="utf-8"))["targets"] == 7
    assert "'tone-3':" in (said := capsys.readouterr().err)
    assert "tone-3.flac" in said


def test_a_store_without_room_finds_the_same_broken_sound(train_config, corpus, tmp_path):
    cut_body(corpus, tmp_path, ("tone-3", "tone-6"))
    utterances = read_manifest(tmp_path / "manifest.jsonl")
    context = context_of(train_config(tmp_path / "run"))
    full = AudioStore(context.model, context.processor, max_bytes=0)
    assert set(full.fill(utterances)) == set(context.audio.fill(utterances, 4)) == {"tone-3", "tone-6"}
    assert full._kept == {}
    assert len(context.audio._kept) == 6


def test_files_broken_in_head_and_body_count_together(train_config, corpus, tmp_path):
    data = cut_body(corpus, tmp_path, ("tone-5",))
    (tmp_path / "broken.wav").write_text("This is not sound.\n" * 99)
    utterances = relocated(read_manifest(tmp_path / "manifest.jsonl"), tmp_path)
    utterances[3] = utterances[3].model_copy(update={"audio": "broken.wav"})
    write_manifest(tmp_path / "manifest.jsonl", utterances)
    with pytest.raises(SpeechLLMError, match=r"2 of 8 utterances cannot be read, more than the 0\.1 .*tone-5"):
        loop.train(train_config(tmp_path / "run", data=data | {"max_broken": 0.1}))
    loop.train(train_config(tmp_path / "run", data=data | {"max_broken": 0.25}))
