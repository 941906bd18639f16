"""The quickstart at toy size: the whole loop on tiny models and a few synthetic clips."""

import dataclasses
import json
import re
from pathlib import Path

import pytest

pytest.importorskip("espeakng_loader", reason="the synthetic corpus needs espeak-ng")

from speechllm import quickstart as module
from speechllm.data.manifest import read_manifest
from speechllm.data.prompts import read_prompts
from speechllm.errors import SpeechLLMError
from speechllm.models.modeling import SpeechLLM
from speechllm.quickstart import QuickstartConfig, quickstart
from speechllm.targets.records import read_targets

STAGES = [
    "fetch models",
    "make corpus",
    "recognise speech",
    "search prompts",
    "generate targets",
    "train",
    "evaluate",
]


@pytest.fixture(scope="module")
def config(encoder_reference, llm_reference) -> QuickstartConfig:
    return QuickstartConfig(
        encoder=encoder_reference,
        llm=llm_reference,
        train_clips=8,
        test_clips=8,
        warmup_steps=3,
        steps=2,
        search=(1, 2),
        max_new_tokens=8,
        adapter={"type": "pooled", "vectors": 80, "hidden_size": 16},
    )


@pytest.fixture(scope="module")
def finished(config, tmp_path_factory) -> Path:
    """The folder of a finished quickstart; read only."""
    out = tmp_path_factory.mktemp("quickstart") / "out"
    quickstart(out, config)
    return out


@pytest.fixture(scope="module")
def results(finished):
    return json.loads((finished / "results.json").read_text(encoding="utf-8"))


def test_the_manifests_hold_what_was_spoken_and_what_was_heard(finished):
    for name in ("train", "test"):
        utterances = read_manifest(finished / f"{name}.jsonl")
        assert len(utterances) == 8
        assert all(Path(u.audio).is_file() and u.text and u.recognised_text is not None for u in utterances)
    voices = [{u.speaker for u in read_manifest(finished / f"{name}.jsonl")} for name in ("train", "test")]
    assert not voices[0] & voices[1]


def test_prompts_and_targets_are_of_every_kind(finished, llm_reference):
    prompts = {prompt.id: prompt for prompt in read_prompts(finished / "prompts.jsonl")}
    assert {prompt.kind for prompt in prompts.values()} == {"gender", "pitch", "speaking_rate", "transcribe"}
    targets = read_targets(finished / "targets.jsonl")
    assert [t.utterance_id for t in targets] == [u.id for u in read_manifest(finished / "train.jsonl")]
    assert {prompts[t.prompt_id].kind for t in targets} == {prompt.kind for prompt in prompts.values()}
    assert {t.generator for t in targets} == {llm_reference}
    assert all((finished / t.audio).is_file() for t in targets)


def test_accuracy_is_reported_for_each_attribute_beside_ceiling_cascade_and_chance(results):
    assert set(results["accuracy"]) == {"gender", "pitch", "speaking_rate"}
    for row in results["accuracy"].values():
        assert set(row) == {"model", "ceiling", "cascade", "chance", "n"}
        assert row["n"] == 8
        assert all(0 <= row[name] <= 1 for name in ("model", "ceiling", "cascade"))
        assert row["chance"] >= 0.5  # the corpus is balanced, so a constant answer is right half the time
    assert set(results["mean_accuracy"]) == {"model", "ceiling", "cascade", "chance"}
    assert 0 <= results["agreement"] <= 1
    assert results["wer"] >= 0


def test_text_abilities_are_untouched(results):
    kept = results["text_retention"]
    assert kept["n"] >= 16
    assert kept["max_abs_logit_difference"] == 0
    assert kept["identical_replies"] == kept["n"]


def test_time_memory_and_circumstances_are_reported(results, config):
    assert list(results["seconds"]) == STAGES
    assert all(seconds >= 0 for seconds in results["seconds"].values())
    assert results["total_seconds"] == pytest.approx(sum(results["seconds"].values()), abs=0.1)
    assert results["peak_memory_bytes"] > 50e6
    assert results["model"]["encoder"] == config.encoder
    assert results["model"]["llm"] == config.llm
    assert results["data"]["train_utterances"] == results["data"]["test_utterances"] == 8
    assert {prompt["kind"] for prompt in results["prompts"]} == {*results["accuracy"], "transcribe"}


def test_the_checkpoint_can_be_loaded_and_was_trained(finished, config):
    log = [json.loads(line) for line in (finished / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [entry["objective"] for entry in log] == ["embedding_alignment"] * 3 + ["cross_entropy"] * 2
    model = SpeechLLM.from_pretrained(finished / "checkpoint")
    assert (model.config.encoder, model.config.llm) == (config.encoder, config.llm)
    assert model.config.system_prompt


def test_the_report_needs_nothing_but_itself(finished):
    page = (finished / "report.html").read_text(encoding="utf-8")
    assert page.lower().startswith("<!doctype html>")
    assert page.count("data:audio/flac;base64,") == 8  # one clip of each voice
    outside = [link for link in re.findall(r"""(?:src|href)\s*=\s*["']([^"']*)""", page) if link[:5] != "data:"]
    assert [link for link in outside if not link.startswith("#")] == []
    assert not re.search(r"""url\(\s*["']?(?!data:|#|["'])""", page)
    assert "@import" not in page


def test_every_question_is_kept_with_the_answers_to_it(finished):
    files = sorted((finished / "responses").iterdir())
    assert len(files) == 4 * 4
    rows = [json.loads(line) for line in files[0].read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 8
    assert {"id", "task", "system", "prompt", "label", "response", "finish_reason", "audio"} <= set(rows[0])


KEPT = ["train.jsonl", "test.jsonl", "prompts.jsonl", "targets.jsonl", "log.jsonl", "checkpoint/adapter.safetensors"]


@pytest.fixture(scope="module")
def rerun(config, tmp_path_factory):
    """A folder in which a run was killed before it evaluated and started again, and `KEPT` before and after."""
    out = tmp_path_factory.mktemp("rerun")

    def killed(*args, **kwargs):
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "evaluate", killed)
        with pytest.raises(KeyboardInterrupt):
            quickstart(out, config)
    before = {name: (out / name).read_bytes() for name in KEPT}
    quickstart(out, config)
    return out, before, {name: (out / name).read_bytes() for name in KEPT}


def test_a_second_run_goes_on_where_the_first_stopped(rerun):
    out, before, after = rerun
    assert after == before
    assert (out / "report.html").is_file()
    assert not [path.name for path in out.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("changes", [{"steps": 3}, {"train_clips": 16}], ids=["another config", "other data"])
def test_weights_of_another_run_are_not_passed_off_as_this_ones(changes, rerun, config):
    out, before, _ = rerun
    with pytest.raises(SpeechLLMError, match=r"state\.pt: belongs to a run"):
        quickstart(out, dataclasses.replace(config, **changes))
    assert (out / KEPT[-1]).read_bytes() == before[KEPT[-1]]


@pytest.mark.end_to_end
@pytest.mark.timeout(3600)
def test_the_real_quickstart_learns_to_hear_and_keeps_its_text_abilities(tmp_path):
    results = quickstart(tmp_path / "out", QuickstartConfig())
    mean = results["mean_accuracy"]
    assert mean["model"] >= mean["chance"] + 0.25
    assert mean["model"] >= 0.95 * mean["ceiling"]
    assert results["text_retention"]["max_abs_logit_difference"] == 0
    assert results["text_retention"]["identical_replies"] == results["text_retention"]["n"]
