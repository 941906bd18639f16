"""`speechllm targets generate` and `speechllm bench generate`, with a tiny LLM."""

import json

import pytest

from speechllm.cli import main
from speechllm.data.jsonl import write_jsonl
from speechllm.data.prompts import Prompt
from speechllm.targets.records import read_targets


@pytest.fixture
def run(corpus, llm_reference, tmp_path, capsys):
    write_jsonl(tmp_path / "prompts.jsonl", [Prompt(id="p", kind="pitch", text="Is the pitch low or high?")])

    def call(*arguments, out="t.jsonl"):
        command = ["targets", "generate", str(corpus.manifest), str(tmp_path / out)]
        command += ["--prompts", str(tmp_path / "prompts.jsonl"), "--llm", llm_reference, "--max-new-tokens", "5"]
        status = main([*command, "--attributes", "pitch", *arguments])
        return status, capsys.readouterr()

    return call


def test_a_mix_with_masks(run, tmp_path, llm_reference):
    mix = ["--strategies", "gold=1", "minimal_edit=1", "cross_model=2", "--other-llm", llm_reference]
    status, said = run(*mix, "--mask-above", "300")
    assert status == 0, said.err
    records = read_targets(tmp_path / "t.jsonl")
    assert {r.strategy for r in records} == {"gold", "minimal_edit", "cross_model"}
    assert all(r.token_mask is not None for r in records)
    assert next(r for r in records if r.strategy == "cross_model").generator == llm_reference


def test_a_dry_run_shows_three_prompts_and_the_cost_and_writes_nothing(run, tmp_path):
    status, said = run("--dry-run")
    assert status == 0, said.err
    assert said.out.count("--- tone-") == 3
    assert "<|im_start|>user\n[00:00:00 - 00:00:01] low (Pitch: Low)\nIs the pitch low or high?<|im_end|>" in said.out
    assert "8 prompts of" in said.out
    assert "at most 40 tokens" in said.out
    assert [path.name for path in tmp_path.iterdir()] == ["prompts.jsonl"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--strategies", "self-output"], "no strategy 'self-output'; did you mean 'self_output'?"),
        (["--strategies", "gold", "experience_replay=0.1"], "give a file with --instructions"),
        (["--strategies", "cross_model"], "name it with --other-llm"),
        (["--max-new-tokens", "900"], "do not fit the LLM's context of 512"),
        (["--mask-above", "0.1"], "a perplexity is at least 1"),
        (["--server", "http://127.0.0.1:9/v1", "--mask-above", "2"], "masking reads the LLM's probabilities"),
    ],
)
def test_bad_input_is_one_line(run, arguments, message):
    status, said = run(*arguments)
    assert status == 2
    assert message in said.err
    assert "Traceback" not in said.err


def test_generation_is_measured_on_the_same_replies(corpus, llm_reference, capsys):
    command = ["bench", "generate", str(corpus.manifest), "--llm", llm_reference, "--attributes", "pitch"]
    assert main([*command, "--prompts", "12", "--max-new-tokens", "6", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["prompts"] == 12
    assert result["same_replies"] == 1.0
    assert result["ratio"] == pytest.approx(
        result["fast_tokens_per_second"] / result["plain_tokens_per_second"], rel=0.01
    )
