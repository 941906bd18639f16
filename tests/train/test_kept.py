"""What validation says about text where the LLM itself changes."""

import pytest
import torch
from runs import TWO_STAGES, context_of, fit, log, run_of

from speechllm.eval.retention import text_retention
from speechllm.train.kept import TextKept
from speechllm.train.validation import Validation

LORA = {"lora": {"where": "everywhere", "rank": 2}}
CHANGING = {"lora": LORA, "full": {"train_llm": True}}


def disturb(model):
    """Changes what is trained of the LLM, so that it says other things."""
    torch.manual_seed(0)
    for name, tensor in model.adapter_state().items():
        if name.startswith("language_model"):
            tensor.data.add_(torch.randn_like(tensor), alpha=0.5)


@pytest.mark.parametrize("name", CHANGING)
def test_what_is_kept_is_what_the_evaluation_finds(name, train_config, tmp_path):
    context = context_of(train_config(tmp_path, model=CHANGING[name]))
    context.model.eval()
    kept = TextKept(context.model, context.processor)
    fresh = kept.measure()
    assert fresh["identical_replies"] == fresh["n"] == 16
    assert fresh["kl"] == pytest.approx(0, abs=1e-6)
    disturb(context.model)
    found, expected = kept.measure(), text_retention(context.model, context.processor)
    assert found["identical_replies"] == expected["identical_replies"] < 16
    assert found["kl"] == pytest.approx(expected["kl"], rel=1e-3)
    assert found["kl"] > 1e-3


def test_validations_log_it_where_the_llm_changes_and_only_there(train_config, corpus, tmp_path, capsys):
    validation = {"manifest": str(corpus.manifest), "targets": str(corpus.targets), "every": 100, "samples": 0}
    for name, model in (("lora", LORA), ("audio", {"lora": {"where": "audio", "rank": 2}})):
        config = train_config(tmp_path / name, stages=TWO_STAGES[1:], model=model, validation=validation)
        fit(config, corpus)
        found = [entry["validation"] for entry in log(config) if "validation" in entry]
        assert ["text" in entry for entry in found] == [name == "lora"]
        told = " ".join(capsys.readouterr().err.split())
        assert ("100 % kept by construction" in told) == (name == "audio")
        assert ("of 16 replies as published" in told) == (name == "lora")


def test_validation_leaves_the_model_training(train_config, corpus, tmp_path):
    validation = {"manifest": str(corpus.manifest), "targets": str(corpus.targets), "samples": 0}
    run = run_of(train_config(tmp_path, model=LORA, validation=validation), corpus)
    assert Validation(run.config.validation, run.context).measure()["text"]["n"] == 16
    assert run.model.training
