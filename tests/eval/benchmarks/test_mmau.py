"""MMAU's and MMAR's rule, on rows that exercise its edges."""

import json

import pytest

from speechllm.errors import SpeechLLMError
from speechllm.eval.benchmarks.benchmark import Inputs
from speechllm.eval.benchmarks.mmau import MMAR, MMAU, match

PETS = ["A dog", "A cat", "Two cats"]


@pytest.mark.parametrize(
    ("answer", "response", "choices", "right"),
    [
        ("A dog", "A dog", PETS, True),
        ("A dog", "**a DOG**!", PETS, True),
        ("A dog", "dog", PETS, False),  # "a" is missing, although every choice but one has it
        ("A dog", "It is a dog, not a cat.", PETS, False),  # several options named
        ("A dog", "a dog or cats", PETS, False),
        ("A dog", "", PETS, False),
        ("A dog", " .!? ", PETS, False),  # no word at all
        ("A dog", "a dogs", PETS, False),  # whole words only
        ("A dog", "Sure:\\nA dog", PETS, False),  # a literal \n sticks to the next word: "na"
        ("The dog", "The correct answer is: The dog", ["The dog", "The correct one"], False),  # the prefix counts
        ("3", "There are 3 beeps", ["3", "2"], True),
        ("3", "There are ３ beeps", ["3", "2"], False),  # a full-width digit is another word
        ("3", "three", ["3", "2"], False),
        ("Straße", "STRASSE", ["Straße", "Weg"], False),  # lower(), not casefold()
        ("É", "é", ["É", "e"], True),
        ("snake_case", "snake_case", ["snake_case", "snake case"], True),  # _ is part of a word
        ("yes", "yes", ["YES", "no"], True),  # a choice with the answer's words is not wrong
        ("", "anything", ["", "no"], True),  # an answer without words is in any response
    ],
)
def test_the_token_set_rule(answer, response, choices, right):
    assert match(answer, response, choices)[0] is right


def test_reasons_name_the_words():
    assert match("A dog", "a fish", PETS)[1] == "lacks 'dog'"
    assert match("A dog", "a dog and cats two", PETS)[1] == "has 'cats', 'two' of a wrong choice"


def _row(name, **fields):
    row = {"id": name, "answer": "A dog", "choices": PETS, "task": "sound", "difficulty": "easy", "sub-category": "x"}
    return row | fields


def _written(path, rows):
    path.write_text(json.dumps(rows))
    return path


def test_metrics_have_official_names_and_missing_rows_count(tmp_path):
    rows = [
        _row("1", model_output="The answer: a dog", model_prediction="a dog", task="speech"),
        _row("2", model_output="A cat"),
        _row("3"),
        _row("4", model_output="a dog", difficulty="hard"),
    ]
    scored = MMAU.score(Inputs([_written(tmp_path / "r.json", rows)]))
    assert scored.metrics == {
        "Task-wise Accuracy": {"speech": 100.0, "sound": 33.33},
        "Difficulty-wise Accuracy": {"easy": 33.33, "hard": 100.0},
        "Sub-category-wise Accuracy": {"x": 50.0},
        "Total Accuracy": 50.0,
        "No prediction count": 1,
    }
    assert [v.verdict for v in scored.verdicts] == ["right", "wrong", "missing", "right"]
    assert "passes over" in scored.notes[0]


def test_questions_in_a_file_of_their_own_show_what_is_missing(tmp_path):
    questions = _written(tmp_path / "q.json", [_row("1"), _row("2")])
    answers = tmp_path / "r.json"
    answers.write_text('{\n"2": "a dog"\n}')
    scored = MMAU.score(Inputs([answers], [questions]))
    assert [(v.id, v.verdict) for v in scored.verdicts] == [("1", "missing"), ("2", "right")]
    answers.write_text('{\n"2": "a dog",\n"7": "a dog"\n}')
    scored = MMAU.score(Inputs([answers], [questions]))
    assert [v.id for v in scored.verdicts] == ["1", "2"]
    assert f"left out: {answers}:3" in scored.notes[0]
    answers.write_text('{\n"7": "a dog"\n}')
    with pytest.raises(SpeechLLMError, match=r"r\.json:2: neither this response nor any other"):
        MMAU.score(Inputs([answers], [questions]))


def test_a_row_without_its_answer_is_an_error(tmp_path):
    row = _row("1", model_prediction="a dog")
    del row["answer"]
    with pytest.raises(SpeechLLMError, match=r"r\.json:1: 'answer' should be str or int or float and is missing"):
        MMAU.score(Inputs([_written(tmp_path / "r.json", [row])]))


def test_mmar_reads_its_own_fields(tmp_path):
    row = {"id": "1", "answer": "A dog", "choices": PETS, "modality": "mix-sound-speech", "category": "Signal Layer"}
    rows = [row | {"answer_prediction": "A dog"}, row | {"id": "2", "answer_prediction": "A cat"}]
    scored = MMAR.score(Inputs([_written(tmp_path / "r.json", rows)]))
    assert scored.metrics["Modality-wise Accuracy"] == {"mix-sound-speech": 50.0}
    assert scored.metrics["Category-wise Accuracy"] == {"Signal Layer": 50.0}
    assert scored.metrics["Sub-category-wise Accuracy"] == {}
