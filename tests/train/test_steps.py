import json
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from runs import TIMINGS, TWO_STAGES, fit, log, run_of, weights

from speechllm.config import StageConfig
from speechllm.data.manifest import Utterance
from speechllm.errors import SpeechLLMError
from speechllm.train import loop
from speechllm.train.data import Example
from speechllm.train.objectives import OBJECTIVES, CrossEntropy
from speechllm.train.order import BatchOrder, length, one_source
from speechllm.train.steps import learning_rate, passes, split


def test_each_step_is_logged(whole, resumable, corpus, tmp_path):
    config = resumable(tmp_path)
    fit(config, corpus)
    entries = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [(e["stage"], e["step"]) for e in entries] == [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (1, 1), (1, 2)]
    fields = {"stage", "objective", "step", "loss", "learning_rate", "grad_norm", "items", "skipped"} | TIMINGS
    for entry in entries:
        assert set(entry) == fields
        stage = config.stages[entry["stage"]]
        assert entry["objective"] == stage.objective
        assert entry["learning_rate"] == learning_rate(stage, entry["step"])
        assert all(math.isfinite(value) for value in entry.values() if isinstance(value, float))
        assert entry["examples_per_second"] > 0
        assert entry["seconds_left"] >= 0
    assert [e["seconds"] for e in entries] == sorted(e["seconds"] for e in entries)
    assert entries[0]["items"] == 3 * 10, "the warm-up counts vectors"


def spoiled(monkeypatch, value, *spoiled_steps):
    class Spoiled(CrossEntropy):
        def __call__(self, batch, step):
            loss, items = super().__call__(batch, step)
            return (loss * value if step in spoiled_steps else loss), items

    monkeypatch.setattr(loop, "OBJECTIVES", OBJECTIVES | {"cross_entropy": Spoiled})


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_no_number_stops_before_it_spoils_the_weights(value, resumable, corpus, monkeypatch, tmp_path):
    spoiled(monkeypatch, value, 1)
    config = resumable(tmp_path, stages=TWO_STAGES[1:], max_skipped_steps=0)
    run = run_of(config, corpus)
    with pytest.raises(SpeechLLMError) as caught:
        loop.fit(run)
    lengths = [length(example) for example in run.examples["cross_entropy"]]
    ids = [corpus.utterances[i].id for i in BatchOrder(one_source(8, config.seed), lengths, 4, config.seed)[1]]
    assert "step 1: the loss or its gradient was not a finite number in 1 steps in a row (last with the" in str(
        caught.value
    )
    assert f"utterances {', '.join(ids)}); lower learning_rate (0.01)" in str(caught.value)
    assert all(tensor.isfinite().all() for tensor in weights(run).values())
    assert [entry["step"] for entry in log(config)] == [0]


def test_a_step_whose_loss_is_no_number_is_skipped_and_counted(resumable, corpus, monkeypatch, tmp_path):
    spoiled(monkeypatch, math.nan, 1, 2, 4, 5)
    config = resumable(tmp_path, stages=[TWO_STAGES[1] | {"steps": 8}], max_skipped_steps=2)
    run = run_of(config, corpus)
    loop.fit(run)
    assert [entry["skipped"] for entry in log(config)] == [False, True, True, False, True, True, False, False]
    assert [entry["loss"] is None for entry in log(config)] == [entry["skipped"] for entry in log(config)]
    assert all(tensor.isfinite().all() for tensor in weights(run).values())


def test_more_skipped_steps_in_a_row_than_allowed_end_the_run(resumable, corpus, monkeypatch, tmp_path):
    spoiled(monkeypatch, math.nan, 1, 2, 3)
    config = resumable(tmp_path, stages=[TWO_STAGES[1] | {"steps": 8}], max_skipped_steps=2)
    with pytest.raises(SpeechLLMError, match=r"step 3: .* in 3 steps in a row"):
        fit(config, corpus)


def test_a_skipped_step_moves_nothing(resumable, corpus, monkeypatch, tmp_path):
    spoiled(monkeypatch, math.inf, 0, 1, 2)
    run = run_of(resumable(tmp_path, stages=TWO_STAGES[1:]), corpus)
    before = weights(run)
    loop.fit(run)
    assert all(torch.equal(after, before[name]) for name, after in weights(run).items())


def test_gradients_are_clipped(resumable, corpus, tmp_path):
    stage = TWO_STAGES[1] | {"steps": 1, "warmup_steps": 0, "max_grad_norm": 1e-9, "weight_decay": 0.0}
    run = run_of(resumable(tmp_path, stages=[stage]), corpus)
    before = weights(run)
    loop.fit(run)
    # Adam divides by the norm of the gradient plus 1e-8: what is left of a step is a fraction of the rate
    moved = max(float((after - before[name]).abs().max()) for name, after in weights(run).items())
    assert 0 < moved < 0.1 * stage["learning_rate"]


def stage(**values):
    return StageConfig(objective="cross_entropy", **{"steps": 100, "learning_rate": 0.5, "warmup_steps": 10, **values})


def test_the_learning_rate_rises_in_a_line_and_falls_in_a_cosine():
    rates = [learning_rate(stage(), step) for step in range(100)]
    assert rates[:10] == pytest.approx([0.05 * (k + 1) for k in range(10)])
    assert rates[10] == 0.5
    assert rates[55] == pytest.approx(0.25)
    assert rates[9:] == sorted(rates[9:], reverse=True)
    assert 0 < rates[99] < 0.001
    assert learning_rate(stage(warmup_steps=0), 0) == 0.5


@given(steps=st.integers(1, 300), warmup=st.integers(0, 400), data=st.data())
def test_the_learning_rate_stays_in_its_bounds(steps, warmup, data):
    step = data.draw(st.integers(0, steps - 1))
    assert 0 < learning_rate(stage(steps=steps, warmup_steps=warmup), step) <= 0.5


@given(st.lists(st.integers(), max_size=20), st.integers(1, 8))
def test_micro_batches_are_the_batch(batch, size):
    parts = split(batch, size)
    assert [item for part in parts for item in part] == batch
    assert all(0 < len(part) <= size for part in parts)


@given(st.lists(st.floats(0.1, 20), min_size=1, max_size=30), st.floats(1, 60), st.integers(1, 30))
def test_no_pass_holds_more_audio_than_it_may(durations, limit, most):
    batch = [
        Example(Utterance(id=str(n), audio="a", duration=seconds, sampling_rate=1))
        for n, seconds in enumerate(durations)
    ]
    stage = StageConfig(objective="cross_entropy", steps=1, micro_batch_size=most, micro_batch_seconds=limit)
    parts = passes(batch, stage)
    assert sorted(e.utterance.id for part in parts for e in part) == sorted(e.utterance.id for e in batch)
    for part in parts:
        assert len(part) == 1 or len(part) * max(e.utterance.duration for e in part) <= limit
        assert len(part) <= most


def test_passes_by_seconds_change_no_gradient(resumable, corpus, tmp_path):
    whole_batch = [TWO_STAGES[1] | {"micro_batch_size": None, "steps": 2}]
    by_seconds = [whole_batch[0] | {"micro_batch_seconds": 0.7}]
    (one, _), (other, _) = (
        fit(resumable(tmp_path / str(len(stages[0])), stages=stages), corpus)[1] for stages in (whole_batch, by_seconds)
    )
    assert other["items"] == one["items"]
    assert other["loss"] == pytest.approx(one["loss"], rel=1e-5)
    assert other["grad_norm"] == pytest.approx(one["grad_norm"], rel=1e-4)
