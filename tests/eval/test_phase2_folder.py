"""Dynamic-SUPERB phase 2, dumped, as live tasks: what is asked, and the same scores as from stored responses."""

import json

import pytest
import soundfile

from speechllm.errors import SpeechLLMError
from speechllm.eval.benchmarks import registry
from speechllm.eval.benchmarks.benchmark import Inputs
from speechllm.eval.hearing import Answers, score
from speechllm.eval.judges import RuleJudge
from speechllm.eval.official import official_scores
from speechllm.eval.sources import find_tasks
from speechllm.models.reply import Reply
from speechllm.testing.corpus import tone

FEELING = "How does it sound? The answer could be happy or sad."
ROWS = {
    "Emotion_X": ("llm_classification", [(FEELING, "happy"), (FEELING, "Sad"), (FEELING, "sad")]),
    "Loose_X": (None, [("Who sings?", "a bird")]),
    "Age_X": ("pearsonr", [("How old?", 20), ("How old?", 30.5), ("How old?", 41)]),
    "Speech_X": ("wer", [("Write it down.", "a cat"), ("Write it down.", "is it")]),
    "Translation_X": ("sacrebleu", [("Translate.", "the cat is on the mat today")]),
    "Turns_X": ("der", [("Who speaks when?", "0 1 A")]),
}
REPLIES = {
    "Emotion_X": ["Happy.", "happy or sad", "happy"],
    "Loose_X": ["It is a bird."],
    "Age_X": ["about 22", "no idea", "40 I think"],
    "Speech_X": ["a bat", ""],
    "Translation_X": ["the cat is on the mat"],
    "Turns_X": ["A"],
}


@pytest.fixture
def folder(tmp_path):
    """As the authors' script dumps it, and beside it a checkout of their descriptions."""
    for name, (metric, rows) in ROWS.items():
        at = tmp_path / "data" / "DynamicSUPERB_TextGeneration_Tasks" / name
        at.mkdir(parents=True)
        told = {f"{name}_{k}.wav": {"file": f"{k}.flac", "instruction": i, "label": a} for k, (i, a) in enumerate(rows)}
        (at / "metadata.json").write_text(json.dumps(told))
        for clip in told:
            soundfile.write(at / clip, tone(0.2), 16_000)
        if metric is not None:
            described = tmp_path / "data" / "tasks" / name
            described.mkdir(parents=True)
            instance = {"name": f"The {name}", "path": f"DynamicSuperb/{name}", "metrics": [metric], "version": "1"}
            (described / "instance.json").write_text(json.dumps(instance))
    spoken = tmp_path / "data" / "DynamicSUPERB_AudioGeneration_Tasks" / "Song_X"
    spoken.mkdir(parents=True)
    (spoken / "metadata.json").write_text('{"x.wav": {"instruction": "Sing."}}')
    for further in ("_pair2", "_pair3", "_pair4"):
        soundfile.write(
            tmp_path / "data" / "DynamicSUPERB_TextGeneration_Tasks" / f"Loose_X/Loose_X_0{further}.wav",
            tone(0.2),
            16_000,
        )
    return tmp_path / "data"


def answered(tasks):
    return [
        Answers(task, {"model": [Reply(text, "stop") for text in REPLIES[task.name.partition(".")[2]]]})
        for task in tasks
    ]


def stored(folder):
    """Files of responses as the benchmark's authors write them, and descriptions."""
    responses, instances = [], []
    for name, (metric, rows) in ROWS.items():
        told = {
            f"{name}_{k}.wav": {"instruction": i, "label": a, "sllm_response": r}
            for k, ((i, a), r) in enumerate(zip(rows, REPLIES[name]))
        }
        responses.append(folder / f"{name}.json")
        responses[-1].write_text(json.dumps(told))
        if metric is not None:
            instances.append(folder / f"instance-{name}.json")
            instances[-1].write_text(json.dumps({"name": name, "metrics": metric}))
    return responses, instances


def test_instances_become_tasks_with_all_their_clips(folder):
    tasks = {task.name: task for task in find_tasks(["dynamic_superb_phase2"], folder)}
    assert set(tasks) == {f"dynamic_superb_phase2.{name}" for name in ROWS}
    alone = {name for name, task in tasks.items() if task.left_to_benchmark}
    assert alone == {f"dynamic_superb_phase2.{name}" for name in ("Age_X", "Speech_X", "Translation_X", "Turns_X")}
    assert len(tasks["dynamic_superb_phase2.Loose_X"].questions[0].utterances) == 4
    assert tasks["dynamic_superb_phase2.Age_X"].questions[1].truth == "30.5"
    (one,) = find_tasks(["dynamic_superb_phase2.Emotion_X"], folder)
    assert one.questions[0].prompt.text == FEELING


@pytest.mark.parametrize("judge", [None, RuleJudge()])
def test_scores_are_those_of_stored_responses(folder, tmp_path, judge):
    tasks = find_tasks(["dynamic_superb_phase2"], folder)
    found = official_scores(answered(tasks), tmp_path / "out", judge)["dynamic_superb_phase2"]["model"]
    expected = registry.score("dynamic_superb_phase2", Inputs(*stored(tmp_path), judge=judge), tmp_path / "scored")
    for key in ("metrics", "items", "missing", "not_judged", "judge"):
        assert found[key] == expected[key]
    assert sorted(found["notes"]) == sorted(expected["notes"])
    assert "Turns_X: the rule of its metric 'der' is not known here; left out" in found["notes"]
    assert any(note.startswith("Loose_X: no instance.json") for note in found["notes"])
    metrics = found["metrics"]
    if judge is None:
        assert (found["not_judged"], metrics["classification"]["Emotion_X"]) == (10, None)
    else:
        assert metrics["classification"] == {"Emotion_X": 33.33, "Loose_X": 100.0}
        assert metrics["regression"]["Age_X"] == {"metric": "pearsonr", "value": 1.0, "N/A rate": 33.33}
        assert metrics["regression"]["Speech_X"] == {"metric": "wer", "value": 50.0, "N/A rate": 50.0}


def test_classification_has_an_accuracy_by_rule_beside_and_values_have_none(folder):
    results = score(answered(find_tasks(["dynamic_superb_phase2"], folder)))
    assert {name: row["model"] for name, row in results["accuracy"].items()} == {
        "dynamic_superb_phase2.Emotion_X": pytest.approx(1 / 3),
        "dynamic_superb_phase2.Loose_X": 1.0,
    }
    scored = answered(find_tasks(["dynamic_superb_phase2.Emotion_X"], folder))
    assert scored[0].extracted("model") == ["happy", None, "happy"]


def test_what_is_wrong_is_named(folder):
    described = folder / "tasks" / "Age_X" / "instance.json"
    described.write_text('{"name": "Age_X"}')
    with pytest.raises(SpeechLLMError, match=r"Age_X/instance\.json: is no instance\.json with name and metrics"):
        find_tasks(["dynamic_superb_phase2"], folder)
    with pytest.raises(SpeechLLMError, match="all instances are answered by audio"):
        find_tasks(["dynamic_superb_phase2"], folder / "DynamicSUPERB_AudioGeneration_Tasks")
    clip = folder / "DynamicSUPERB_TextGeneration_Tasks" / "Age_X" / "Age_X_1.wav"
    clip.unlink()
    with pytest.raises(SpeechLLMError, match=r"metadata\.json: Age_X_1\.wav: its audio is not in"):
        find_tasks(["dynamic_superb_phase2"], clip.parent)
