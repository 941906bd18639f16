"""Dynamic-SUPERB phase 1: the exact match, the tolerant one, groups and the submission file."""

import json

import pytest

from speechllm.errors import SpeechLLMError
from speechllm.eval.benchmarks.benchmark import Inputs
from speechllm.eval.benchmarks.dynamic_superb import DYNAMIC_SUPERB, GROUPS, instance_name
from speechllm.eval.benchmarks.options import named, offered

ASKED = "How does the speaker feel? The answer could be happy, sad, or very sad."
COUNT = "How many speakers are there? The answer could be 1, 2, or 3."

CASES = [
    # instruction, label, response, exact, tolerant
    (ASKED, "happy", "happy", 1, 1),
    (ASKED, "happy", "HAPPY", 1, 1),
    (ASKED, "happy", "happy ", 0, 1),  # not even a space more
    (ASKED, "happy", "Happy.", 0, 1),
    (ASKED, "happy", '"happy"\n', 0, 1),
    (ASKED, "happy", "- **happy**", 0, 1),
    (ASKED, "happy", "```\nhappy\n```", 0, 1),
    (ASKED, "happy", "The speaker is happy, not sad.", 0, 0),  # several options named
    (ASKED, "happy", "unhappy", 0, 0),
    (ASKED, "happy", "", 0, 0),
    (ASKED, "happy", "  \n", 0, 0),
    (ASKED, "sad", "They are very sad.", 0, 0),  # another option, which contains the label
    (ASKED, "very sad", "They are very sad.", 0, 1),
    (ASKED, "very sad", "sad, very sad", 0, 0),
    (ASKED, "happy", "Sure:\\nhappy", 0, 1),  # a literal \n
    (COUNT, 2, "2", 1, 1),  # an integer label
    (COUNT, 2, 2, 1, 1),  # and an integer response
    (COUNT, 2, "There are ２ speakers.", 0, 1),  # a full-width digit
    (COUNT, 2, "22", 0, 0),
    (COUNT, 2, "two", 0, 0),
    ("Is it so?", "yes", "Yes, it is.", 0, 1),  # no options in the instruction
    ("Say it. The answer could be Straße or Weg.", "Straße", "STRASSE", 0, 1),
]


def _scored(folder, rows, name="EmotionRecognition_Own.json", **inputs):
    path = folder / name
    path.write_text(json.dumps(rows))
    return DYNAMIC_SUPERB.score(Inputs([path], **inputs))


@pytest.mark.parametrize(("instruction", "label", "response", "exact", "tolerant"), CASES)
def test_exact_and_tolerant_match(tmp_path, instruction, label, response, exact, tolerant):
    rows = {"a.wav": {"instruction": instruction, "label": label, "response": response}}
    (verdict,) = _scored(tmp_path, rows).verdicts
    assert (verdict.exact, verdict.tolerant) == (bool(exact), bool(tolerant))
    assert verdict.right == bool(exact)  # the official rule decides


@pytest.mark.parametrize(
    ("instruction", "options"),
    [
        (ASKED, ["happy", "sad", "very sad"]),
        (COUNT, ["1", "2", "3"]),
        ("Is it? The answer could be yes or no.", ["yes", "no"]),
        ("Which? The answer could be North Korea, Côte d'Ivoire or 'Peru'", ["North Korea", "Côte d'Ivoire", "Peru"]),
        ("Which one?", []),
    ],
)
def test_options_are_read_from_the_instruction(instruction, options):
    assert offered(instruction) == options


def test_options_named():
    assert named("yes and no", ["yes", "no", "maybe"]) == ["yes", "no"]
    assert named("a very sad a", ["sad", "very sad", "a a"]) == ["very sad"]
    assert named("", ["yes"]) == []


def test_metrics_groups_and_missing(tmp_path):
    emotion = tmp_path / "EmotionRecognition_Own.json"
    emotion.write_text(json.dumps([{"file": k, "label": "a", "pred": p} for k, p in enumerate(["A", "a.", "b"])]))
    folder = tmp_path / "SpoofDetection_Own"
    folder.mkdir()
    (folder / "metadata.json").write_text(
        json.dumps({"a.wav": {"label": "x", "sllm_response": "x"}, "b.wav": {"label": "x"}})
    )
    (folder / "instance.json").write_text(json.dumps({"name": "SpoofDetection_Own", "version": "abc"}))
    scored = DYNAMIC_SUPERB.score(Inputs([emotion, folder / "metadata.json"]))
    assert scored.metrics == {
        "accuracy": {"EmotionRecognition_Own": 33.33, "SpoofDetection_Own": 50.0},
        "accuracy by group": {"paralinguistics": 41.66},
        "tolerant accuracy": {"EmotionRecognition_Own": 66.67, "SpoofDetection_Own": 50.0},
        "tolerant accuracy by group": {"paralinguistics": 58.34},
    }
    assert [v.verdict for v in scored.verdicts] == ["right", "wrong", "wrong", "right", "missing"]
    first, second = scored.files["submission.json"]
    assert second == {
        "name": "SpoofDetection_Own",
        "scores": [{"metric": "accuracy", "value": 0.5, "version": "abc", "seen": None}],
    }
    assert first["scores"][0]["version"] is None
    assert any("EmotionRecognition_Own" in note for note in scored.notes)


def test_questions_apart_by_instance(tmp_path):
    folder = tmp_path / "EmotionRecognition_Own"
    folder.mkdir()
    rows = {name: {"file": name, "instruction": ASKED, "label": "sad"} for name in ("a.wav", "b.wav")}
    (folder / "metadata.json").write_text(json.dumps(rows))
    scored = _scored(tmp_path, {"b.wav": {"response": "Sad."}}, questions=[folder / "metadata.json"])
    assert [(v.id, v.verdict, v.tolerant) for v in scored.verdicts] == [
        ("a.wav", "missing", False),
        ("b.wav", "wrong", True),
    ]
    with pytest.raises(SpeechLLMError, match=r"no file of questions is of the instance 'Other_Own'"):
        _scored(tmp_path, {"b.wav": {"response": "Sad."}}, "Other_Own.json", questions=[folder / "metadata.json"])


def test_one_file_an_instance(tmp_path):
    paths = [tmp_path / name / "metadata.json" for name in ("x/A_B", "y/A_B")]
    for path in paths:
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({"a.wav": {"label": "x", "response": "x"}}))
    assert instance_name(paths[0]) == "A_B"
    with pytest.raises(SpeechLLMError, match=r"is of the instance 'A_B' as"):
        DYNAMIC_SUPERB.score(Inputs(paths))


def test_groups_do_not_overlap():
    tasks = [task for group in GROUPS.values() for task in group]
    assert len(tasks) == len(set(tasks))
