import dataclasses
import functools

import pytest
import torch
from runs import run_of

from speechllm.config import ModelConfig
from speechllm.errors import SpeechLLMError
from speechllm.train.llm import set_up, training_mode
from speechllm.train.objectives import OBJECTIVES
from speechllm.train.ranks import Ranks
from speechllm.train.steps import take_step

TERMS = {"cross_entropy": 1.0, "kl": 1.0, "hidden_state": 1.0}
STAGE = {"objective": "distillation", "steps": 1, "batch_size": 8, "max_grad_norm": 1e9, "terms": TERMS}


class Recorder(torch.optim.SGD):
    """Keeps the gradients instead of taking a step."""

    def step(self):
        self.seen = [p.grad.clone() for group in self.param_groups for p in group["params"]]


@pytest.fixture
def gradients(train_config, corpus, tmp_path):
    """Loss and gradients of a step with the LLM set up in some way; the run, to look into."""
    adapter = {"type": "pooled", "vectors": 10, "hidden_size": 16, "dropout": 0.0}
    config = train_config(tmp_path, stages=[STAGE], adapter=adapter)

    def found(**settings):
        run = run_of(config, corpus)
        set_up(run.model.language_model, dataclasses.replace(config.model, **settings))
        training_mode(run.model)
        recorder = Recorder(run.model.adapter_state().values(), lr=1.0)
        objective = OBJECTIVES["distillation"](run.context, config.stages[0])
        out = take_step(objective, run.examples["distillation"], 0, config.stages[0], recorder, Ranks())
        return out, recorder.seen, run

    return found


def assert_equal(found, expected):
    (ours, gradients, _), (theirs, wanted, _) = found, expected
    assert ours.loss == pytest.approx(theirs.loss, rel=1e-5)
    for gradient, other in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(gradient, other, rtol=1e-3, atol=1e-5 * theirs.grad_norm)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_attention_implementations_give_the_same_gradients(attention, gradients):
    found = gradients(attention=attention)
    assert found[2].model.language_model.config._attn_implementation == attention
    assert_equal(found, gradients())


def test_an_unknown_attention_implementation_is_an_error(gradients):
    with pytest.raises(SpeechLLMError, match=r"model\.attention 'flashy': "):
        gradients(attention="flashy")


def test_recomputed_activations_give_the_same_gradients(gradients, monkeypatch):
    expected = gradients()
    layers = expected[2].model.language_model.get_decoder().layers
    passes = []
    inner = type(layers[0].mlp)
    real = inner.forward
    monkeypatch.setattr(inner, "forward", lambda self, *args: passes.append(1) or real(self, *args))
    found = gradients(activation_checkpointing=True)
    assert len(passes) == 3 * len(layers), "hearing twice, forward and backward; reading once"
    assert_equal(found, expected)
    assert not any(m.training for m in found[2].model.language_model.modules() if isinstance(m, torch.nn.Dropout))


def test_compiled_layers_give_the_same_gradients(gradients, monkeypatch):
    """Captured and differentiated as torch.compile does it; the code generator is slow and torch's own."""
    torch._dynamo.reset()
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager"))
    torch._dynamo.utils.counters.clear()
    found = gradients(compile=True)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0, "something was compiled"
    assert_equal(found, gradients())


def test_nothing_is_set_up_unless_asked(gradients):
    model = gradients()[2].model.language_model
    assert not any(module.training for module in model.modules())
    assert ModelConfig(encoder="e", llm="l").compile is False
