"""Objectives over what the model itself writes; how they are summed is tested with the model."""

import dataclasses
import json

import pytest
import torch

from speechllm.config import StageConfig
from speechllm.data.render import describe_audio
from speechllm.errors import SpeechLLMError
from speechllm.models.reply import Sampling, SpeechReplier
from speechllm.train import loop
from speechllm.train.data import AudioStore, conversation, pair_up
from speechllm.train.objectives import Context, GroupRelativePolicy, OnPolicyDistillation
from speechllm.train.objectives.divergences import reverse_kl
from speechllm.train.objectives.on_policy import advantages
from speechllm.train.objectives.rollouts import GumbelNoise


def context_of(config):
    model, processor = loop.build(config)
    return Context(model, processor, AudioStore(model, processor), None, 0.0, 0)


@pytest.fixture
def context(train_config, tmp_path):
    return context_of(train_config(tmp_path, adapter={"type": "pooled", "vectors": 8, "dropout": 0.2}))


@pytest.fixture
def batch(corpus):
    return pair_up(corpus.utterances, corpus.records)[:4]


def on_policy(context, **settings):
    return OnPolicyDistillation(
        context, StageConfig(objective="on_policy", steps=1, **{"max_new_tokens": 6, **settings})
    )


def grpo(context, corpus, **settings):
    values = {"max_new_tokens": 6, "group_size": 4, "prompts": corpus.prompts, **settings}
    return GroupRelativePolicy(context, StageConfig(objective="grpo", steps=1, **values))


# ---------------------------------------------------------------- what is drawn


def test_noise_makes_the_greedy_choice_a_draw_from_the_softened_distribution():
    logits = torch.tensor([1.0, 0.0, -1.0, 2.0])
    noisy = GumbelNoise([str(i) for i in range(4000)], 2.0)(None, logits.expand(4000, 4))
    found = torch.bincount(noisy.argmax(-1), minlength=4) / 4000
    torch.testing.assert_close(found, (logits / 2).softmax(-1), atol=0.025, rtol=0)


def test_greedy_replies_are_those_that_the_model_gives_when_asked(context, batch):
    rollouts, _, _ = on_policy(context, sampling_temperature=0.0)._write(batch, 0, 1)
    asked = [conversation(e.target.messages, e.utterance, transcript=True) for e in batch]
    replies = SpeechReplier(context.model, context.processor)(asked, Sampling(max_new_tokens=6))
    assert rollouts.texts == [reply.text for reply in replies]
    assert context.model.config.transcript


def test_what_is_drawn_depends_on_seed_step_and_target_alone(context, batch):
    def texts(examples, step=0, **changes):
        return on_policy(dataclasses.replace(context, **changes))._write(examples, step, 1)[0].texts

    whole = texts(batch)
    torch.manual_seed(9)
    assert texts(batch[:1]) + texts(batch[1:]) == whole
    assert all(a != b for a, b in zip(texts(batch, step=1), whole, strict=True))
    assert all(a != b for a, b in zip(texts(batch, seed=1), whole, strict=True))
    several = on_policy(context)._write(batch, 0, 2)[0].texts
    assert several[::2] == whole
    assert several[1::2] != whole


def test_the_model_is_asked_without_dropout_and_trained_with_it(context, batch):
    context.model.train()
    before = {name: module.training for name, module in context.model.named_modules()}
    objective = on_policy(context, sampling_temperature=0.0)
    texts = {tuple(objective._write(batch, 0, 1)[0].texts) for _ in range(3)}
    assert len(texts) == 1
    assert {name: module.training for name, module in context.model.named_modules()} == before
    assert before["multi_modal_projector"]


# ---------------------------------------------------------------- what is learned


def test_every_token_that_was_written_is_scored_by_the_llm_that_reads(context, batch):
    context.model.eval()
    context.model.language_model.lm_head.weight.data.mul_(50)  # sharp, so that rounding is small beside the distance
    objective = on_policy(context, temperature=2.0)
    loss, items = objective(batch, 3)
    rollouts, _, _ = objective._write(batch, 3, 1)
    assert items == int(rollouts.real.sum())
    expected = 0.0
    with torch.no_grad():
        for i, example in enumerate(batch):
            ids = rollouts.ids[i][rollouts.real[i]][None]
            heard = [conversation(example.target.messages, example.utterance, transcript=True)]
            read = [describe_audio(example.target.messages, [example.target.seed_description])]
            hearing = context.processor(heard)
            reading = context.processor(read)
            rows = []
            for inputs in (hearing, reading):
                full = torch.cat([inputs["input_ids"], ids], 1)
                inputs = {**inputs, "input_ids": full, "attention_mask": torch.ones_like(full)}
                rows.append(context.model(**inputs).logits[0, -ids.shape[1] - 1 : -1])
            expected += float(reverse_kl(*rows, 2.0).sum())
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-3)


def test_advantages_compare_within_a_group():
    found = advantages([True, False, False, False, True, True, True, True, None, None, None, None], 4)
    torch.testing.assert_close(found[:4], torch.tensor([3**0.5, *[-(3**-0.5)] * 3]), atol=1e-3, rtol=0)
    assert not found[4:].any()


def test_right_replies_become_likelier_and_wrong_ones_less(context, corpus, batch, monkeypatch):
    """The gradient of the loss without KL is that of the advantages times log-probabilities."""
    context.model.eval()
    objective = grpo(context, corpus, kl_weight=0.0, sampling_temperature=1.5)
    verdicts = [i % 3 == 0 for i in range(16)]
    monkeypatch.setattr(objective, "verdicts", lambda batch, texts: verdicts)
    loss, items = objective(batch, 0)
    loss.backward()
    found = [p.grad.clone() for p in context.model.adapter_state().values()]
    context.model.zero_grad()
    rollouts, hearing, _ = objective._write(batch, 0, 4)
    assert items == len(hearing.wanted)
    likely = torch.nn.functional.cross_entropy(hearing.logits / 1.5, hearing.wanted, reduction="none")
    (likely * advantages(verdicts, 4)[rollouts.rows]).sum().backward()
    for ours, parameter in zip(found, context.model.adapter_state().values(), strict=True):
        torch.testing.assert_close(ours, parameter.grad, rtol=1e-3, atol=1e-5)
    assert any(bool(g.any()) for g in found)


def test_replies_are_judged_by_what_their_prompt_asks(context, corpus, batch):
    texts = ["The pitch is low.", "The pitch is high.", "Low or high.", "low"] * 4
    verdicts = grpo(context, corpus).verdicts(batch, texts)
    expected = [v for e in batch for v in ([True, False, False, True] if e.utterance.text[0] == "l" else [False, True])]
    assert verdicts[:4] == expected[:4]
    assert verdicts[4:6] == [False, True]


def test_grpo_without_what_it_needs_is_one_clear_error(context, corpus, batch):
    with pytest.raises(SpeechLLMError, match="grpo: set the stage's prompts"):
        grpo(context, corpus, prompts=None)
    for settings in ({"sampling_temperature": 0.0}, {"group_size": 1}):
        with pytest.raises(SpeechLLMError, match="grpo: compares samples"):
            grpo(context, corpus, **settings)
    other = dataclasses.replace(batch[0], target=batch[0].target.model_copy(update={"prompt_id": "age"}))
    with pytest.raises(SpeechLLMError, match=r"its prompt 'age' is not in .*prompts\.jsonl; give the file"):
        grpo(context, corpus).verdicts([other], ["low"] * 4)


@pytest.mark.parametrize("objective", ["on_policy", "grpo"])
def test_a_run_that_writes_its_own_replies_ends_in_a_checkpoint(objective, train_config, corpus, tmp_path):
    """With recomputed activations, whose arithmetic cannot be counted in inference mode, and a path in its stage."""
    stage = {"objective": objective, "steps": 2, "batch_size": 4, "prompts": str(corpus.prompts), "max_new_tokens": 4}
    config = train_config(tmp_path, stages=[stage | {"group_size": 2}])
    config = dataclasses.replace(config, model=dataclasses.replace(config.model, activation_checkpointing=True))
    folder = loop.train(config)
    facts = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    assert facts["stages"][0]["prompts"] == str(corpus.prompts)
