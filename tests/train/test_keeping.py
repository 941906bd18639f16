import pytest
import torch
from runs import Killed, fit, kill_at

from speechllm import SpeechLLM
from speechllm.train import loop
from speechllm.train.keeping import kept_checkpoints
from speechllm.train.state import Position


def kept(config):
    return sorted(path.name for path in (config.out / "checkpoints").iterdir())


@pytest.mark.parametrize("keep_last", [1, 2, 9])
def test_the_last_checkpoints_are_kept(keep_last, resumable, corpus, tmp_path):
    config = resumable(tmp_path, save_every=1, keep_last=keep_last)
    fit(config, corpus)
    everything = ["stage-0-step-000001", "stage-0-step-000002", "stage-0-step-000003"]
    everything += ["stage-1-step-000001", "stage-1-step-000002"]
    assert kept(config) == everything[-min(keep_last, 5) :]


def test_a_kept_checkpoint_is_the_adapter_of_its_step(resumable, corpus, monkeypatch, tmp_path):
    seen = {}
    real = loop.save_state

    def recorded(path, identity, position, model, optimizer):
        seen[position] = {name: tensor.clone() for name, tensor in model.adapter_state().items()}
        real(path, identity, position, model, optimizer)

    monkeypatch.setattr(loop, "save_state", recorded)
    config = resumable(tmp_path, save_every=2, keep_last=2)
    fit(config, corpus)
    assert kept(config) == ["stage-0-step-000002", "stage-1-step-000002"]
    for name, position in zip(kept(config), (Position(0, 2), Position(1, 2)), strict=True):
        state = SpeechLLM.from_pretrained(config.out / "checkpoints" / name).adapter_state()
        assert all(torch.equal(tensor, seen[position][key]) for key, tensor in state.items())


def test_none_is_kept_unless_asked(resumable, corpus, tmp_path):
    fit(resumable(tmp_path, save_every=1), corpus)
    assert not (tmp_path / "checkpoints").exists()


def test_a_run_that_goes_on_keeps_as_many(resumable, corpus, monkeypatch, tmp_path):
    config = resumable(tmp_path, save_every=1, keep_last=2)
    with monkeypatch.context() as patch:
        kill_at(patch, 3)
        with pytest.raises(Killed):
            fit(config, corpus)
    assert kept(config) == ["stage-0-step-000002", "stage-0-step-000003"]
    fit(config, corpus)
    assert kept(config) == ["stage-1-step-000001", "stage-1-step-000002"]


def test_stages_are_counted_not_spelt(tmp_path):
    names = ["stage-9-step-000001", "stage-10-step-000001", "stage-10-step-000002"]
    for name in reversed(names):
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
    assert [path.name for path in kept_checkpoints(tmp_path)] == names
