import copy

import pytest
import torch

from speechllm.eval import retention
from speechllm.eval.retention import instructions, perplexity, text_retention


def test_the_instructions_are_of_every_kind_and_each_its_own():
    full, quick = instructions("full"), instructions("quick")
    assert len(full) >= 200
    assert len({i.text for i in full}) == len({i.id for i in full}) == len(full)
    kinds = {"facts", "arithmetic", "rewriting", "lists", "json", "harm", "writing"}
    assert {i.kind for i in full} == {i.kind for i in quick} == kinds
    assert len(quick) == 16


@pytest.mark.parametrize("size", ["quick", "full"])
def test_nothing_is_lost_of_a_frozen_llm(model, processor, size, monkeypatch):
    monkeypatch.setattr(retention, "instructions", lambda size: instructions("quick"))
    found = text_retention(model, processor, size, max_new_tokens=6)
    assert found["max_abs_logit_difference"] == found["kl"] == 0
    assert found["identical_replies"] == found["n"] == 16
    for name in ("json_rate", "refusal_rate", *(["perplexity"] if size == "full" else [])):
        assert found[name]["model"] == found[name]["untouched"]


def test_what_is_lost_is_seen(model, processor, monkeypatch):
    changed = copy.deepcopy(model)
    with torch.no_grad():
        for weight in changed.language_model.parameters():
            weight.add_(0.05 * torch.randn_like(weight))
    found = text_retention(changed, processor, max_new_tokens=6)
    assert found["max_abs_logit_difference"] > 0
    assert found["kl"] > 0
    assert found["identical_replies"] < found["n"]
    monkeypatch.setattr(retention, "TOGETHER", 1)
    alone = text_retention(changed, processor, max_new_tokens=6)
    assert [alone[k] for k in ("kl", "max_abs_logit_difference")] == pytest.approx(
        [found[k] for k in ("kl", "max_abs_logit_difference")], rel=1e-4
    )


def test_perplexity_is_that_of_the_token_losses(model, processor):
    text = "The speaker is female. " * 40
    ids = processor.tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
    assert ids.shape[1] < retention.WINDOW
    loss = model.language_model(input_ids=ids, labels=ids).loss
    assert perplexity(model.language_model, processor.tokenizer, text) == pytest.approx(float(loss.exp()), rel=1e-5)
