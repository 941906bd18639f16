"""AIR-Bench's foundation part live: what is asked, and the same scores as from stored responses."""

import json

import pytest
import soundfile

from speechllm.config import EvaluationConfig
from speechllm.data.render import audio_parts
from speechllm.errors import SpeechLLMError
from speechllm.eval.asking import SYSTEMS, ask, asked_as
from speechllm.eval.benchmarks import registry
from speechllm.eval.benchmarks.benchmark import Inputs
from speechllm.eval.evaluation import evaluate
from speechllm.eval.hearing import Answers, score
from speechllm.eval.official import official_scores
from speechllm.eval.sources import find_tasks
from speechllm.export import write_checkpoint
from speechllm.models.reply import Sampling
from speechllm.testing.corpus import tone
from speechllm.testing.scripted import ScriptedReplier


def row(number, **fields):
    told = {"path": f"{number}.wav", "question": f"What is {number}?", "choice_a": "rain", "choice_b": "wind"}
    told |= {"choice_c": "sun", "choice_d": "snow", "answer_gt": "wind", "uniq_id": number}
    return {**told, "task_name": "Sound_AQA", "dataset_name": "own", **fields}


FEWER = {key: value for key, value in row(3).items() if key not in ("choice_c", "choice_d")}
ROWS = [
    row(0),
    row(1, answer_gt="rain"),
    row(2),
    {**FEWER, "task_name": "Audio_Grounding"},
    row(4, task_name="Music_AQA"),  # whose folder is not there
]
REPLIES = {"0": "B. wind", "1": "The answer is B.", "2": "wind", "3": "B"}


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "data"
    for name in ("Sound_AQA_own/0.wav", "Sound_AQA_own/1.wav", "Sound_AQA_own/2.wav", "Audio_Grounding_own/3.flac"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(root / name, tone(0.2), 16_000)
    written(root, ROWS)
    return root


def written(root, rows):
    (root / "Foundation_meta.json").write_text(json.dumps(rows, indent=1))


def replier():
    def reply(messages):
        asked = messages[-1]["content"][-1]["text"]
        return next(said for number, said in REPLIES.items() if f"What is {number}?" in asked)

    return ScriptedReplier(reply)


def test_questions_name_four_options_after_the_clip(folder):
    tasks = find_tasks(["air_bench"], folder)
    assert [task.name for task in tasks] == ["air_bench.Sound_AQA_own", "air_bench.Audio_Grounding_own"]
    system, asked = tasks[0].questions[1].heard(False)
    assert system["role"] == "system"
    assert [part["type"] for part in asked["content"]] == ["audio", "text"]
    lead, question, *options = asked["content"][1]["text"].split("\n")
    assert "A, B, C or D" in lead
    assert (question, options) == ("What is 1?", ["A. rain", "B. wind", "C. sun", "D. snow"])
    assert [q.truth for q in tasks[0].questions] == ["B", "A", "B"]
    (grounding,) = tasks[1].questions
    assert audio_parts(grounding.heard(False))[0]["path"].endswith("Audio_Grounding_own/3.flac")
    assert grounding.prompt.text.endswith("B. wind\nC. None\nD. None")
    (one,) = find_tasks(["air_bench.Audio_Grounding_own"], folder)
    assert one.questions == tasks[1].questions


def test_scores_are_those_of_stored_responses(folder, tmp_path):
    tasks = find_tasks(["air_bench"], folder)
    replies = ask(tasks, "model", asked_as("model"), replier(), Sampling(), tmp_path / "responses")
    answered = [Answers(task, {"model": said}) for task, said in zip(tasks, replies, strict=True)]
    found = official_scores(answered, tmp_path / "out")["air_bench"]["model"]
    stored = tmp_path / "Foundation_result_modelx.jsonl"
    stored.write_text("".join(json.dumps({**r, "response": REPLIES[str(r["uniq_id"])]}) + "\n" for r in ROWS[:4]))
    expected = registry.score("air_bench", Inputs([stored]), tmp_path / "expected")
    assert found["metrics"] == expected["metrics"]
    assert found["metrics"]["acc"] == {"Sound_AQA_own": 50.0, "Audio_Grounding_own": 100.0}
    assert found["metrics"]["fail_num"] == 1
    told = tmp_path / "out" / "official" / "air_bench.model"
    assert json.loads((told / "Audio_Grounding_own.jsonl").read_text()) == {**ROWS[3], "response": "B"}
    own = score(answered)["accuracy"]
    assert {name.partition(".")[2]: round(100 * told["model"], 2) for name, told in own.items()} == found["metrics"][
        "acc, failures wrong"
    ]


def test_a_checkpoint_is_asked(folder, model, processor, tmp_path):
    checkpoint = write_checkpoint(model, processor, tmp_path / "checkpoint")
    config = EvaluationConfig(max_new_tokens=3, retention="none", device="cpu", dtype="float32")
    found = evaluate(str(checkpoint), find_tasks(["air_bench"], folder), tmp_path / "out", config)
    assert list(found.results["benchmarks"]["air_bench"]) == list(SYSTEMS)
    assert found.results["benchmarks"]["air_bench"]["model"]["items"] == 4
    assert set(found.results["accuracy"]) == {"air_bench.Sound_AQA_own", "air_bench.Audio_Grounding_own"}


def test_what_is_wrong_is_named(folder):
    for rows, message in [
        ([row(9)], r"Foundation_meta\.json:\d+: its audio is not in .*Sound_AQA_own"),
        ([row(0, answer_gt="fog")], r"meta\.json:\d+: the answer 'fog' is none of the choices"),
        ([row(0), row(0)], r"the id 'Sound_AQA \| own \| 0\.wav .* stands at .* already"),
        ([{k: v for k, v in row(0).items() if k != "question"}], r"meta\.json:\d+: has no id \(task_name and"),
        ([row(0, task_name="Music_AQA")], r"holds no folder of clips, such as Music_AQA_own"),
    ]:
        written(folder, rows)
        with pytest.raises(SpeechLLMError, match=message):
            find_tasks(["air_bench"], folder)
    (folder / "Foundation_meta.json").unlink()
    with pytest.raises(SpeechLLMError, match=r"holds no Foundation_meta\.json of AIR-Bench's"):
        find_tasks(["air_bench"], folder)
