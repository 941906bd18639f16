import os
import signal

import pytest
from runs import Killed, assert_same, fit, log, run_of

from speechllm.cli import main
from speechllm.train import loop
from speechllm.train.keeping import kept_checkpoints
from speechllm.train.objectives import OBJECTIVES, CrossEntropy
from speechllm.train.stopping import StoppedError


def signalled(monkeypatch, number, step):
    """The system's signal arrives in the middle of a step of the second stage."""

    class Signalled(CrossEntropy):
        def __call__(self, batch, at):
            if at == step:
                os.kill(os.getpid(), number)
            return super().__call__(batch, at)

    monkeypatch.setattr(loop, "OBJECTIVES", OBJECTIVES | {"cross_entropy": Signalled})


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
@pytest.mark.parametrize("step", [0, 1, 2])
def test_a_run_that_is_told_to_stop_saves_and_goes_on(number, step, whole, resumable, corpus, monkeypatch, tmp_path):
    config = resumable(tmp_path, save_every=100)
    with monkeypatch.context() as patch:
        signalled(patch, number, step)
        with pytest.raises(StoppedError, match=rf"{number.name} received: .* after step {step} of stage 1 and saved"):
            fit(config, corpus)
    assert len(log(config)) == 4 + step + 1, "the step under way was finished"
    run = run_of(config, corpus)
    seen = []
    real = loop.take_step
    monkeypatch.setattr(loop, "take_step", lambda *args: seen.append(args[2]) or real(*args))
    loop.fit(run)
    assert seen == list(range(step + 1, 3)), "no step was taken again"
    assert_same(fit(config, corpus), whole)


def test_a_run_that_is_told_to_stop_keeps_the_checkpoints_of_one_that_is_not(resumable, corpus, monkeypatch, tmp_path):
    config = resumable(tmp_path, save_every=2, keep_last=2)
    with monkeypatch.context() as patch:
        signalled(patch, signal.SIGTERM, 0)
        with pytest.raises(StoppedError):
            fit(config, corpus)
    fit(config, corpus)
    assert [path.name for path in kept_checkpoints(config.out)] == ["stage-0-step-000002", "stage-1-step-000002"]


@pytest.mark.parametrize("part", ["keep_checkpoint", "save_state"])
def test_a_run_killed_as_it_saves_keeps_every_checkpoint(part, resumable, corpus, monkeypatch, tmp_path):
    config = resumable(tmp_path, save_every=2, keep_last=2)

    def die(*_):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(loop, part, die)
        with pytest.raises(Killed):
            fit(config, corpus)
    fit(config, corpus)
    assert [path.name for path in kept_checkpoints(config.out)] == ["stage-0-step-000002", "stage-1-step-000002"]


def test_the_handlers_of_before_are_back_afterwards(resumable, corpus, tmp_path):
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1)}
    fit(resumable(tmp_path), corpus)
    assert {number: signal.getsignal(number) for number in before} == before


def test_the_command_ends_with_a_line_and_a_status_of_its_own(resumable, monkeypatch, tmp_path, capsys):
    config = resumable(tmp_path / "run")
    monkeypatch.setattr("speechllm.config.load_toml", lambda *_: config)
    with monkeypatch.context() as patch:
        signalled(patch, signal.SIGTERM, 1)
        assert main(["train", "config.toml"]) == 75
    assert "SIGTERM received: stopped after step 1 of stage 1" in capsys.readouterr().err
    assert not (config.out / "checkpoint").exists()
    assert main(["train", "config.toml"]) == 0
    assert (config.out / "checkpoint").exists()
