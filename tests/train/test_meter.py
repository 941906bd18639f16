import json
import sys
import types

import pytest
import torch
from runs import TWO_STAGES, fit, log

from speechllm.errors import SpeechLLMError
from speechllm.train import meter, trackers
from speechllm.train.data import Example
from speechllm.train.ranks import Ranks
from speechllm.train.steps import Outcome
from speechllm.train.trackers import open_tracker, scalars


def entries(out):
    return [json.loads(line) for line in (out / "log.jsonl").read_text(encoding="utf-8").splitlines()]


def test_rates_are_those_of_the_batch(resumable, corpus, tmp_path):
    fit(resumable(tmp_path), corpus)
    shortest, longest = (pick(u.duration for u in corpus.utterances) for pick in (min, max))
    for entry in entries(tmp_path):
        size = TWO_STAGES[entry["stage"]]["batch_size"]
        seconds = size / entry["examples_per_second"]
        assert entry["items_per_second"] == pytest.approx(entry["items"] / seconds, rel=1e-6)
        assert shortest <= entry["audio_seconds_per_second"] * seconds / size <= longest
        assert entry["share_of_peak"] is not None
        assert 0.05 < entry["memory_gb"] < 64


def test_the_share_of_the_peak_is_arithmetic_over_time(resumable, corpus, monkeypatch, tmp_path):
    weight = torch.ones(100, 50, requires_grad=True)
    work = 3 * 2 * 10 * 100 * 50
    """Of a product (10, 100) x (100, 50): forward, and backward to both sides."""
    monkeypatch.setattr(meter, "_peak", lambda *_: work / 2)
    monkeypatch.setattr(meter, "length", lambda example: 3.0)
    clock = iter([0.0, 4.0, 10.0, 11.0])
    monkeypatch.setattr(meter.time, "monotonic", lambda: next(clock))
    one = meter.Meter(resumable(tmp_path).model, Ranks(), torch.float32)
    batch = [Example(u) for u in corpus.utterances[:2]]
    one.count(lambda *_: ((torch.ones(10, 100, requires_grad=True) @ weight).sum(), 1), batch, 0)
    _, whole = one.measure(lambda: Outcome(1.0, 8, 1.0, True), batch, 10)
    _, half = one.measure(lambda: Outcome(1.0, 8, 1.0, True), batch[:1], 9)
    assert whole["share_of_peak"] == 0.5, "2 s would do, 4 s were needed"
    assert half["share_of_peak"] == 1.0, "half the work in a quarter of the time"
    assert (whole["items_per_second"], half["items_per_second"]) == (2.0, 8.0)
    assert whole["seconds_left"] == 40.0
    assert half["seconds_left"] == 2.5 * 9


@pytest.mark.parametrize("setting", ["compile", "shard"])
def test_where_arithmetic_cannot_be_counted_no_share_is_told(setting, resumable, tmp_path):
    one = meter.Meter(resumable(tmp_path, model={setting: True}).model, Ranks(), torch.float32)
    one.count(None, [], 0)
    assert one.measure(lambda: Outcome(1.0, 8, 1.0, True), [], 1)[1]["share_of_peak"] is None


def test_figures_go_to_tensorboard(resumable, corpus, tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    validation = {"manifest": str(corpus.manifest), "targets": str(corpus.targets), "every": 2, "samples": 0}
    config = resumable(tmp_path, trackers=["tensorboard"], validation=validation)
    fit(config, corpus)
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    losses = [(event.step, event.value) for event in events.Scalars("loss")]
    expected = [e["loss"] for e in log(config) if "loss" in e]
    assert losses == [(step, pytest.approx(loss)) for step, loss in enumerate(expected)]
    assert [event.step for event in events.Scalars("validation/loss")] == [1, 3, 5, 6]
    assert "learning_rate" in events.Tags()["scalars"]


def test_figures_go_to_wandb(resumable, corpus, monkeypatch, tmp_path):
    """Against a stand-in with the three calls of its documentation: init, Run.log, Run.finish."""
    seen = []

    class FakeRun:
        def log(self, figures, step):
            seen.append((step, figures["loss"]))

        def finish(self):
            seen.append("finished")

    def init(**settings):
        seen.append((settings["project"], settings["id"], settings["resume"], settings["config"]["seed"]))
        return FakeRun()

    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(init=init))
    config = resumable(tmp_path / "my-run", trackers=["wandb"])
    fit(config, corpus)
    losses = [(step, entry["loss"]) for step, entry in enumerate(log(config))]
    assert seen == [("speechllm", "my-run", "allow", 0), *losses, "finished"]


@pytest.mark.parametrize(("name", "module"), [("tensorboard", "torch.utils.tensorboard"), ("wandb", "wandb")])
def test_a_tracker_that_is_not_installed_says_how_to_install_it(name, module, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(SpeechLLMError, match=rf"{name} is not installed .*; pip install speechllm\[{name}\]"):
        open_tracker(name, tmp_path, {})


def test_only_figures_are_tracked():
    entry = {"stage": 1, "step": 2, "objective": "kl", "loss": None, "items": 3, "skipped": True}
    entry["validation"] = {"kl": 0.5, "samples": [{"id": "a"}]}
    assert dict(scalars(entry)) == {"items": 3.0, "validation/kl": 0.5}
    assert trackers.TrackerName.__args__ == ("tensorboard", "wandb")
