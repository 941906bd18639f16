"""Later runs against the first on the same questions, by numbers computed by hand."""

import json

import pytest

from speechllm.eval.comparison import compare
from speechllm.eval.comparison_report import write_comparison
from speechllm.eval.runs import read_runs
from tests.eval.test_comparison import SAID, folder, save
from tests.eval.test_report import Page, tone

BETTER = ["female", "male", "female", None, *SAID[4:8], "female", "male", "female", "male"]
"""Right where SAID is, and at the third, the eleventh and the twelfth, too."""


@pytest.fixture
def folders(tmp_path):
    audio = tone(tmp_path)
    return [folder(tmp_path / name, audio) for name in ("first", "later")]


def cell(folders):
    (row,) = compare(read_runs(folders))["against_first"]
    assert row["task"] == "own.gender"
    return row["runs"][0]


def rewrite(path, change):
    """Replies with their lines changed; `change` may put them in another order."""
    file = path / "responses" / "own.gender.model.jsonl"
    rows = change([json.loads(line) for line in file.read_text().splitlines()])
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_difference_and_p_value(folders):
    assert cell(folders) == {"difference": 0.0, "p_value": 1.0, "n": 12}
    save(folders[1], answers={"own.gender": {"model": BETTER}})
    # Three questions changed, all for the better: 2 * (1/2)^3.
    assert cell(folders) == {"difference": pytest.approx(3 / 12), "p_value": pytest.approx(0.25), "n": 12}
    assert cell(folders[::-1])["difference"] == pytest.approx(-3 / 12)
    page, markdown, _ = write_comparison(folders, folders[0].parent / "r.html")
    assert "Against first" in Page(page).text
    assert "+25.0 points p = 0.25, n 12" in " ".join(Page(page).text.split())
    assert "| own.gender | **+25.0 points**, p = 0.25, n 12 |" in markdown.read_text()
    write_comparison(folders[::-1], folders[0].parent / "r.html")
    assert "**−25.0 points**" in markdown.read_text()


def test_the_same_questions_in_another_order_are_paired(folders):
    rewrite(folders[1], lambda rows: rows[::-1])
    save(folders[1], answers={"own.gender": {"model": BETTER[::-1]}})
    assert cell(folders)["difference"] == pytest.approx(3 / 12)


@pytest.mark.parametrize("key", ["id", "prompt", "label"])
def test_other_questions_are_said_to_be_others(folders, key):
    rewrite(folders[1], lambda rows: [{**rows[0], key: "another"}, *rows[1:]])
    assert cell(folders) == {"reason": "other questions: 11 of 12 are the same"}
    for path in write_comparison(folders, folders[0].parent / "r.html"):
        assert "other questions: 11 of 12 are the same" in path.read_text()


def test_runs_that_cannot_be_paired_say_why(folders):
    results = json.loads((folders[1] / "results.json").read_text())
    results["tasks"]["own.gender"]["version"] = "2"
    save(folders[1], results)
    assert cell(folders) == {"reason": "another version of the task, 2"}
    (folders[1] / "answers.json").unlink()
    assert cell(folders) == {"reason": "its folder does not tell the replies"}
    del results["tasks"]["own.gender"]
    results["tasks"]["other"] = {"metric": "wer", "systems": {}}
    save(folders[1], results)
    assert cell(folders) is None
    assert compare(read_runs(folders[:1]))["against_first"] == []


def in_forms(path):
    """The same replies again as two tasks of JSON."""
    results, answers = (json.loads((path / name).read_text()) for name in ("results.json", "answers.json"))
    text = (path / "responses" / "own.gender.model.jsonl").read_text()
    for name in ("json.own.gender.answer", "json.own.gender.two_keys"):
        results["tasks"][name], answers[name] = results["tasks"]["own.gender"], answers["own.gender"]
        (path / "responses" / f"{name}.model.jsonl").write_text(text.replace("own.gender", name))
    save(path, results, answers)


def test_tasks_in_forms_are_compared_together_and_folded_away(folders):
    for path in folders:
        in_forms(path)
    told = json.loads((folders[1] / "answers.json").read_text())
    save(folders[1], answers=told | {"json.own.gender.two_keys": {"model": BETTER}})
    rows = {row["task"]: row["runs"][0] for row in compare(read_runs(folders))["against_first"]}
    assert rows["own.gender"]["n"] == 12
    assert rows["answers in JSON"] == {"difference": pytest.approx(3 / 24), "p_value": pytest.approx(0.25), "n": 24}
    page, markdown, _ = write_comparison(folders, folders[0].parent / "r.html")
    assert "| json.own.gender.answer | accuracy |" not in markdown.read_text()
    folded = page.read_text().partition("<details><summary>The open questions in forms")[2].partition("</details>")[0]
    assert "json.own.gender.answer" in folded
    assert "own.gender" in page.read_text().partition("<details>")[0]
