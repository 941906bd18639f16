import json

import pytest
import torch
from runs import TWO_STAGES, run_of, weights

from speechllm.cli import main
from speechllm.errors import SpeechLLMError
from speechllm.train import find_rate
from speechllm.train.find_rate import Tried, find_rates, steepest


def tried(*smoothed):
    return [Tried(0, "kl", 10.0**-number, loss, loss) for number, loss in enumerate(smoothed)]


def test_the_rate_is_where_the_loss_falls_fastest():
    assert steepest(tried(3.0, 2.9, 1.0, 0.5, 2.0)) == 0.1
    with pytest.raises(SpeechLLMError, match="stage 0: the loss falls at no learning rate"):
        steepest(tried(1.0, 2.0))


def test_rates_rise_until_the_loss_has_left_its_best_far_behind(resumable, corpus, tmp_path):
    run = run_of(resumable(tmp_path, stages=TWO_STAGES[:1]), corpus)
    before = weights(run)
    found = find_rates(run)
    rows = [json.loads(line) for line in (tmp_path / "find_lr.jsonl").read_text(encoding="utf-8").splitlines()]
    rates = [row["learning_rate"] for row in rows]
    assert rates[0] == pytest.approx(1e-6)
    assert rates == sorted(rates)
    assert 1e-6 < found[0] < rates[-1]
    assert min(row["smoothed"] for row in rows) < 0.9 * rows[0]["smoothed"], "some rate learned"
    assert all(torch.equal(after, before[name]) for name, after in weights(run).items()), "nothing is trained"
    assert (tmp_path / "find_lr.png").read_bytes().startswith(b"\x89PNG")


def test_a_loss_that_is_not_finite_ends_the_test_of_a_stage(resumable, corpus, monkeypatch, tmp_path):
    monkeypatch.setattr(find_rate, "HIGHEST", 1e30)
    monkeypatch.setattr(find_rate, "DIVERGED", float("inf"))
    run = run_of(resumable(tmp_path, stages=TWO_STAGES[:1]), corpus)
    assert len(find_rate._try_stage(run, 0, run.config.stages[0])) < find_rate.STEPS


def test_the_command_prints_a_line_a_stage(resumable, monkeypatch, tmp_path, capsys):
    config = resumable(tmp_path / "run")
    monkeypatch.setattr("speechllm.config.load_toml", lambda *_: config)
    monkeypatch.setattr(find_rate, "STEPS", 30)
    assert main(["train", "config.toml", "--find-lr"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" = ")[0] for line in lines] == ["stages.0.learning_rate", "stages.1.learning_rate"]
    assert not (config.out / "state.pt").exists()
