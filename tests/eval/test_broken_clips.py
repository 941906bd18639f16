"""A clip that cannot be decoded ends no evaluation: what is asked about it counts as wrong."""

import json

import pytest

from speechllm.audio.io import load_audio, save_audio
from speechllm.config import EvaluationConfig
from speechllm.data.manifest import read_manifest, relocated, write_manifest
from speechllm.errors import SpeechLLMError
from speechllm.eval.comparison_report import write_comparison
from speechllm.eval.evaluation import evaluate
from speechllm.eval.sources import manifest_tasks
from speechllm.export import write_checkpoint
from speechllm.models.modeling import SpeechLLM
from speechllm.models.processing import SpeechLLMProcessor


@pytest.fixture(scope="module")
def checkpoint(encoder_reference, llm_reference, tmp_path_factory):
    model = SpeechLLM.from_references(encoder_reference, llm_reference, {"type": "pooled", "vectors": 4})
    folder = tmp_path_factory.mktemp("model") / "checkpoint"
    return write_checkpoint(model, SpeechLLMProcessor.for_config(model.config), folder)


def cut(corpus, folder, ids):
    """The corpus, with sound that breaks off behind a whole header, and nothing recognised in it yet."""
    utterances = relocated(corpus.utterances, folder)
    for at, utterance in enumerate(corpus.utterances):
        if utterance.id in ids:
            save_audio(folder / f"{utterance.id}.flac", load_audio(utterance.audio))
            body = (folder / f"{utterance.id}.flac").read_bytes()
            (folder / f"{utterance.id}.flac").write_bytes(body[: len(body) // 2])
            utterances[at] = utterances[at].model_copy(update={"audio": f"{utterance.id}.flac"})
    write_manifest(folder / "manifest.jsonl", utterances)
    return folder / "manifest.jsonl"


def evaluated(checkpoint, manifest, corpus, out):
    config = EvaluationConfig(max_new_tokens=3, retention="none", device="cpu", dtype="float32")
    targets = (read_manifest(manifest), corpus.records)
    return evaluate(str(checkpoint), manifest_tasks(manifest, corpus.prompts), out, config, targets)


def test_questions_about_broken_sound_are_unanswered(checkpoint, corpus, tmp_path, capsys):
    found = evaluated(checkpoint, cut(corpus, tmp_path, {"tone-3"}), corpus, tmp_path / "out")
    assert found.results["broken"]["clips"] == found.results["broken"]["questions"] == 1
    assert "tone-3.flac" in found.results["broken"]["complaints"][0]
    assert json.loads((tmp_path / "out" / "results.json").read_text())["broken"] == found.results["broken"]
    assert "tone-3.flac" in capsys.readouterr().err
    (task,) = found.results["tasks"].values()
    assert task["n"] == len(corpus.utterances)
    (answers,) = found.answers
    replies = dict(zip((q.utterances[0].id for q in answers.task.questions), answers.replies["model"], strict=True))
    assert replies["tone-3"].text == ""
    assert replies["tone-4"].text != ""
    (page,) = (p for p in write_comparison([tmp_path / "out"], tmp_path / "report.html") if p.suffix == ".md")
    said = "1 could not be decoded; 1 questions about them count as unanswered"
    assert said in page.read_text()
    assert said in (tmp_path / "report.html").read_text()
    sound = evaluated(checkpoint, corpus.manifest, corpus, tmp_path / "sound")
    assert "broken" not in sound.results
    assert found.results["gap"]["tokens"] < sound.results["gap"]["tokens"]


def test_nothing_but_broken_sound_is_an_error(checkpoint, corpus, tmp_path):
    manifest = cut(corpus, tmp_path, {u.id for u in corpus.utterances})
    with pytest.raises(SpeechLLMError, match=r"none of the 8 clips can be decoded; the first: .*tone-0\.flac"):
        evaluated(checkpoint, manifest, corpus, tmp_path / "out")
