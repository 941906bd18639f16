"""From the command line to the files that a scoring leaves behind."""

import json

import pytest

from speechllm.cli import main
from speechllm.eval.benchmarks.registry import BENCHMARKS

ROWS = [
    {"id": "1", "answer": "yes", "choices": ["yes", "no"], "task": "sound", "model_prediction": "Yes."},
    {"id": "2", "answer": "yes", "choices": ["yes", "no"], "task": "sound"},
]


@pytest.fixture
def responses(tmp_path):
    path = tmp_path / "responses.json"
    path.write_text(json.dumps(ROWS))
    return path


def test_score_prints_one_object_and_writes_it(responses, tmp_path, capsys):
    assert main(["score", "mmau", str(responses), "--out", str(tmp_path / "out")]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((tmp_path / "out/scores.json").read_text())
    assert printed["metrics"]["Task-wise Accuracy"] == {"sound": 50.0}
    assert (printed["items"], printed["missing"], printed["judge"]) == (2, 1, None)
    rows = [json.loads(line) for line in (tmp_path / "out/rows.jsonl").read_text().splitlines()]
    assert [(row["id"], row["verdict"]) for row in rows] == [("1", "right"), ("2", "missing")]
    assert all(row["reason"] for row in rows)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["mmao", "r.json"], "there is no benchmark 'mmao'; did you mean"),
        (["zzz", "r.json"], "known: " + ", ".join(sorted(BENCHMARKS))),
        (["mmau", "r.json", "--judge", "rules"], "mmau is scored by rules alone"),
        (["sakura", "r.json", "--reference", "s.json"], "sakura compares with nothing"),
        (["mmau"], "give at least one file of responses"),
        (["mmau", "nowhere.json"], "nowhere.json: cannot be read"),
        (["mmau", "r.json", "--judge", "rules", "--server", "http://localhost:1"], "needs no server"),
    ],
)
def test_bad_input_ends_in_one_line(tmp_path, capsys, arguments, said):
    assert main(["score", *arguments, "--out", str(tmp_path / "out")]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_half_characters_in_keys_end_no_scoring(tmp_path, capsys):
    rows = {"k\ud800": {**ROWS[0], "task": "so\udc00", "\udfff": {"\ud800": 1}}, "fine": ROWS[0]}
    (tmp_path / "responses.json").write_text(json.dumps(rows))
    assert main(["score", "mmau", str(tmp_path / "responses.json"), "--out", str(tmp_path / "out")]) == 0
    assert json.loads(capsys.readouterr().out)["metrics"]["Task-wise Accuracy"] == {"so\ufffd": 100.0, "sound": 100.0}
    lines = (tmp_path / "out/rows.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["id"] for line in lines] == ["k\ufffd", "fine"]


def test_a_correlation_that_is_no_number_is_written_as_null_and_named(tmp_path, capsys):
    asked = {"instruction": "How old?"}
    rows = {f"{k}.wav": {**asked, "label": label, "sllm_response": f"{k}"} for k, label in enumerate(["1", "nan", "3"])}
    (tmp_path / "Age_X.json").write_text(json.dumps(rows))
    (tmp_path / "instance.json").write_text(json.dumps({"name": "Age_X", "metrics": ["pearson"]}))
    files = [str(tmp_path / "Age_X.json"), "--questions", str(tmp_path / "instance.json")]
    asked = ["score", "dynamic_superb_phase2", *files, "--judge", "rules", "--out", str(tmp_path / "out")]
    assert main(asked) == 0
    said = capsys.readouterr()
    printed, written = said.out, (tmp_path / "out/scores.json").read_text()
    for text in (printed, written):
        found = json.loads(text, parse_constant=lambda name: pytest.fail(name))
        assert found["metrics"]["regression"]["Age_X"]["value"] is None
    assert "Age_X.value: not a finite number, written as null" in " ".join(said.err.split())
