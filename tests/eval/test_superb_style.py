"""Any labelled manifest asked about in the manner of Dynamic-SUPERB."""

import json

import pytest

from speechllm.config import EvaluationConfig
from speechllm.data.attributes import ATTRIBUTES
from speechllm.data.bins import LEVELS
from speechllm.data.jsonl import write_jsonl
from speechllm.data.manifest import Utterance
from speechllm.errors import SpeechLLMError
from speechllm.eval.asking import MODEL
from speechllm.eval.benchmarks.options import named, offered
from speechllm.eval.evaluation import told_attributes
from speechllm.eval.hearing import Answers, score
from speechllm.eval.official import official_scores
from speechllm.eval.sources import find_tasks
from speechllm.eval.superb_style import OF_OTHERS, WORDINGS, instruction
from speechllm.models.reply import Reply


def manifest(path, rows):
    clips = [
        Utterance(id=f"u{k}", audio="a.wav", duration=1.0, sampling_rate=16_000, **row) for k, row in enumerate(rows)
    ]
    write_jsonl(path, clips)
    return path


def labelled(n=12):
    return [
        {
            "attributes": {
                "emotion": ("sad", "happy", "bored")[k % 3],
                "pitch": ("very low", "high")[k % 2],
                "mic_type": ("near", "far")[k % 2],
                "caption": f"scene {k}",
                "snr_db": 3.5 * k,
                "dialect": "north",
            },
            "language": ("en", "de")[k % 2],
        }
        for k in range(n)
    ]


def test_attributes_whose_values_are_words_become_tasks(tmp_path):
    tasks = {task.name: task for task in find_tasks(["superb_style"], manifest(tmp_path / "test.jsonl", labelled()))}
    assert list(tasks) == [f"superb_style.{name}" for name in ("language", "emotion", "pitch", "mic_type")]
    emotion = tasks["superb_style.emotion"]
    assert emotion.questions[1].truth == "happy"
    assert emotion.questions[0].choices == ("happy", "sad", "bored")  # the known first, and none that does not occur
    assert tasks["superb_style.pitch"].questions[0].choices == ("very low", "high")
    assert tasks["superb_style.language"].questions[1].truth == "German"
    for task in tasks.values():
        for question in task.questions:
            assert tuple(offered(question.prompt.text)) == question.choices
    (one,) = find_tasks(["superb_style.emotion"], tmp_path / "test.jsonl")
    assert one.questions == emotion.questions


def test_wordings_take_turns(tmp_path):
    tasks = find_tasks(["superb_style"], manifest(tmp_path / "test.jsonl", labelled()))
    for task in tasks:
        texts = [question.prompt.text for question in task.questions]
        assert len(set(texts)) == 5
        assert texts[:5] == texts[5:10]
    assert instruction("mic_type", ["near", "far"], 0) == (
        "Recognise this property of the recording: mic type. The answer could be near or far."
    )
    assert instruction("emotion", ["a", "b", "c"], 5).endswith("speaker. The answer could be a, b, or c.")


@pytest.mark.parametrize("attribute", WORDINGS)
def test_there_are_five_wordings_that_name_no_value(attribute):
    assert len(set(WORDINGS[attribute])) == len(OF_OTHERS) == 5
    values = {*(ATTRIBUTES[attribute].values if attribute in ATTRIBUTES else ()), *LEVELS}
    for wording in WORDINGS[attribute]:
        assert not named(wording, sorted(values))


def test_exact_and_tolerant_counts_stand_beside_each_other_and_a_submission_is_written(tmp_path):
    tasks = find_tasks(["superb_style.emotion"], manifest(tmp_path / "test.jsonl", labelled(6)))
    said = ["Sad", "It is happy.", "bored", "sad or happy", "HAPPY", "no idea"]
    answered = [Answers(tasks[0], {MODEL: [Reply(text, "stop") for text in said]})]
    told = score(answered)["tasks"]["superb_style.emotion"]["systems"][MODEL]
    assert (told["value"], told["tolerant"]) == (pytest.approx(3 / 6), pytest.approx(4 / 6))
    metrics = official_scores(answered, tmp_path / "out")["dynamic_superb"][MODEL]["metrics"]
    assert metrics["accuracy"] == {"emotion_test": 50.0}
    assert metrics["tolerant accuracy"] == {"emotion_test": 66.67}
    assert metrics["accuracy by group"] == {"unknown": 50.0}
    submission = next((tmp_path / "out").rglob("submission.json"))
    (row,) = json.loads(submission.read_text())
    assert (row["name"], row["scores"][0]["value"], row["scores"][0]["version"]) == ("emotion_test", 0.5, "1")


def test_the_ceiling_is_told_what_the_instructions_ask_for(tmp_path):
    tasks = find_tasks(["superb_style"], manifest(tmp_path / "test.jsonl", labelled()))
    assert told_attributes(tasks, EvaluationConfig()) == ("language", "emotion", "pitch", "mic_type")


def test_what_is_wrong_is_named(tmp_path):
    with pytest.raises(SpeechLLMError, match="is no manifest, which superb_style is about; give the file with --data"):
        find_tasks(["superb_style"], tmp_path)
    path = manifest(tmp_path / "test.jsonl", [{"attributes": {"gender": "male", "snr_db": k}} for k in range(4)])
    with pytest.raises(SpeechLLMError, match=r"test\.jsonl: has no attribute with several values"):
        find_tasks(["superb_style"], path)
    with pytest.raises(SpeechLLMError, match="there is no task 'superb_stile'; did you mean 'superb_style'"):
        find_tasks(["superb_stile"], path)
    path.write_text("{}\n")
    with pytest.raises(SpeechLLMError, match=r"test\.jsonl:1: the key"):
        find_tasks(["superb_style"], path)
    with pytest.raises(SpeechLLMError, match=r"has no task 'superb_style\.emotoin'; did you mean"):
        find_tasks(["superb_style.emotoin"], manifest(path, labelled()))
