import errno
import multiprocessing
import os
import random
import signal

import pytest
import torch
from runs import CALLS, TWO_STAGES, Killed, assert_same, fit, kill_at, log, run_of

from speechllm.errors import SpeechLLMError
from speechllm.train import loop, state


def test_the_same_seed_gives_the_same_weights_and_another_one_others(whole, resumable, corpus, tmp_path):
    assert_same(fit(resumable(tmp_path / "same"), corpus), whole)
    other, _ = fit(resumable(tmp_path / "other", seed=1), corpus)
    assert not any(torch.equal(other[name], tensor) for name, tensor in whole[0].items() if tensor.numel() > 100)


@pytest.mark.parametrize("call", range(CALLS))
def test_a_run_killed_at_any_step_ends_as_if_it_had_not_been(call, whole, resumable, corpus, monkeypatch, tmp_path):
    config = resumable(tmp_path)
    with monkeypatch.context() as patch:
        kill_at(patch, call)
        with pytest.raises(Killed):
            fit(config, corpus)
    torch.manual_seed(call)
    assert_same(fit(config, corpus), whole)


def test_a_run_whose_encoder_learns_ends_as_if_it_had_not_been_killed(resumable, corpus, monkeypatch, tmp_path):
    def config(name):
        return resumable(tmp_path / name, model={"encoder_lora": {"rank": 2, "dropout": 0.3}})

    whole = fit(config("whole"), corpus)
    assert any("audio_tower" in name for name in whole[0])
    with monkeypatch.context() as patch:
        kill_at(patch, 6)
        with pytest.raises(Killed):
            fit(config("cut"), corpus)
    assert_same(fit(config("cut"), corpus), whole)


def test_a_run_killed_again_and_again_ends_too(whole, resumable, corpus, monkeypatch, tmp_path):
    config = resumable(tmp_path, save_every=1)
    for call in (2, 1, 1, 3):
        with monkeypatch.context() as patch:
            kill_at(patch, call, KeyboardInterrupt)
            with pytest.raises(KeyboardInterrupt):
                fit(config, corpus)
    assert_same(fit(config, corpus), whole)


def test_a_run_killed_while_it_saves_goes_on_from_the_older_state(whole, resumable, corpus, monkeypatch, tmp_path):
    config = resumable(tmp_path)
    saves = iter(range(10))

    def dying(value, path, real=torch.save):
        if next(saves) == 1:
            path.write_bytes(b"half a state")
            raise Killed
        real(value, path)

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", dying)
        with pytest.raises(Killed):
            fit(config, corpus)
    assert_same(fit(config, corpus), whole)


def test_a_line_of_the_log_that_was_cut_short_is_dropped(whole, resumable, corpus, monkeypatch, tmp_path):
    config = resumable(tmp_path)
    with monkeypatch.context() as patch:
        kill_at(patch, 5)
        with pytest.raises(Killed):
            fit(config, corpus)
    with (config.out / "log.jsonl").open("a", encoding="utf-8") as out:
        out.write('{"stage": 1, "objective": "cross_en')
    assert_same(fit(config, corpus), whole)


def test_a_finished_run_is_not_run_again(whole, resumable, corpus, monkeypatch, tmp_path):
    config = resumable(tmp_path)
    fit(config, corpus)
    kill_at(monkeypatch, 0)
    assert_same(fit(config, corpus), whole)


LONG = [TWO_STAGES[0] | {"steps": 9}, TWO_STAGES[1] | {"steps": 15}]
KILLS = sorted(random.Random(7).sample(range(24), 10))
"""Steps, counted over both stages, in the middle of which the process is killed, each in a life of its own."""


def live(config, kill):
    """Trains in a process that the system kills in step `kill`, after the backward pass; returns its exit code."""

    def run():
        real = loop.take_step
        before = {"embedding_alignment": 0, "cross_entropy": 9}

        def dying(objective, batch, step, stage, *rest):
            def killed_inside(part, at):
                out = objective(part, at)
                if step + before[stage.objective] == kill:
                    os.kill(os.getpid(), signal.SIGKILL)
                return out

            return real(killed_inside, batch, step, stage, *rest)

        loop.take_step = dying
        loop.train(config)

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    process.join()
    return process.exitcode


def test_a_process_killed_at_ten_random_steps_ends_with_the_same_checkpoint(resumable, tmp_path):
    settings = {"stages": LONG, "save_every": 2}
    expected = loop.train(resumable(tmp_path / "whole", **settings))
    config = resumable(tmp_path / "killed", **settings)
    for kill in KILLS:
        assert live(config, kill) == -signal.SIGKILL
        assert not (config.out / "checkpoint").exists()
    kept = (config.out / "log.jsonl").read_bytes().splitlines()[:18]
    assert live(config, None) == 0
    assert (config.out / "log.jsonl").read_bytes().splitlines()[:18] == kept, "it started over"
    assert log(config) == log(resumable(tmp_path / "whole", **settings))
    for name in ("adapter.safetensors", "fingerprint.json", "config.json", "README.md"):
        assert (config.out / "checkpoint" / name).read_bytes() == (expected / name).read_bytes(), name


@pytest.mark.parametrize(
    "change", [{"seed": 7}, {"stages": TWO_STAGES[:1]}, {"adapter": {"type": "pooled", "vectors": 11}}]
)
def test_going_on_with_another_config_is_refused_and_changes_nothing(change, resumable, corpus, monkeypatch, tmp_path):
    config = resumable(tmp_path)
    with monkeypatch.context() as patch:
        kill_at(patch, 5)
        with pytest.raises(Killed):
            fit(config, corpus)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert set(before) == {"config.json", "log.jsonl", "state.pt"}
    with pytest.raises(SpeechLLMError, match=r"state\.pt: belongs to a run with another config"):
        fit(resumable(tmp_path, **change), corpus)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("file", ["manifest", "targets"])
def test_going_on_with_other_data_is_refused(file, resumable, corpus, monkeypatch, tmp_path):
    copies = {name: tmp_path / f"{name}.jsonl" for name in ("manifest", "targets")}
    for name, path in copies.items():
        path.write_bytes(getattr(corpus, name).read_bytes())
    config = resumable(tmp_path / "run", data={name: str(path) for name, path in copies.items()})
    with monkeypatch.context() as patch:
        kill_at(patch, 5)
        with pytest.raises(Killed):
            fit(config, corpus)
    copies[file].write_text(copies[file].read_text(encoding="utf-8").replace("high", "low", 1), encoding="utf-8")
    with pytest.raises(SpeechLLMError, match=r"state\.pt: belongs to a run with another config or other data"):
        fit(config, corpus)


def test_a_run_may_be_moved_and_save_more_often(whole, resumable, corpus, monkeypatch, tmp_path):
    with monkeypatch.context() as patch:
        kill_at(patch, 5)
        with pytest.raises(Killed):
            fit(resumable(tmp_path / "here"), corpus)
    (tmp_path / "here").rename(tmp_path / "there")
    kept = len(log(resumable(tmp_path / "there")))
    with monkeypatch.context() as patch:
        kill_at(patch, CALLS - 3)  # from step 4 of the first stage on that is beyond the end
        assert_same(fit(resumable(tmp_path / "there", save_every=1), corpus), whole)
    assert kept > 0


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 but cut short", b"\x80\x04nonsense"])
def test_a_damaged_state_is_an_error_that_says_what_to_do(content, resumable, corpus, tmp_path):
    (tmp_path / "state.pt").write_bytes(content)
    with pytest.raises(SpeechLLMError, match=r"state\.pt: is damaged .*delete it to start the run anew") as caught:
        fit(resumable(tmp_path), corpus)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < len(str(tmp_path)) + 200


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("PytorchStreamWriter failed writing file")]
)
def test_a_full_disk_while_saving_leaves_the_older_state(error, whole, resumable, corpus, monkeypatch, tmp_path):
    config = resumable(tmp_path)
    saves = iter(range(10))

    def full(value, path, real=torch.save):
        if next(saves) == 1:
            path.write_bytes(b"half a state")
            raise error
        real(value, path)

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full)
        with pytest.raises(SpeechLLMError, match=r"state\.pt: cannot be written: .*; free some space"):
            fit(config, corpus)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "log.jsonl", "state.pt"]
    assert_same(fit(config, corpus), whole)


def test_the_state_is_where_the_run_stands(resumable, corpus, tmp_path):
    run = run_of(resumable(tmp_path), corpus)
    loop.fit(run)
    position, optimizer = state.load_state(tmp_path / "state.pt", run.identity, run.model)
    assert position == state.Position(2, 0)
    assert optimizer is None
    assert state.load_state(tmp_path / "none.pt", run.identity, run.model) == (state.Position(0, 0), None)
