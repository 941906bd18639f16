import dataclasses
import itertools
import json
import math

import pytest
import torch
from runs import TWO_STAGES, Killed, assert_same, fit, kill_at, log, run_of, weights

from speechllm import SpeechLLM
from speechllm.audio.io import load_audio
from speechllm.data.render import describe_audio
from speechllm.train import loop
from speechllm.train.data import conversation
from speechllm.train.state import Position
from speechllm.train.validation import Validation


@pytest.fixture(scope="module")
def validated(resumable, corpus):
    """Like `resumable`, with a validation on the training clips."""

    def make(out, stages=TWO_STAGES, **settings):
        data = {"manifest": str(corpus.manifest), "targets": str(corpus.targets), "batch_size": 3, "samples": 2}
        return resumable(out, stages=stages, validation={**data, "every": 2, **settings})

    return make


def validations(config):
    return [(e["stage"], e["step"], e["validation"]) for e in log(config) if "validation" in e]


def test_validations_are_logged_between_the_steps_and_at_the_end(validated, corpus, tmp_path):
    config = validated(tmp_path)
    fit(config, corpus)
    assert [(stage, step) for stage, step, _ in validations(config)] == [(0, 1), (0, 3), (1, 1), (1, 2)]
    for *_, found in validations(config):
        assert set(found) == {"loss", "kl", "samples"}
        assert found["kl"] > 0
        assert [sample["id"] for sample in found["samples"]] == ["tone-0/pitch", "tone-4/pitch"]
        assert all(set(sample) == {"id", "wanted", "reply"} for sample in found["samples"])


def test_validating_does_not_change_what_is_learned(validated, whole, corpus, tmp_path):
    found = fit(validated(tmp_path, every=1), corpus)
    assert_same((found[0], [e for e in found[1] if "validation" not in e]), whole)


def test_the_figures_are_those_of_plain_forward_passes(validated, corpus, tmp_path):
    """Loss and divergence again, one example at a time, without store, bucketing or row selection."""
    run = run_of(validated(tmp_path), corpus)
    validation = Validation(run.config.validation, run.context)
    found = validation.measure()
    assert run.model.training, "the next step trains"
    run.model.eval()
    loss = kl = count = 0.0
    for example in validation.examples:
        target = example.target
        heard = conversation(target.messages, example.utterance, transcript=True)
        for message in heard:
            for part in message["content"] if isinstance(message["content"], list) else []:
                if part["type"] == "audio":
                    part["audio"] = load_audio(part.pop("path"))
        read = describe_audio(target.messages, [target.seed_description])
        log_p = []
        for messages in (heard, read):
            batch = run.context.processor([messages], [target.response])
            labels = batch.pop("labels")
            with torch.no_grad():
                logits = run.model(**batch).logits[0, :-1].float().log_softmax(-1)
            log_p.append(logits[labels[0, 1:] != -100])
            wanted = labels[0, 1:][labels[0, 1:] != -100]
        loss -= float(log_p[0].gather(1, wanted[:, None]).sum())
        kl += float((log_p[1].exp() * (log_p[1] - log_p[0])).sum())
        count += len(wanted)
    assert found["loss"] == pytest.approx(loss / count, rel=1e-4)
    assert found["kl"] == pytest.approx(kl / count, rel=5e-3)  # a difference of nearly equal numbers


@pytest.fixture
def scripted(monkeypatch):
    """Validations whose losses are given."""

    def script(*losses):
        values = itertools.chain(losses, itertools.repeat(math.inf))
        monkeypatch.setattr(Validation, "measure", lambda self: {"loss": next(values), "kl": 0.0, "samples": []})

    return script


def test_the_best_adapter_is_kept(validated, corpus, scripted, monkeypatch, tmp_path):
    scripted(5.0, 3.0, 4.0, 3.0)
    seen = []
    real = loop._validate

    def recorded(run, validation, position, out):
        seen.append(weights(run))
        return real(run, validation, position, out)

    monkeypatch.setattr(loop, "_validate", recorded)
    fit(validated(tmp_path), corpus)
    best = SpeechLLM.from_pretrained(tmp_path / "best").adapter_state()
    assert all(torch.equal(tensor, seen[1][name]) for name, tensor in best.items())
    assert not all(torch.equal(tensor, seen[3][name]) for name, tensor in best.items())


def test_a_stage_ends_early_where_nothing_gets_better(validated, corpus, scripted, tmp_path):
    scripted(5.0, 6.0, 5.5, 4.0, 4.5, 4.2)
    stages = [stage | {"steps": 12} for stage in TWO_STAGES]
    config = validated(tmp_path, stages, patience=2)
    fit(config, corpus)
    assert [(stage, step) for stage, step, _ in validations(config)] == [(0, 1), (0, 3), (0, 5), (1, 1), (1, 3), (1, 5)]
    assert max(e["step"] for e in log(config)) == 5


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_what_is_not_finite_is_never_better(loss, validated, corpus, scripted, tmp_path):
    scripted(5.0, loss, loss)
    stages = [TWO_STAGES[0] | {"steps": 20}]
    config = validated(tmp_path, stages, patience=2)
    fit(config, corpus)
    assert [step for _, step, _ in validations(config)] == [1, 3, 5]


@pytest.mark.parametrize("call", [1, 4, 6])
def test_a_killed_run_waits_as_long_as_one_that_was_not(call, validated, corpus, monkeypatch, tmp_path):
    def restless(self):
        """Goes up and down, but is a pure function of the weights."""
        size = sum(float(tensor.detach().abs().sum()) for tensor in self._context.model.adapter_state().values())
        return {"loss": size * 1e3 % 1, "kl": 0.0, "samples": []}

    monkeypatch.setattr(Validation, "measure", restless)
    stages = [stage | {"steps": 12} for stage in TWO_STAGES]

    def config(out):
        return dataclasses.replace(validated(out, stages, every=1, patience=3), save_every=2)

    expected = fit(config(tmp_path / "whole"), corpus)
    assert len(expected[1]) < 2 * 24, "a stage ended early"
    killed = config(tmp_path / "killed")
    with monkeypatch.context() as patch:
        kill_at(patch, call)
        with pytest.raises(Killed):
            fit(killed, corpus)
    assert_same(fit(killed, corpus), expected)


def test_the_best_so_far_is_part_of_the_state(validated, corpus, scripted, tmp_path):
    scripted(5.0, 3.0, 4.0, 3.5)
    config = validated(tmp_path)
    fit(config, corpus)
    state = torch.load(tmp_path / "state.pt")
    assert Position(**state["position"]) == Position(2, 0, best=3.0, waited=0)
    assert json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))["validation"]["every"] == 2
