import functools
import json

import pytest
import torch
from runs import fit

from speechllm.audio.io import load_audio, save_audio
from speechllm.data.manifest import read_manifest, relocated, write_manifest
from speechllm.errors import SpeechLLMError
from speechllm.train import loop
from speechllm.train.run import make_context


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


def test_a_store_without_room_meets_the_broken_sound_in_the_steps(train_config, corpus, tmp_path, capsys, monkeypatch):
    """As with a corpus that does not fit in memory: reported once, and another of the batch in its place."""
    monkeypatch.setattr(loop, "make_context", functools.partial(make_context, max_bytes=0))
    seen = []
    real = loop.take_step
    monkeypatch.setattr(loop, "take_step", lambda *args: seen.append(args[1]) or real(*args))
    data = cut_body(corpus, tmp_path, ("tone-3", "tone-6"), max_broken=0.25)
    loop.train(train_config(tmp_path / "run", data=data))
    said = capsys.readouterr().err
    assert said.count("tone-3.flac") == said.count("tone-6.flac") == 1
    heard = {example.utterance.id for batch in seen for example in batch}
    assert heard == {f"tone-{i}" for i in range(8)} - {"tone-3", "tone-6"}
    assert {len(batch) for batch in seen} == {stage.batch_size for stage in train_config(tmp_path / "run").stages}


def test_too_much_that_breaks_off_in_the_steps_ends_the_run(train_config, corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "make_context", functools.partial(make_context, max_bytes=0))
    data = cut_body(corpus, tmp_path, ("tone-3", "tone-6"), max_broken=0.125)
    with pytest.raises(SpeechLLMError, match=r"2 of 8 utterances cannot be read, more than the 0\.125 that may"):
        loop.train(train_config(tmp_path / "run", data=data))


def test_room_in_memory_changes_nothing_of_a_run(train_config, corpus, tmp_path, monkeypatch):
    roomy = fit(train_config(tmp_path / "roomy"), corpus)
    full = fit(train_config(tmp_path / "full"), corpus, max_bytes=0)
    for name, tensor in roomy[0].items():
        torch.testing.assert_close(full[0][name], tensor, rtol=0, atol=1e-4)


def test_files_broken_in_head_and_body_count_together(train_config, corpus, tmp_path):
    data = cut_body(corpus, tmp_path, ("tone-5",))
    (tmp_path / "broken.wav").write_text("This is not sound.\n" * 99)
    utterances = relocated(read_manifest(tmp_path / "manifest.jsonl"), tmp_path)
    utterances[3] = utterances[3].model_copy(update={"audio": "broken.wav"})
    write_manifest(tmp_path / "manifest.jsonl", utterances)
    with pytest.raises(SpeechLLMError, match=r"2 of 8 utterances cannot be read, more than the 0\.1 .*tone-5"):
        loop.train(train_config(tmp_path / "run", data=data | {"max_broken": 0.1}))
    loop.train(train_config(tmp_path / "run", data=data | {"max_broken": 0.25}))
