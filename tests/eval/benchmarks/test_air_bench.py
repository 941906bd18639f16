"""AIR-Bench foundation: where the option letter is looked for, and what is left out of the official accuracy."""

import json

import pytest

from speechllm.errors import SpeechLLMError
from speechllm.eval.benchmarks.air_bench import AIR_BENCH, letter
from speechllm.eval.benchmarks.benchmark import Inputs


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        ("A", "A"),
        ("B.", "B"),
        (" C. rain\n", "C"),
        ("The answer is D.", "D"),
        ("The answer is:\n(B)", "B"),
        ("The answer is D", None),  # the last but one is a space
        ("A dog barks", "A"),  # an article counts
        ("Dogs bark", "D"),
        ("It barks", None),
        ("**B**", None),
        ("b.", None),  # capitals only
        ("A or B", "A"),  # several options named
        ("1B!", "B"),
        ("Ａ", None),  # a full-width letter
        ("\\nB.", "B"),  # a literal \n is in the way of the first character, not of the last but one
        ("\\nB", None),
        ("None", None),
        ("", None),
        (" \n", None),
        ("E", None),
    ],
)
def test_the_letter(response, expected):
    assert letter(response) == expected


def _row(number, **fields):
    row = {"path": f"{number}.wav", "question": "What?", "choice_a": "rain", "choice_b": "wind", "answer_gt": "wind"}
    return {**row, "choice_c": None, "task_name": "Sound", "dataset_name": "Own", **fields}


def _scored(folder, rows, *questions):
    path = folder / "responses.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return AIR_BENCH.score(Inputs([path], questions))


def test_metrics(tmp_path):
    rows = [
        _row(0, response="B"),
        _row(1, response="A"),
        _row(2, response="wind"),
        _row(3, response=None),
        _row(4, response="A.", answer_gt="rain", task_name="Music"),
    ]
    scored = _scored(tmp_path, rows)
    assert scored.metrics == {
        "acc": {"Sound_Own": 50.0, "Music_Own": 100.0},
        "acc, failures wrong": {"Sound_Own": 25.0, "Music_Own": 100.0},
        "total acc, failures wrong": 40.0,
        "total_sum": 3,
        "fail_num": 2,
    }
    assert [v.verdict for v in scored.verdicts] == ["right", "wrong", "unparsable", "missing", "right"]


def test_questions_apart(tmp_path):
    questions = tmp_path / "Foundation_meta.json"
    questions.write_text(json.dumps([_row(0), _row(1)]))
    scored = _scored(tmp_path, [_row(1, response="B.")], questions)
    assert [v.verdict for v in scored.verdicts] == ["missing", "right"]


def test_an_answer_that_is_no_choice_is_an_error(tmp_path):
    with pytest.raises(SpeechLLMError, match=r"responses\.jsonl:1: the answer 'snow' is none of the choices"):
        _scored(tmp_path, [_row(0, response="A", answer_gt="snow")])
