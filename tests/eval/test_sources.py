import csv
import json

import pytest
import soundfile

from speechllm.config import EvaluationConfig
from speechllm.data.jsonl import write_jsonl
from speechllm.data.manifest import Utterance
from speechllm.data.prompts import Prompt
from speechllm.errors import SpeechLLMError
from speechllm.eval.evaluation import told_attributes
from speechllm.eval.sources import SOURCES, find_tasks, manifest_tasks, read_task, register, with_prompts
from speechllm.testing.corpus import tone


def sound(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, tone(0.3), 16_000)


@pytest.fixture
def sakura(tmp_path):
    folder = tmp_path / "data" / "sakura"
    rows = [
        ("a.wav", "fear", "How? (a) fear (b) sad", "(a) fear", "Do what? (a) Hug them. (b) Run away.", "(b) Run away."),
        ("b.wav", "sad", "How? (a) happy (b) sad", "(b) sad", "Do what? (a) Hug them. (b) Run.", "(a) Hug them."),
    ]
    for row in rows:
        sound(folder / "Emotion" / "audio" / row[0])
    with (folder / "Emotion" / "metadata.csv").open("w", newline="") as file:
        names = "file attribute_label single_instruction single_answer multi_instruction multi_answer"
        csv.writer(file).writerows([names.split(), *rows])
    return folder.parent


def test_sakura_has_three_tasks_a_track(sakura):
    tasks = {task.name: task for task in find_tasks(["sakura"], sakura)}
    assert list(tasks) == ["sakura.emotion.open", "sakura.emotion.single", "sakura.emotion.multi"]
    opened = tasks["sakura.emotion.open"].questions
    assert [q.truth for q in opened] == ["fearful", "sad"]
    assert opened[0].prompt.text == "What is the emotion of the speaker?"
    single = tasks["sakura.emotion.single"].questions[0]
    assert (single.truth, single.choices) == ("fear", ("fear", "sad"))
    assert tasks["sakura.emotion.multi"].questions[0].truth == "Run away."
    assert [task.name for task in find_tasks(["sakura.emotion.multi"], sakura)] == ["sakura.emotion.multi"]
    assert [task.name for task in find_tasks(["sakura"], sakura / "sakura")] == list(tasks)


def test_open_questions_can_be_put_in_other_words_and_a_benchmarks_cannot(sakura):
    other = Prompt(id="x", kind="emotion", text="How do they feel?")
    tasks = with_prompts(find_tasks(["sakura"], sakura), [other])
    assert [task.questions[0].prompt.text for task in tasks] == [
        "How do they feel?",
        "How? (a) fear (b) sad",
        "Do what? (a) Hug them. (b) Run away.",
    ]


def test_what_is_wrong_with_sakuras_files_is_named(sakura):
    path = sakura / "sakura" / "Emotion" / "metadata.csv"
    path.write_text(path.read_text().replace(",(b) sad,", ",(b) mad,"))
    with pytest.raises(SpeechLLMError, match=r"metadata\.csv:3: the answer '\(b\) mad' is none of the options"):
        find_tasks(["sakura"], sakura)
    path.write_text("file,label\na.wav,x\n")
    with pytest.raises(SpeechLLMError, match="lacks columns of SAKURA's"):
        find_tasks(["sakura"], sakura)


def test_dynamic_superb_counts_the_very_words_and_shows_the_tolerant_count_beside(tmp_path):
    folder = tmp_path / "SpeakerVerification_X"
    rows = {
        "a.wav": {"instruction": "Same voice? The answer could be yes or no.", "label": "Yes"},
        "b.wav": {"instruction": "Which? The answer could be 1, 2, or 3.", "label": 2, "text": "Consider this."},
    }
    for name in rows:
        sound(folder / f"SpeakerVerification_X_{name}")
    sound(folder / "SpeakerVerification_X_a_pair.wav")
    (folder / "metadata.json").write_text(json.dumps(rows))
    (task,) = find_tasks(["dynamic_superb"], tmp_path)
    first, second = task.questions
    assert task.name == "dynamic_superb.SpeakerVerification_X"
    assert len(first.utterances) == 2
    assert first.choices == ("yes", "no")
    assert (second.truth, second.choices) == ("2", ("1", "2", "3"))
    assert second.prompt.text.endswith("\nConsider this.")
    assert [task.extract(first, reply) for reply in ("yes", "YES", " yes", "Yes.")] == ["Yes", "Yes", None, None]
    assert task.tolerant(first, "Yes.") == "yes"


def test_mmau_by_task(tmp_path):
    row = {"id": "1", "audio_id": "./test-mini-audios/1.wav", "question": "What barks?", "choices": ["dog", "cat"]}
    sound(tmp_path / "test-mini-audios" / "1.wav")
    (tmp_path / "mmau-test-mini.json").write_text(json.dumps([{**row, "answer": "dog", "task": "sound"}]))
    (task,) = find_tasks(["mmau.sound"], tmp_path)
    assert task.questions[0].prompt.text == "What barks?\n(a) dog\n(b) cat"
    (tmp_path / "mmau-test-mini.json").write_text(json.dumps([row]))
    with pytest.raises(SpeechLLMError, match="row 0: lacks answer"):
        find_tasks(["mmau"], tmp_path)


def test_a_task_of_ones_own_in_toml(tmp_path, corpus):
    told = f'name = "mine"\nmanifest = "{corpus.manifest}"\nprompt = "Low?"\nlabel = "pitch"\n'
    told += 'choices = ["low", "high"]\n'
    (tmp_path / "mine.toml").write_text(told)
    (task,) = find_tasks([str(tmp_path / "mine.toml")], None)
    assert (task.name, len(task.questions), task.extract(task.questions[0], "It is low.")) == ("mine", 8, "low")
    (tmp_path / "mine.toml").write_text(told.replace("label", "lable"))
    with pytest.raises(SpeechLLMError, match="unknown key 'lable'; did you mean 'label'"):
        read_task(tmp_path / "mine.toml")
    (tmp_path / "mine.toml").write_text(told.replace('"low", "high"', '"low"'))
    with pytest.raises(SpeechLLMError, match=r"label: pitch of 'tone-\d': 'high' is none of the choices \(low\)"):
        read_task(tmp_path / "mine.toml")
    (tmp_path / "mine.toml").write_text(told.replace('"low", "high"', '"Low", "High"'))
    assert {question.truth for question in read_task(tmp_path / "mine.toml").questions} == {"Low", "High"}
    (tmp_path / "mine.toml").write_text(told.replace('"pitch"', '"age"'))
    with pytest.raises(SpeechLLMError, match=r"no utterance of .* has 'age'"):
        read_task(tmp_path / "mine.toml")


def test_a_source_of_ones_own_in_python(corpus, monkeypatch):
    monkeypatch.delitem(SOURCES, "mine", raising=False)
    register("mine", lambda folder: manifest_tasks(folder / corpus.manifest.name))
    monkeypatch.setitem(SOURCES, "mine", SOURCES["mine"])
    with pytest.raises(SpeechLLMError, match=r"has no task 'mine\.x'.*there: pitch"):
        find_tasks(["mine.x"], corpus.manifest.parent)
    SOURCES.pop("mine")


def test_unknown_names_and_missing_data_are_one_line(tmp_path):
    with pytest.raises(SpeechLLMError, match="there is no task 'sakra'; did you mean 'sakura'"):
        find_tasks(["sakra"], tmp_path)
    with pytest.raises(SpeechLLMError, match="give the folder with --data"):
        find_tasks(["sakura"], None)


def test_a_manifest_is_asked_about_all_that_it_knows(tmp_path):
    rows = [
        Utterance(id=f"u{k}", audio="a.wav", duration=1.0, sampling_rate=16_000, attributes={"gender": g}, text=None)
        for k, g in enumerate(["female", "male"])
    ]
    write_jsonl(tmp_path / "m.jsonl", rows)
    assert [task.name for task in manifest_tasks(tmp_path / "m.jsonl")] == ["gender"]
    heard = {"sound": "dog", "noise": "very high", "snr_db": 12.3, "age": 40, "channel": "left"}
    write_jsonl(tmp_path / "m.jsonl", [rows[0].model_copy(update={"attributes": heard})])
    tasks = {task.name: task for task in manifest_tasks(tmp_path / "m.jsonl")}
    assert tasks.keys() == {"sound", "noise"}, "numbers are not asked for"
    assert set(tasks["noise"].questions[0].choices) == {"very low", "low", "medium", "high", "very high"}
    assert tasks["noise"].extract(tasks["noise"].questions[0], "There is very high noise.") == "very high"


def test_the_ceiling_is_told_what_is_asked_and_no_more(tmp_path):
    """It once read all that a manifest holds, and answered with measured numbers."""
    facts = {"gender": "female", "words_per_minute": 111, "pitch": "low"}
    clip = Utterance(id="u", audio="a.wav", duration=1.0, sampling_rate=16_000, text="hi", attributes=facts)
    write_jsonl(tmp_path / "m.jsonl", [clip])
    prompts = [Prompt(id=kind, kind=kind, text=kind) for kind in ("pitch", "gender", "transcribe")]
    write_jsonl(tmp_path / "p.jsonl", prompts)
    tasks = manifest_tasks(tmp_path / "m.jsonl", tmp_path / "p.jsonl")
    assert told_attributes(tasks, EvaluationConfig()) == ("gender", "pitch")
    assert told_attributes(tasks, EvaluationConfig(attributes=("age",))) == ("age",)
    assert told_attributes([task for task in tasks if task.name == "transcribe"], EvaluationConfig()) is None
