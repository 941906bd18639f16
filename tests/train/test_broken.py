import json

import pytest

from speechllm.data.manifest import relocated, write_manifest
from speechllm.errors import SpeechLLMError
from speechllm.train import loop


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
