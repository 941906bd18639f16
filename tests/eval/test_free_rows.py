"""Tasks of the user's own about rows: of a JSON-lines file, or of a dataset that `datasets` reads."""

import io
import json

import datasets
import pytest
import soundfile

from speechllm.config import EvaluationConfig
from speechllm.data.prompts import Prompt
from speechllm.errors import SpeechLLMError
from speechllm.eval.evaluation import told_attributes
from speechllm.eval.hearing import Answers, score
from speechllm.eval.sources import asked_for, find_tasks
from speechllm.eval.tasks import attribute_task
from speechllm.models.reply import Reply
from speechllm.testing.corpus import tone

ROWS = [
    {"audio": "clips/0.wav", "question": "What barks?", "answer": "A dog.", "id": "first", "said": "woof"},
    {"audio": "clips/1.wav", "question": "What meows?", "answer": "A cat.", "said": "miaow"},
]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "clips").mkdir()
    for k in range(2):
        soundfile.write(tmp_path / "clips" / f"{k}.wav", tone(0.2 + 0.1 * k), 16_000)
    return tmp_path


def task(folder, lines=None, /, **told):
    """The task that a TOML file of these keys makes of these rows."""
    if lines is not None:
        written = [row if isinstance(row, str) else json.dumps(row) for row in lines]
        (folder / "rows.jsonl").write_text("\n".join(written))
    keys = {"name": "mine", "rows": "rows.jsonl"} | told
    inline = {key: json.dumps(value) for key, value in keys.items() if not isinstance(value, dict)}
    tables = {key: "{" + ", ".join(f'{k} = "{v}"' for k, v in keys[key].items()) + "}" for key in keys.keys() - inline}
    (folder / "mine.toml").write_text("".join(f"{key} = {value}\n" for key, value in (inline | tables).items()))
    (found,) = find_tasks([str(folder / "mine.toml")], None)
    return found


def test_a_json_lines_file_with_the_usual_columns_needs_two_keys(folder):
    found = task(folder, ROWS)
    assert [(q.prompt.text, q.truth, q.id) for q in found.questions] == [
        ("What barks?", "A dog.", "first"),
        ("What meows?", "A cat.", "2"),
    ]
    assert found.questions[1].utterances[0].duration == pytest.approx(0.3)
    results = score([Answers(found, {"model": [Reply("A dog.", "stop"), Reply("Two cats.", "stop")]})])
    assert results["accuracy"]["mine"]["model"] == 0.5


def test_columns_are_named_and_the_ceiling_reads_what_others_tell(folder):
    rows = [{"clip": f"clips/{k}.wav", "who": 20 + k, "said": "hello", "sex": "male", "loud": 0.5} for k in range(2)]
    found = task(
        folder,
        rows,
        prompt="How old?",
        audio="clip",
        answer="who",
        metric="pearson",
        text="said",
        language="de",
        attributes={"gender": "sex", "loudness": "loud"},
        system="Listen.",
        version="2",
    )
    question = found.questions[1]
    assert (question.prompt.text, question.truth, found.metric, found.version) == ("How old?", "21", "pearson", "2")
    clip = question.utterances[0]
    assert (clip.text, clip.language, clip.attributes) == ("hello", "de", {"gender": "male", "loudness": 0.5})
    assert "Gender: Male" in question.read(None)[-1]["content"][0]["text"]


def test_the_ceiling_is_told_the_columns_named_whatever_other_tasks_ask_for(folder):
    rows = [row | {"mood": "happy", "sex": "male"} for row in ROWS]
    mine = task(folder, rows, name="emotion", answer="mood", attributes={"emotion": "mood", "gender": "sex"})
    assert told_attributes([mine], EvaluationConfig()) == ("gender", "emotion")
    aged = mine.questions[0].utterances[0].model_copy(update={"attributes": {"age": "adult"}})
    asked = attribute_task("age", [aged], Prompt(id="1", kind="age", text="How old?"))
    other = task(folder, rows, answer="mood", attributes={"loudness": "sex"})
    assert told_attributes([asked, other], EvaluationConfig()) == ("age", "loudness")
    assert told_attributes([other], EvaluationConfig()) is None


def test_rows_are_called_by_their_id_even_where_it_is_nought(folder):
    found = task(folder, [row | {"id": number} for number, row in enumerate(ROWS)])
    assert [q.id for q in found.questions] == ["0", "1"]
    assert [q.id for q in task(folder, [row | {"id": ""} for row in ROWS]).questions] == ["1", "2"]


def test_choices_are_those_of_all_rows_or_of_each(folder):
    found = task(folder, ROWS, choices=["a dog.", "a cat."])
    assert found.questions[0].prompt.text == "What barks?"
    assert found.questions[0].truth == "a dog."
    rows = [row | {"options": ["A dog.", "A cat."]} for row in ROWS]
    rows[1]["question"] = "Is it a dog or a cat?"
    found = task(folder, rows, choices="options")
    assert [q.prompt.text for q in found.questions] == [
        "What barks?\n(a) A dog.\n(b) A cat.",
        "Is it a dog or a cat?",
    ]
    assert found.extract(found.questions[1], "(b)") == "A cat."


def test_answers_may_be_objects_where_slots_are_counted(folder):
    rows = [row | {"answer": {"drink": "tea"}} for row in ROWS]
    assert task(folder, rows, metric="slot_f1").questions[0].truth == '{"drink": "tea"}'
    with pytest.raises(SpeechLLMError, match="is neither text nor a number"):
        task(folder, rows)


def sound(hertz):
    held = io.BytesIO()
    soundfile.write(held, tone(0.2, hertz), 16_000, format="wav")
    return {"bytes": held.getvalue(), "path": None}


@pytest.fixture
def dataset(folder, monkeypatch):
    """A folder of Parquet with two splits, sound in the rows and numbered classes."""
    monkeypatch.setenv("SPEECHLLM_CACHE", str(folder / "cache"))
    features = datasets.Features(
        {
            "clip": datasets.Audio(),
            "label": datasets.ClassLabel(names=["sad", "happy"]),
            "options": datasets.List(datasets.Value("string")),
        }
    )
    for split in ("train", "test"):
        path = folder / "speech" / "data" / f"{split}-00000-of-00001.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        plain = [{"clip": sound(200 + k), "label": k, "options": ["sad", "happy"]} for k in range(2)]
        datasets.Dataset.from_list(plain).cast(features).to_parquet(path)
    return folder


def test_a_dataset_is_read_as_the_recipe_reads_it(dataset):
    asked = {"rows": "speech", "audio": "clip", "answer": "label", "choices": "options", "prompt": "Sad or happy?"}
    found = task(dataset, split="test", **asked)
    assert [(q.truth, q.choices) for q in found.questions] == [("sad", ("sad", "happy")), ("happy", ("sad", "happy"))]
    path = found.questions[1].utterances[0].audio
    assert path.startswith(str(dataset / "cache" / "rows"))
    assert (soundfile.read(path)[0] == soundfile.read(io.BytesIO(sound(201)["bytes"]))[0]).all()
    with pytest.raises(SpeechLLMError, match="speech: split: has train, test; say which one"):
        task(dataset, **asked)
    with pytest.raises(SpeechLLMError, match="speech: has no split 'tset'; did you mean 'test'"):
        task(dataset, split="tset", **asked)
    with pytest.raises(
        SpeechLLMError, match=r"speech: test: row 0: answer: has no column 'lable'; did you mean 'label'"
    ):
        task(dataset, split="test", **(asked | {"answer": "lable"}))


def test_a_folder_of_audio_with_a_table_beside_is_a_dataset(folder):
    told = [{"file_name": f"{k}.wav", "question": "What?", "answer": f"it is {k}"} for k in range(2)]
    (folder / "clips" / "metadata.jsonl").write_text("\n".join(map(json.dumps, told)))
    found = task(folder, rows="clips")
    assert sorted(q.truth for q in found.questions) == ["it is 0", "it is 1"]
    assert all(q.utterances[0].duration > 0 for q in found.questions)


def test_a_dataset_that_cannot_be_loaded_is_named(folder):
    (folder / "empty").mkdir()
    with pytest.raises(SpeechLLMError, match=r"empty: cannot be loaded .*check its name and configuration"):
        task(folder, rows="empty")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"audio": "clips/9.wav"}, r"rows\.jsonl:2: audio: .*9\.wav"),
        ({"audio": 3}, r"rows\.jsonl:2: audio: the column 'audio' holds 3, which is no audio"),
        ({"audio": None}, r"rows\.jsonl:2: audio: the column 'audio' is empty here"),
        ({"question": ["x"]}, r"rows\.jsonl:2: question: the column 'question' holds \['x'\], where text"),
        ({"answer": None}, r"rows\.jsonl:2: answer: the column 'answer' is empty here; fill it, or drop the row"),
        ({"answer": True}, r"rows\.jsonl:2: answer: True is neither text nor a number"),
    ],
)
def test_what_is_wrong_in_a_row_is_named_with_file_line_and_key(folder, change, message):
    with pytest.raises(SpeechLLMError, match=message):
        task(folder, [ROWS[0], ROWS[1] | change])


@pytest.mark.parametrize(
    ("rows", "told", "message"),
    [
        (ROWS, {"answer": "anwser"}, r"rows\.jsonl:1: answer: has no column 'anwser'; did you mean 'answer'"),
        (ROWS, {"choices": "options"}, r"rows\.jsonl:1: choices: has no column 'options'"),
        (ROWS, {"choices": "said"}, r"rows\.jsonl:1: choices: the column 'said' holds 'woof', where a list"),
        (ROWS, {"choices": ["A dog."]}, r"rows\.jsonl:2: answer: 'A cat\.' is none of the choices \(A dog\.\)"),
        (ROWS, {"metric": "pearson"}, r"rows\.jsonl:1: answer: 'A dog\.' is no number"),
        (ROWS, {"attributes": {"gender": "sex"}}, r"rows\.jsonl:1: attributes\.gender: has no column 'sex'"),
        (ROWS, {"prompt": "What?", "question": "question"}, r"mine\.toml: gives both prompt"),
        (ROWS, {"colour": "x"}, r"mine\.toml: unknown key 'colour'"),
        (ROWS, {"manifest": "m.jsonl"}, r"mine\.toml: unknown key 'manifest'"),
        (ROWS, {"split": "test"}, r"rows\.jsonl: is a JSON-lines file, which has neither config nor split"),
        (ROWS, {"rows": "rose.jsonl"}, r"rose\.jsonl: cannot be read"),
        ([], {}, r"mine\.toml: rows: rows\.jsonl holds no rows"),
        (["[1]"], {}, r"rows\.jsonl:1: is no JSON object"),
        ([ROWS[0], "{"], {}, r"rows\.jsonl:2: cannot be read as JSON"),
    ],
)
def test_what_is_wrong_in_the_file_is_named(folder, rows, told, message):
    with pytest.raises(SpeechLLMError, match=message):
        task(folder, rows, **told)


def test_a_label_that_is_no_number_is_refused_before_anything_is_asked(corpus, tmp_path):
    told = f'name = "mine"\nmanifest = "{corpus.manifest}"\nprompt = "Hz?"\nlabel = "pitch"\nmetric = "pearson"\n'
    (tmp_path / "mine.toml").write_text(told)
    with pytest.raises(SpeechLLMError, match=r"mine\.toml: label: pitch of 'tone-0': 'low' is no number"):
        find_tasks([str(tmp_path / "mine.toml")], None)


def test_a_correlation_is_of_numbers_alone(folder):
    rows = [{"audio": "clips/0.wav", "question": "How old?", "answer": k} for k in (1, 2, 3, 4, 5)]
    found = task(folder, rows, metric="pearson")
    said = [Reply(text, "stop") for text in ("2", "4", "6", "8", "nan")]
    scores = score([Answers(found, {"model": said})])["tasks"]["mine"]["systems"]["model"]
    assert (scores["value"], scores["na_rate"]) == (pytest.approx(1.0), pytest.approx(0.2))
    for answer in ("NaN", '"inf"'):
        line = json.dumps(rows[0]).replace('"answer": 1', f'"answer": {answer}')
        with pytest.raises(SpeechLLMError, match="is no number, of which the metric pearson is"):
            task(folder, [line], metric="pearson")


def test_two_tasks_of_one_name_are_refused(folder, corpus):
    for name in ("a", "b"):
        told = f'name = "pitch"\nrows = "rows.jsonl"\nprompt = "{name}?"\n'
        (folder / f"{name}.toml").write_text(told)
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    first, second = (str(folder / f"{name}.toml") for name in ("a", "b"))
    with pytest.raises(SpeechLLMError, match=r"b\.toml: name: another task is called 'pitch', too"):
        find_tasks([first, second], None)
    assert len(find_tasks([first, first], None)) == 1
    with pytest.raises(SpeechLLMError, match="there is a task 'pitch' in --tasks, too"):
        asked_for([first], None, corpus.manifest)
