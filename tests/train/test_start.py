"""Runs that begin with the weights of an adapter checkpoint."""

import pytest
import torch
from runs import TWO_STAGES
from safetensors.torch import load_file, save_file

from speechllm.errors import SpeechLLMError
from speechllm.train import loop
from speechllm.train.identity import identity

NO_DROPOUT = {"type": "pooled", "vectors": 10, "hidden_size": 16, "dropout": 0.0}


@pytest.fixture
def first(train_config, tmp_path):
    """A checkpoint of the first stage alone."""
    return loop.train(train_config(tmp_path / "first", adapter=NO_DROPOUT, stages=TWO_STAGES[:1]))


def begun(train_config, out, start, **model):
    return train_config(out, model={"start": str(start), **model}, adapter=NO_DROPOUT, stages=TWO_STAGES[1:])


def test_two_stages_in_two_runs_are_those_in_one(train_config, tmp_path, first):
    whole = loop.train(train_config(tmp_path / "whole", adapter=NO_DROPOUT, stages=TWO_STAGES))
    second = loop.train(begun(train_config, tmp_path / "second", first))
    once, twice = (load_file(folder / "adapter.safetensors") for folder in (whole, second))
    assert once.keys() == twice.keys()
    assert all(torch.equal(once[name], twice[name]) for name in once)
    assert any(not torch.equal(once[name], tensor) for name, tensor in load_file(first / "adapter.safetensors").items())


def test_lora_starts_fresh_on_a_checkpoint_without_it(train_config, tmp_path, first):
    config = begun(train_config, tmp_path / "lora", first, lora={"rank": 2})
    model, _ = loop.build(config)
    held = load_file(first / "adapter.safetensors")
    state = model.adapter_state()
    assert all(torch.equal(state[name], tensor) for name, tensor in held.items())
    fresh = {name for name in state if name not in held}
    assert fresh
    assert all("lora" in name for name in fresh)
    checkpoint = loop.train(config)
    with pytest.raises(SpeechLLMError, match=r"holds '.*lora.*', which this run does not train"):
        loop.build(begun(train_config, tmp_path / "frozen", checkpoint))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"adapter": {**NO_DROPOUT, "vectors": 9}}, "with adapter .*'vectors': 10.*, this run has .*'vectors': 9"),
        ({"model": {"audio_layers": [1]}}, r"with audio_layers \[1, 2\], this run has \[1\]"),
    ],
)
def test_another_model_is_refused(change, told, train_config, tmp_path, first):
    settings = {"adapter": NO_DROPOUT, **change}
    settings["model"] = {"start": str(first), **settings.get("model", {})}
    with pytest.raises(SpeechLLMError, match=told):
        loop.build(train_config(tmp_path / "other", **settings))


def test_a_folder_that_is_no_checkpoint_is_named(train_config, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(SpeechLLMError, match="empty: is not an adapter checkpoint"):
        loop.build(begun(train_config, tmp_path / "run", tmp_path / "empty"))


def test_what_a_run_starts_from_is_part_of_it(train_config, tmp_path, first):
    config = begun(train_config, tmp_path / "second", first)
    before = identity(config)
    weights = first / "adapter.safetensors"
    save_file({name: tensor + 1 for name, tensor in load_file(weights).items()}, weights)
    assert {key for key in before if before[key] != identity(config)[key]} == {"model.start.sha256"}
