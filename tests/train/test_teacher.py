"""Distillation from predictions that are kept on disk."""

import dataclasses
import math

import pytest
import torch
from runs import Killed, assert_same, fit, kill_at, log
from safetensors.torch import load_file

from speechllm.config import StageConfig
from speechllm.errors import SpeechLLMError
from speechllm.models.modeling import SpeechLLM
from speechllm.train import loop
from speechllm.train.data import pair_up
from speechllm.train.objectives import Distillation
from speechllm.train.objectives.divergences import DIVERGENCES
from speechllm.train.teacher import Likeliest, teacher_cache

DISTIL = {"objective": "distillation", "steps": 4, "batch_size": 4, "warmup_steps": 1, "learning_rate": 0.01}


@pytest.fixture
def config(train_config, tmp_path):
    """A run that distils with a cache."""

    def make(out="run", stages=(DISTIL,), **data):
        data = {"teacher_cache": str(tmp_path / "cache"), **data}
        adapter = {"type": "pooled", "vectors": 8, "dropout": 0.0}
        return train_config(tmp_path / out, stages=list(stages), adapter=adapter, data=data)

    return make


def loss_of(context, corpus, records=None, **settings):
    objective = Distillation(context, StageConfig(objective="distillation", steps=1, **settings))
    return objective(pair_up(corpus.utterances, records or corpus.records), 0)


def sharpen(context):
    """Makes the tiny LLM's predictions depend on what it is told, so that divergences are far from rounding."""
    llm = context.model.language_model
    head = llm.get_output_embeddings()
    head.weight = torch.nn.Parameter(30 * head.weight.detach(), requires_grad=False)  # no longer the embeddings
    for weight in llm.get_decoder().layers.parameters():
        if weight.dim() > 1:
            weight.data.mul_(6)


def context_for(config):
    model, processor = loop.build(config)
    return loop.make_context(config, model, processor)


@pytest.fixture
def teacher_passes(monkeypatch):
    """Rows that the LLM was asked to read, of every pass without audio."""
    rows, real = [], SpeechLLM.predict_replies

    def counted(self, input_ids, *args, **kwargs):
        if not bool((input_ids == self.config.audio_token_id).any()):
            rows.append(len(input_ids))
        return real(self, input_ids, *args, **kwargs)

    monkeypatch.setattr(SpeechLLM, "predict_replies", counted)
    return rows


@pytest.mark.parametrize("temperature", [1.0, 2.0])
@pytest.mark.parametrize("terms", [{"kl": 1.0}, {"jensen_shannon": 2.0, "cross_entropy": 0.5}])
def test_the_whole_vocabulary_gives_the_loss_and_gradients_without_a_cache(config, corpus, terms, temperature):
    context = context_for(config(teacher_top_k=10**6))
    sharpen(context)
    plain = dataclasses.replace(context, teacher=None)
    gradients, losses = [], []
    for which in (plain, context, context):  # without, filling, reading
        loss, items = loss_of(which, corpus, terms=terms, temperature=temperature)
        parameters = list(context.model.adapter_state().values())
        gradients.append(torch.autograd.grad(loss, parameters))
        losses.append((loss.detach(), items))
    for (loss, items), gradient in zip(losses[1:], gradients[1:], strict=True):
        assert items == losses[0][1]
        torch.testing.assert_close(loss, losses[0][0], rtol=1e-4, atol=0)
        assert float(loss) / items > 0.1
        for found, expected in zip(gradient, gradients[0], strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
    assert torch.equal(losses[1][0], losses[2][0]), "what is used is what is kept"


@pytest.mark.parametrize("name", ["kl", "jensen_shannon"])
def test_fewer_tokens_give_a_lower_bound_that_approaches_the_divergence(name):
    hearing, reading = torch.randn(2, 40, 200, generator=torch.Generator().manual_seed(0)) * 3
    whole = DIVERGENCES[name](hearing, reading, 1.0)
    before = torch.zeros(40)
    for k in (1, 8, 64, 200):
        log_probs, ids = reading.log_softmax(-1).topk(k)
        rest = reading.log_softmax(-1).scatter(1, ids, -100.0).logsumexp(1)
        kept = Likeliest(ids, log_probs, rest)
        bound = DIVERGENCES[name](kept.outcomes_of(hearing), kept.outcomes(), 1.0)
        assert bool((bound <= whole + 1e-5).all()), k
        assert bool((bound >= before - 1e-5).all()), k
        before = bound
    torch.testing.assert_close(before, whole, rtol=1e-5, atol=1e-6)
    log_probs, ids = reading.log_softmax(-1).topk(64)
    p, q = log_probs.exp(), hearing.log_softmax(-1).gather(1, ids).exp()
    r, s = 1 - p.sum(1), 1 - q.sum(1)
    if name == "kl":  # the formula that the module gives, written out
        rest = reading.log_softmax(-1).scatter(1, ids, -math.inf).logsumexp(1)
        kept = Likeliest(ids, log_probs, rest)
        expected = (p * (p / q).log()).sum(1) + r * (r / s).log()
        found = DIVERGENCES[name](kept.outcomes_of(hearing), kept.outcomes(), 1.0)
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_a_second_run_asks_no_teacher(config, corpus, teacher_passes):
    first = fit(config("first"), corpus)
    assert sum(teacher_passes) == len(corpus.records), "each record once, in two epochs"
    teacher_passes.clear()
    assert_same(fit(config("second"), corpus), first)
    assert teacher_passes == []


def test_a_killed_run_goes_on_to_the_same_weights(config, corpus, tmp_path, monkeypatch):
    stages = [DISTIL | {"steps": 6, "batch_size": 3}]
    expected = fit(config("whole", stages, teacher_cache=str(tmp_path / "one")), corpus)
    killed = dataclasses.replace(config("killed", stages, teacher_cache=str(tmp_path / "two")), save_every=2)
    with monkeypatch.context() as patch:
        kill_at(patch, 3)
        with pytest.raises(Killed):
            fit(killed, corpus)
    assert len(log(killed)) == 3
    assert_same(fit(killed, corpus), expected)


def test_the_key_knows_reply_mask_temperature_and_number_of_tokens(config, corpus, teacher_passes):
    def asked(context, records=None, **settings):
        teacher_passes.clear()
        loss_of(context, corpus, records, **settings)
        return sum(teacher_passes)

    context = context_for(config())
    assert asked(context) == 8
    assert asked(context) == 0
    other = corpus.records[0].model_copy(update={"response": corpus.records[0].response + " indeed"})
    assert asked(context, [other, *corpus.records[1:]]) == 1
    described = corpus.records[1].model_copy(update={"seed_description": "<pitch>none</pitch>"})
    assert asked(context, [corpus.records[0], described, *corpus.records[2:]]) == 1
    cut = corpus.records[2].model_copy(update={"finish_reason": "length"})
    assert asked(context, [*corpus.records[:2], cut, *corpus.records[3:]]) == 1
    assert asked(context, temperature=2.0) == 8
    assert asked(context_for(config(teacher_top_k=3))) == 8
    assert asked(context_for(config())) == 0, "nothing that was kept was lost"


def test_what_k_tokens_are_not_enough_for_is_refused_before_the_first_step(config):
    stages = [DISTIL, DISTIL | {"terms": {"kl": 1.0, "hidden_state": 1.0, "reverse_kl": 0.5}}]
    with pytest.raises(SpeechLLMError, match=r"stages\.1\.terms hidden_state, reverse_kl: .*data\.teacher_cache"):
        context_for(config(stages=stages))


def test_half_precision_is_kept_as_such_and_costs_less_than_a_hundredth(config, corpus, tmp_path):
    context = context_for(config(teacher_top_k=10**6))
    context.model.language_model.to(torch.bfloat16)
    context = dataclasses.replace(context, teacher=teacher_cache(config(teacher_top_k=10**6), context.model))
    sharpen(context)
    with torch.no_grad():
        exact, _ = loss_of(dataclasses.replace(context, teacher=None), corpus)
        kept, _ = loss_of(context, corpus)
    torch.testing.assert_close(kept, exact, rtol=1e-2, atol=0)
    files = list((tmp_path / "cache").glob("*/*.safetensors"))
    assert {load_file(file)["log_probs"].dtype for file in files} == {torch.float16}
