import json

import pytest

from speechllm import SpeechLLM, hub
from speechllm.errors import SpeechLLMError
from speechllm.export import export
from speechllm.train import loop


@pytest.fixture(scope="module")
def trained(train_config, tmp_path_factory):
    return loop.train(train_config(tmp_path_factory.mktemp("run")))


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_an_exported_checkpoint_loads_and_its_card_tells_what_was_measured(trained, tmp_path):
    results = tmp_path / "results.json"
    results.write_text(json.dumps({"gender": {"accuracy": 0.9375}}), encoding="utf-8")
    out = export(str(trained), tmp_path / "out", results)
    SpeechLLM.from_pretrained(out)
    assert names(out) == names(trained)
    for name in names(trained):
        assert name == "README.md" or (out / name).read_bytes() == (trained / name).read_bytes()
    before, card = ((folder / "README.md").read_text(encoding="utf-8") for folder in (trained, out))
    assert "0.9375" in card
    assert "0.9375" not in before
    for told in ("tones", "self_output: 8", "scripted (0)", "embedding_alignment: 4 steps of 4", "Focus on the audio"):
        assert told in card
        assert told in before
    assert export(str(trained), out) == out, "a checkpoint may be replaced"
    assert "0.9375" not in (out / "README.md").read_text(encoding="utf-8")
    assert names(tmp_path) == ["out", "results.json"]


@pytest.mark.parametrize("content", [None, "{", "[1]"])
def test_results_that_cannot_be_read_are_an_error(content, trained, tmp_path):
    results = tmp_path / "results.json"
    if content is not None:
        results.write_text(content)
    with pytest.raises(SpeechLLMError, match=r"results\.json: .*; give the results\.json of an evaluation"):
        export(str(trained), tmp_path / "out", results)
    assert not (tmp_path / "out").exists()


def test_only_checkpoints_are_exported_and_only_checkpoints_replaced(trained, llm_reference, tmp_path):
    with pytest.raises(SpeechLLMError, match="is not an adapter checkpoint"):
        export(llm_reference, tmp_path / "out")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    with pytest.raises(SpeechLLMError, match="exists and is not an adapter checkpoint"):
        export(str(trained), tmp_path / "mine")
    assert names(tmp_path) == ["mine"]
    assert names(tmp_path / "mine") == ["thesis.tex"]


def test_pushing_uploads_what_was_written(trained, tmp_path, monkeypatch):
    pushed = []
    monkeypatch.setattr(hub, "upload", lambda folder, repo: pushed.append((folder, repo)))
    out = export(str(trained), tmp_path / "out", push_to="owner/name")
    assert pushed == [(out, "owner/name")]


def test_exporting_onto_itself_keeps_the_checkpoint(trained, tmp_path):
    out = export(str(trained), tmp_path / "out")
    export(str(out), out)
    SpeechLLM.from_pretrained(out)
