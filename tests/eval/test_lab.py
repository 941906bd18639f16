"""Reading an experiment of several arms from its evaluations, and the page about it."""

import json
from pathlib import Path
from typing import Any

import pytest

from speechllm.errors import SpeechLLMError
from speechllm.eval.lab import Ceiling, arm_rows, examples, read_courses, spread, task_rows
from speechllm.eval.lab_report import markdown, write_lab_report


def results(skill: float, form: float, same: int) -> dict[str, Any]:
    return {
        "mean_accuracy": {"model": skill, "ceiling": 0.9, "chance": 0.5},
        "accuracy": {"gender": {"model": skill, "ceiling": 0.9, "chance": 0.5, "n": 8}},
        "json_retention": {"model": {"found": form, "right": form / 4}, "ceiling": {"found": 0.8, "right": 0.6}},
        "instruction_following": {"model": {"followed": form / 2}, "ceiling": {"followed": 0.5}},
        "text_retention": {
            "identical_replies": same,
            "n": 16,
            "kl": 0.25,
            "json_rate": {"model": form, "untouched": 0.7},
            "refusal_rate": {"model": 0.1, "untouched": 0.2},
        },
        "gap": {"kl": 0.5},
    }


def write_run(out: Path, arm: str, seed: int, told: dict[str, dict[str, Any]]) -> Path:
    run = out / arm / f"seed-{seed}"
    for checkpoint, values in told.items():
        folder = run / "eval" / checkpoint
        (folder / "responses").mkdir(parents=True)
        (folder / "results.json").write_text(json.dumps(values), encoding="utf-8")
        row = {"prompt": "Who speaks?", "label": "female", "response": f"reply of <{checkpoint}>"}
        (folder / "responses" / "gender.model.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    (run / "config.json").write_text(
        json.dumps({"stages": [{"steps": 300, "batch_size": 8}, {"steps": 40, "batch_size": 4}]}), encoding="utf-8"
    )
    steps = [{"stage": k, "loss": 1.0, "examples_per_second": 2.0} for k in (0, 1)]
    log = [*steps, {"stage": 1, "validation": {"loss": 1.0}}]
    (run / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in log), encoding="utf-8")
    return run


@pytest.fixture
def laboratory(tmp_path) -> Path:
    early, late = "stage-0-step-000290", "stage-1-step-000010"
    write_run(
        tmp_path, "sft", 0, {late: results(0.6, 0.4, 8), early: results(0.5, 0.8, 16), "checkpoint": results(0.8, 0, 4)}
    )
    write_run(tmp_path, "sft", 1, {early: results(0.5, 0.8, 16), "checkpoint": results(0.6, 0.2, 8)})
    write_run(tmp_path, "self_output", 0, {early: results(0.5, 0.8, 16), "checkpoint": results(0.7, 0.75, 16)})
    return tmp_path


def test_points_stand_at_their_steps_in_the_order_of_training(laboratory):
    courses, ceiling = read_courses(laboratory)
    assert ceiling == Ceiling(0.9, 0.8, 0.5, {"gender": 0.9}, {"json_rate": 0.7, "refusal_rate": 0.2}, 0.6)
    assert [(course.arm, course.seed) for course in courses] == [("self_output", 0), ("sft", 0), ("sft", 1)]
    assert [point.step for point in courses[1].points] == [290, 310, 340]
    assert [point.skill for point in courses[1].points] == [0.5, 0.6, 0.8]
    assert [point.json for point in courses[1].points] == [0.8, 0.4, 0]
    assert [point.changed for point in courses[1].points] == [0, 0.5, 0.75]


def test_a_run_that_goes_on_from_another_begins_where_that_ended(laboratory):
    write_run(laboratory, "warmup", 1, {"checkpoint": results(0.4, 0.9, 16)})
    run = write_run(laboratory, "lora", 1, {"checkpoint": results(0.7, 0.3, 4)})
    told = json.loads((run / "config.json").read_text(encoding="utf-8"))
    told["model"] = {"start": "somewhere/else/warmup/seed-1/checkpoint"}
    (run / "config.json").write_text(json.dumps(told), encoding="utf-8")
    courses = {(course.arm, course.seed): course for course in read_courses(laboratory)[0]}
    assert [(point.step, point.skill) for point in courses["lora", 1].points] == [(340, 0.4), (680, 0.7)]
    assert [point.step for point in courses["warmup", 1].points] == [340]
    (example,) = examples(courses["lora", 1])
    assert [step for step, _ in example["replies"]] == [340, 680]


def test_a_row_is_the_end_of_training_over_the_seeds(laboratory):
    rows = arm_rows(*read_courses(laboratory))
    assert [(row["arm"], row["seeds"]) for row in rows[1:]] == [("self_output", "1"), ("sft", "2")]
    assert rows[0]["accuracy"] == "90 %"
    assert rows[2] == {
        "arm": "sft",
        "seeds": "2",
        "accuracy": "70 % ± 14",
        "JSON under audio": "10 % ± 14",
        "right in JSON": "2 % ± 4",
        "rules under audio": "5 % ± 7",
        "of the ceiling's JSON": "12 % ± 18",
        "of its rules": "10 % ± 14",
        "text replies changed": "62 % ± 18",
        "KL on text": "0.250",
        "JSON on text": "10 % ± 14",
        "refusals on text": "10 % ± 0",
        "perplexity": "–",
        "speech-text gap": "0.500",
        "seconds of training": "6",
    }
    assert (rows[0]["JSON on text"], rows[0]["refusals on text"]) == ("70 %", "20 %")
    assert markdown(rows).splitlines()[4].startswith("| sft | 2 | 70 % ± 14 |")


def test_what_was_not_measured_is_a_dash():
    assert spread([None, None]) == "–"
    assert spread([None, 0.5]) == "50 %"


def test_the_same_question_is_shown_at_each_checkpoint(laboratory):
    courses, _ = read_courses(laboratory)
    (example,) = examples(courses[1])
    assert example["label"] == "female"
    assert [step for step, _ in example["replies"]] == [290, 310, 340]
    assert example["replies"][-1][1] == "reply of <checkpoint>"


def test_the_page_shows_every_arm_and_escapes_replies(laboratory):
    page, table, *_ = write_lab_report(laboratory)
    text = page.read_text(encoding="utf-8")
    assert text.count("<svg") == 2
    assert "reply of &lt;checkpoint&gt;" in text
    assert "<checkpoint>" not in text
    assert len(table.read_text(encoding="utf-8").splitlines()) == 2 * (2 + 3) + 1


def test_the_figures_show_what_was_measured(laboratory):
    before = [path.read_bytes() for path in write_lab_report(laboratory)[2:]]
    again = [path.read_bytes() for path in write_lab_report(laboratory)[2:]]
    assert len(before) == 2
    assert again == before
    changed = laboratory / "sft" / "seed-0" / "eval" / "stage-1-step-000010" / "results.json"
    changed.write_text(json.dumps(results(0.7, 0.6, 8)), encoding="utf-8")  # neither axis ends there
    after = [path.read_bytes() for path in write_lab_report(laboratory)[2:]]
    assert all(a != b for a, b in zip(before, after, strict=True))


def test_a_folder_without_evaluations_says_what_to_do(tmp_path):
    with pytest.raises(SpeechLLMError, match="lab run"):
        read_courses(tmp_path)


def test_a_broken_file_is_named(laboratory):
    broken = laboratory / "sft" / "seed-0" / "eval" / "checkpoint" / "results.json"
    broken.write_text("{", encoding="utf-8")
    with pytest.raises(SpeechLLMError, match=r"sft/seed-0/eval/checkpoint/results\.json.*delete it"):
        read_courses(laboratory)


def test_accuracy_is_told_by_task_too(laboratory):
    assert task_rows(*read_courses(laboratory)) == [
        {"arm": "untouched LLM, true description", "gender": "90 %"},
        {"arm": "self_output", "gender": "70 %"},
        {"arm": "sft", "gender": "70 % ± 14"},
    ]
    page, table, *_ = write_lab_report(laboratory)
    assert "| sft | 70 % ± 14 |" in table.read_text(encoding="utf-8")
    assert "Accuracy by task" in page.read_text(encoding="utf-8")
