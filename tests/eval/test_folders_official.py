"""SAKURA, Dynamic-SUPERB phase 1, MMAU and MMAR live: the same scores as from stored responses."""

import csv
import json

import pytest
import soundfile

from speechllm.eval.benchmarks import registry
from speechllm.eval.benchmarks.benchmark import Inputs
from speechllm.eval.hearing import Answers
from speechllm.eval.judges import RuleJudge
from speechllm.eval.official import official_scores
from speechllm.eval.sources import find_tasks
from speechllm.models.reply import Reply
from speechllm.testing.corpus import tone


def sound(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, tone(0.2), 16_000)


def scored(benchmark, folder, replies, out, judge=None, name=None):
    """What the live tasks come to when the model replies so to each question in turn."""
    answered = []
    for task in find_tasks([benchmark], folder):
        if task.official is not None:
            said = [Reply(replies.pop(0), "stop") for _ in task.questions]
            answered.append(Answers(task, {"model": said}))
    return official_scores(answered, out, judge)[name or benchmark]["model"]


def stored(path, value):
    path.write_text(json.dumps(value))
    return path


@pytest.mark.parametrize("judge", [None, RuleJudge()])
def test_sakura(tmp_path, judge):
    names = ["file", "attribute_label", "single_instruction", "single_answer", "multi_instruction", "multi_answer"]
    rows = [
        ("a.wav", "fear", "How? (a) fear (b) sad", "(a) fear", "What now? (a) Hug. (b) Run.", "(b) Run."),
        ("b.wav", "sad", "How? (a) happy (b) sad", "(b) sad", "What now? (a) Hug. (b) Run.", "(a) Hug."),
    ]
    for row in rows:
        sound(tmp_path / "Emotion" / "audio" / row[0])
    with (tmp_path / "Emotion" / "metadata.csv").open("w", newline="") as file:
        csv.writer(file).writerows([names, *rows])
    replies = ["(a)", "sad or happy", "Run.", "(b)"]
    files = []
    for at, hop in enumerate(("single", "multi")):
        told = {
            f"data/{row[0]}": {"instruction": row[2 + 2 * at], "label": row[3 + 2 * at], "response": reply}
            for row, reply in zip(rows, replies[2 * at :])
        }
        header = {"attribute": "emotion", "type": hop}
        files.append(stored(tmp_path / f"stored{hop}.json", {**header, "results": told}))
    expected = registry.score("sakura", Inputs(files, judge=judge), tmp_path / "expected")
    found = scored("sakura", tmp_path, replies, tmp_path / "out", judge)
    for key in ("metrics", "items", "not_judged", "judge", "notes"):
        assert found[key] == expected[key]
    assert found["metrics"]["single"]["Emotion"] == (50.0 if judge else None)


def test_dynamic_superb_and_its_submission_file(tmp_path):
    name = "SpoofDetection_X"
    told = {f"{name}_{k}.wav": {"instruction": "Real? The answer could be yes or no.", "label": "yes"} for k in "abc"}
    for clip in told:
        sound(tmp_path / name / clip)
    (tmp_path / name / "metadata.json").write_text(json.dumps(told))
    (tmp_path / name / "instance.json").write_text(json.dumps({"name": name, "version": "7", "metrics": ["accuracy"]}))
    replies = ["YES", "Yes.", "no"]
    answers = {clip: {**row, "response": reply} for (clip, row), reply in zip(told.items(), replies)}
    expected = registry.score("dynamic_superb", Inputs([stored(tmp_path / f"{name}.json", answers)]), tmp_path / "e")
    found = scored("dynamic_superb", tmp_path, replies, tmp_path / "out")
    assert found["metrics"] == expected["metrics"]
    assert found["metrics"]["accuracy by group"] == {"paralinguistics": 33.33}
    assert found["metrics"]["tolerant accuracy"] == {name: 66.67}
    submission = json.loads((tmp_path / "out/official/dynamic_superb.model/scores/submission.json").read_text())
    assert submission[0]["scores"][0] == {"metric": "accuracy", "value": 0.3333, "version": "7", "seen": None}


@pytest.mark.parametrize(
    ("name", "more", "holds"),
    [
        ("mmau", {"audio_id": "1.wav", "task": "sound/x", "difficulty": "easy"}, "model_output"),
        ("mmar", {"audio_path": "1.wav", "modality": "speech", "category": "c"}, "answer_prediction"),
    ],
)
def test_mmau_and_mmar(tmp_path, name, more, holds):
    sound(tmp_path / "audio" / "1.wav")
    asked = {"question": "What barks?", "choices": ["a dog", "a cat"], "answer": "a dog", **more}
    rows = [{"id": str(k), **asked} for k in range(3)]
    stored(tmp_path / "questions.json", rows)
    replies = ["(a) a dog", "dog", "a dog, not a cat"]
    answers = [{**row, holds: reply} for row, reply in zip(rows, replies)]
    expected = registry.score(name, Inputs([stored(tmp_path / "answers", answers)]), tmp_path / "expected")
    found = scored("mmau", tmp_path, replies, tmp_path / "out", name=name)
    assert found["metrics"] == expected["metrics"]
    assert found["metrics"]["Total Accuracy"] == 33.33
