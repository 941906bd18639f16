import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import torch
from runs import TWO_STAGES, Killed, assert_same, fit, kill_at, run_of

from speechllm.errors import SpeechLLMError
from speechllm.train import loop
from speechllm.train.identity import check_unchanged, identity

STATE = Path("state.pt")


@pytest.fixture
def killed(resumable, corpus, monkeypatch, tmp_path):
    """The config of a run that was killed in its second stage."""
    config = resumable(tmp_path)
    with monkeypatch.context() as patch:
        kill_at(patch, 5)
        with pytest.raises(Killed):
            fit(config, corpus)
    return config


def faster(config):
    """The config with another learning rate in the second stage."""
    first, second = config.stages
    return dataclasses.replace(config, stages=[first, dataclasses.replace(second, learning_rate=0.5)])


def test_the_message_names_what_changed_and_how_to_allow_it(killed, corpus):
    expected = r"stages\.1\.learning_rate \(0\.01 then, 0\.5 now\); .* --allow-change stages\.1\.learning_rate$"
    with pytest.raises(SpeechLLMError, match=expected):
        fit(faster(killed), corpus)


@pytest.mark.parametrize("allowed", ["stages.1.learning_rate", "stages.1", "stages"])
def test_a_change_that_is_allowed_goes_on(allowed, killed, whole, corpus, tmp_path):
    shutil.copytree(tmp_path, tmp_path / "copy")
    copy = dataclasses.replace(killed, out=tmp_path / "copy")
    assert_same(fit(copy, corpus), whole)
    run = run_of(faster(killed), corpus)
    loop.fit(run, [allowed])
    rates = [steps["learning_rate"] for steps in logged(killed) if steps["stage"] == 1]
    assert rates == [loop.learning_rate(faster(killed).stages[1], step) for step in range(3)]


def logged(config):
    return [json.loads(line) for line in (config.out / "log.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("allowed", ["stages.1.learning_rat", "stages.0", "seed"])
def test_allowing_what_did_not_change_is_a_mistake(allowed, killed, corpus):
    with pytest.raises(SpeechLLMError, match=rf"--allow-change {allowed}: that key has not changed; (did you|known)"):
        loop.fit(run_of(faster(killed), corpus), [allowed])


def test_another_adapter_cannot_be_gone_on_from(killed, corpus, resumable, tmp_path):
    other = resumable(tmp_path, adapter={"type": "pooled", "vectors": 11, "hidden_size": 16})
    with pytest.raises(SpeechLLMError, match=r"state\.pt: holds another adapter"):
        loop.fit(run_of(other, corpus), ["model.adapter"])


def test_many_differences_are_counted():
    then, now = {f"k{i}": "1" for i in range(9)}, {f"k{i}": "2" for i in range(9)}
    with pytest.raises(SpeechLLMError, match=r"k0 \(1 then, 2 now\), .* and 3 more; "):
        check_unchanged(STATE, then, now)


def test_a_key_that_is_new_or_gone_differs():
    with pytest.raises(SpeechLLMError, match=r"a \(1 then, absent now\), b \(absent then, 2 now\)"):
        check_unchanged(STATE, {"a": "1"}, {"b": "2"})
    check_unchanged(STATE, {"a": "1"}, {"b": "2"}, ["a", "b"])


def test_where_and_how_often_it_saves_is_no_part_of_a_run(resumable, tmp_path):
    one = identity(resumable(tmp_path / "one"))
    assert identity(resumable(tmp_path / "two", save_every=9, max_skipped_steps=0)) == one
    assert identity(resumable(tmp_path / "one", seed=1)) == one | {"seed": "1"}
    assert identity(resumable(tmp_path / "one", stages=TWO_STAGES[:1])).keys() < one.keys()
    assert len(one["data.targets.sha256"]) == 64


def test_a_state_of_another_version_is_refused(resumable, corpus, tmp_path):
    torch.save({"config": "0f3a", "position": {"stage": 0, "step": 1}}, tmp_path / "state.pt")
    with pytest.raises(SpeechLLMError, match=r"state\.pt: was saved by another version"):
        fit(resumable(tmp_path), corpus)
