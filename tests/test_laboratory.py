"""Experiments of several arms: each trained and evaluated at every checkpoint that it kept."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from speechllm import laboratory
from speechllm.config import EvaluationConfig
from speechllm.data.manifest import read_manifest
from speechllm.data.prompts import Prompt
from speechllm.errors import SpeechLLMError
from speechllm.eval.tasks import Task, attribute_task
from speechllm.models.reply import UntouchedReplier

EVALUATION = EvaluationConfig(max_new_tokens=4, retention="none", device="cpu", dtype="float32")


@pytest.fixture
def tasks(corpus) -> list[Task]:
    prompt = Prompt(id="pitch", kind="pitch", text="Is the pitch low or high?")
    return [attribute_task("pitch", read_manifest(corpus.manifest), prompt)]


@pytest.fixture
def arms(tmp_path, corpus, encoder_reference, llm_reference) -> list[Path]:
    """Two arms on one base: frozen, and with LoRA."""
    (tmp_path / "base.toml").write_text(
        f"""
out = "unused"
save_every = 1
keep_last = 2
[model]
encoder = "{encoder_reference}"
llm = "{llm_reference}"
adapter = {{ type = "pooled", vectors = 10, hidden_size = 16 }}
dtype = "float32"
device = "cpu"
[data]
manifest = "{corpus.manifest}"
targets = "{corpus.targets}"
[[stages]]
objective = "cross_entropy"
steps = 3
batch_size = 4
""",
        encoding="utf-8",
    )
    (tmp_path / "frozen.toml").write_text('base = "base.toml"\n', encoding="utf-8")
    (tmp_path / "lora.toml").write_text('base = "base.toml"\n[model.lora]\nrank = 2\n', encoding="utf-8")
    return [tmp_path / "frozen.toml", tmp_path / "lora.toml"]


def test_every_kept_checkpoint_of_every_arm_and_seed_is_evaluated(arms, tasks, tmp_path, monkeypatch):
    asked = []
    answer = UntouchedReplier.__call__
    monkeypatch.setattr(
        UntouchedReplier, "__call__", lambda self, said, *rest: asked.append(len(said)) or answer(self, said, *rest)
    )
    laboratory.run_arms(arms, tasks, tmp_path / "out", EVALUATION, seeds=[0, 1])
    found = {path.parent.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("results.json")}
    names = ("stage-0-step-000001", "stage-0-step-000002", "checkpoint")
    assert found == {
        f"{arm}/seed-{seed}/eval/{name}" for arm in ("frozen", "lora") for seed in (0, 1) for name in names
    }
    assert len(asked) == 1  # the ceiling, at the first checkpoint of twelve


def test_a_changed_arm_is_refused_where_it_was_run_before(arms, tasks, tmp_path):
    laboratory.run_arms(arms[:1], tasks, tmp_path / "out", EVALUATION)
    with pytest.raises(SpeechLLMError, match=r"stages\.0\.learning_rate"):
        laboratory.run_arms(arms[:1], tasks, tmp_path / "out", EVALUATION, changes=["stages.0.learning_rate=0.5"])


def test_other_questions_are_asked_to_the_untouched_llm_again(arms, tasks, tmp_path):
    laboratory.run_arms(arms[:1], tasks, tmp_path / "out", EVALUATION)
    laboratory.run_arms(arms[1:], tasks, tmp_path / "out", replace(EVALUATION, max_new_tokens=3))
    assert len(list((tmp_path / "out" / laboratory.UNTOUCHED).iterdir())) == 2


def test_arms_go_on_from_where_another_ended_with_the_same_seed(arms, tasks, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(SpeechLLMError, match="run the arm frozen with seed 0 first"):
        laboratory.run_arms(arms[1:], tasks, out, EVALUATION, start="frozen")
    laboratory.run_arms(arms[:1], tasks, out, EVALUATION, seeds=[0, 1])
    laboratory.run_arms(arms[1:], tasks, out, EVALUATION, seeds=[0, 1], start="frozen")
    for seed in (0, 1):
        told = json.loads((out / "lora" / f"seed-{seed}" / "config.json").read_text(encoding="utf-8"))
        assert told["model"]["start"] == str(out / "frozen" / f"seed-{seed}" / "checkpoint")
    with pytest.raises(SpeechLLMError, match=r"first; did you mean .frozen"):
        laboratory.run_arms(arms[1:], tasks, out, EVALUATION, start="frosen")


def test_arms_run_side_by_side_in_one_folder(arms, tasks, tmp_path, monkeypatch):
    """The second asks the untouched LLM too, and is done before the first."""
    answer = laboratory.evaluate

    def overtaken(*args):
        found = answer(*args)
        monkeypatch.setattr(laboratory, "evaluate", answer)
        laboratory.run_arms(arms[1:], tasks, tmp_path / "out", EVALUATION)
        return found

    monkeypatch.setattr(laboratory, "evaluate", overtaken)
    laboratory.run_arms(arms[:1], tasks, tmp_path / "out", EVALUATION)
    assert len(list((tmp_path / "out").rglob("results.json"))) == 6
    assert len(list((tmp_path / "out" / laboratory.UNTOUCHED).iterdir())) == 1


def test_arms_of_one_name_are_refused_before_anything_is_trained(arms, tasks, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "lora.toml").write_text('base = "../base.toml"\n', encoding="utf-8")
    with pytest.raises(SpeechLLMError, match=r"same name: lora"):
        laboratory.run_arms([*arms, tmp_path / "other" / "lora.toml"], tasks, tmp_path / "out", EVALUATION)
    assert not (tmp_path / "out").exists()
