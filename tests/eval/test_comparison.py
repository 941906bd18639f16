import copy
import json
import re

import numpy as np
import pytest

from speechllm.cli import main
from speechllm.errors import SpeechLLMError
from speechllm.eval.comparison import FEW, MOST_LABELS, compare
from speechllm.eval.comparison_report import write_comparison
from speechllm.eval.metrics import accuracy
from speechllm.eval.runs import read_runs
from tests.eval.test_report import EVIL, Page, poisoned, tone

TRUTHS = ["female", "male"] * 6
SAID = ["female", "male", "male", None] * 3


def folder(path, audio, shift=0.0):
    """An evaluation folder as `speechllm eval` writes it: two tasks of accuracy, of which one has replies."""
    (path / "responses").mkdir(parents=True)
    scores = {**accuracy(TRUTHS, SAID)}
    systems = {"model": scores, "ceiling": {"value": 1.0, "interval": [0.8, 1.0]}, "cascade": {"value": 0.25}}
    told = {"metric": "accuracy", "version": "1", "rule": "one value", "n": 12, "systems": systems, "chance": 0.5}
    row = {"model": scores["value"], "ceiling": 1.0, "cascade": 0.25, "chance": 0.5, "n": 12}
    results = {
        "tasks": {"own.gender": told},
        "accuracy": {"own.gender": row, "own.age": {**row, "model": 0.3}},
        "mean_accuracy": {"model": 0.4 + shift, "ceiling": 1.0, "chance": 0.5},
        "text_retention": {"identical_replies": 16, "n": 16},
        "json_retention": {"model": {"valid": 0.9 - shift}, "note": "text"},
        "seconds": {"train": 3.0},
    }
    lines = [
        {"id": f"clip-{i}", "task": "own.gender", "prompt": "Which?", "label": t, "audio": [str(audio)],
         "response": f"Reply {i}."}
        for i, t in enumerate(TRUTHS)
    ]  # fmt: skip
    rows = "".join(json.dumps(line) + "\n" for line in lines)
    (path / "responses" / "own.gender.model.jsonl").write_text(rows)
    save(path, results, {"own.gender": {"model": SAID}})
    return path


def save(path, results=None, answers=None):
    for name, value in (("results.json", results), ("answers.json", answers)):
        if value is not None:
            (path / name).write_text(json.dumps(value))


@pytest.fixture
def folders(tmp_path):
    audio = tone(tmp_path)
    return [folder(tmp_path / name, audio, shift) for name, shift in (("a", 0.0), ("b", 0.1), ("c", 0.2))]


def test_values_stand_under_their_runs(folders):
    found = compare(read_runs(folders))
    assert found["runs"] == ["a", "b", "c"]
    retention = {row["name"]: row["values"] for row in found["retention"]}
    assert retention["json_retention.model.valid"] == pytest.approx([0.9, 0.8, 0.7])
    assert retention["text_retention.identical_replies"] == [16, 16, 16]
    assert not [name for name in retention if name.startswith("seconds")]
    assert found["groups"][0]["group"] == "own"
    assert found["groups"][0]["runs"][0]["model"] == pytest.approx((0.5 + 0.3) / 2)
    assert found["confusion"][0]["counts"] == [[3, 3, 0], [0, 3, 3]]


def test_a_task_that_one_run_lacks_is_shown_as_not_asked(folders):
    results = json.loads((folders[1] / "results.json").read_text())
    results["tasks"]["other"] = results["tasks"].pop("own.gender")
    (folders[1] / "answers.json").unlink()
    save(folders[1], results)
    rows = {row["task"]: row["runs"] for row in compare(read_runs(folders))["tasks"]}
    assert [cell is None for cell in rows["own.gender"]] == [False, True, False]
    assert [cell is None for cell in rows["other"]] == [True, False, True]
    page, markdown, _ = write_comparison(folders, folders[0].parent / "r.html")
    assert Page(page).text.count("not asked") == 4  # the last against the first run
    assert markdown.read_text().count("not asked") == 4


def test_examples_are_judged_by_the_stored_answers(folders):
    examples = compare(read_runs(folders[:1]))["examples"]
    assert [(e["id"], e["verdict"]) for e in examples] == [
        ("clip-0", "right"), ("clip-1", "right"), ("clip-4", "right"),
        ("clip-2", "wrong"), ("clip-6", "wrong"), ("clip-10", "wrong"),
        ("clip-3", "no answer"), ("clip-7", "no answer"), ("clip-11", "no answer"),
    ]  # fmt: skip
    assert len(examples) == 3 * FEW


def test_answers_that_do_not_fit_the_replies_are_refused(folders):
    save(folders[0], answers={"own.gender": {"model": SAID[:-1]}})
    with pytest.raises(SpeechLLMError, match=r"answers\.json: own\.gender: does not fit own\.gender\.model\.jsonl"):
        compare(read_runs(folders[:1]))


def test_a_torn_reply_file_is_named_and_left_alone(folders):
    path = folders[0] / "responses" / "own.gender.model.jsonl"
    path.write_text(path.read_text()[:-20])
    before = path.read_bytes()
    with pytest.raises(SpeechLLMError, match=r"own\.gender\.model\.jsonl: holds no replies"):
        compare(read_runs(folders[:1]))
    assert path.read_bytes() == before


def test_a_matrix_of_too_many_answers_is_left_out(folders):
    results = json.loads((folders[0] / "results.json").read_text())
    many = [str(i) for i in range(MOST_LABELS + 1)]
    results["tasks"]["own.gender"]["systems"]["model"] |= accuracy(many, many)
    save(folders[0], results)
    assert [told["run"] for told in compare(read_runs(folders))["confusion"]] == ["b", "c"]


def test_runs_of_one_name_are_told_apart(tmp_path):
    audio = tone(tmp_path)
    paths = [folder(tmp_path / name / "eval", audio) for name in ("one", "two")]
    assert [run.name for run in read_runs(paths)] == ["one/eval", "two/eval"]
    with pytest.raises(SpeechLLMError, match="named twice"):
        read_runs([paths[0], paths[0]])


def test_page_is_whole_and_needs_nothing_else(folders, capsys):
    out = folders[0].parent / "new" / "r.html"
    assert main(["report", *map(str, folders), "--out", str(out)]) == 0
    assert capsys.readouterr().out.split() == [str(out.with_suffix(s)) for s in (".html", ".md", ".json")]
    page = Page(out)
    assert page.open == []
    assert not re.search(r"https?:|file:|@import", page.source)
    assert len(page.all("audio")) == 3 * 3 * FEW
    assert all(audio["src"].startswith("data:audio/flac") for audio in page.all("audio"))
    assert len(page.all("svg")) == 1 + 1 + 2  # a group; mean accuracy; identical replies, valid JSON
    text = page.text.replace("\xa0", " ")
    for said in (
        "50.0 % 25 % to 75 %",
        "ceiling 100 %",
        "cascade 25 %",
        "chance 50 %",
        "n 12",
        "✓ right",
        "✗ no answer",
    ):
        assert said in text
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    assert json.loads(out.with_suffix(".json").read_text()) == compare(read_runs(folders))


def test_fewer_than_three_runs_have_no_course(folders):
    page = Page(write_comparison(folders[:2], folders[0].parent / "r.html")[0])
    assert "Learning against forgetting" not in page.text
    assert len(page.all("svg")) == 1


def test_what_was_measured_once_has_no_course(folders):
    """A lone point was drawn as a figure."""
    for path in folders[1:]:
        results = json.loads((path / "results.json").read_text())
        del results["json_retention"]
        save(path, results)
    page = Page(write_comparison(folders, folders[0].parent / "r.html")[0])
    assert len(page.all("svg")) == 1 + 1 + 1  # a group; mean accuracy; identical replies


def test_markdown_tables_have_as_many_cells_as_headings(folders):
    evil = "a | b\nc <script>"
    rows = [json.loads(line) for line in (folders[0] / "responses/own.gender.model.jsonl").read_text().splitlines()]
    lines = "".join(json.dumps({**row, "response": evil}) + "\n" for row in rows)
    (folders[0] / "responses/own.gender.model.jsonl").write_text(lines)
    text = write_comparison(folders, folders[0].parent / "r.html")[1].read_text()
    assert "<script>" not in text
    tables = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert len(tables) == 3 + 3 + 1
    for table in tables:
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(widths) == 1
        assert len(table.splitlines()) > 2


def test_every_text_is_escaped(folders):
    results = json.loads((folders[0] / "results.json").read_text())
    name = "own" + EVIL.replace("/", "")
    told = poisoned(copy.deepcopy(results["tasks"]["own.gender"]))
    told["metric"] = "accuracy"
    results["tasks"] = {name: told}
    results["text_retention"][EVIL] = 1
    (folders[0] / "answers.json").unlink()
    save(folders[0], results)
    page = Page(write_comparison(folders, folders[0].parent / "r.html")[0])
    assert page.open == []
    assert not page.all("script")
    assert not [key for _, attributes in page.tags for key in attributes if key.startswith("on")]
    assert "<script>alert(1)</script>" in page.text


def test_a_run_without_answers_says_so(folders):
    (folders[1] / "answers.json").unlink()
    page, markdown, _ = write_comparison(folders, folders[0].parent / "r.html")
    assert f"No examples of {folders[1].name}: there is no answers.json" in Page(page).text
    assert markdown.read_text().count("No examples of") == 1


def test_a_word_error_rate_and_a_missing_correlation_are_shown(folders):
    results = json.loads((folders[0] / "results.json").read_text())
    told = {"version": "1", "rule": "", "n": 3}
    results["tasks"]["read"] = {**told, "metric": "wer", "systems": {"model": {"value": 0.125, "interval": None}}}
    results["tasks"]["r"] = {**told, "metric": "pearson", "systems": {"model": {"value": None, "interval": None}}}
    save(folders[0], results)
    rows = write_comparison(folders, folders[0].parent / "r.html")[1].read_text().replace("\xa0", " ")
    assert "| read | wer | **12.5 %**; ceiling –, cascade –" in rows
    assert "| r | pearson | **–**;" in rows


@pytest.mark.parametrize(
    ("content", "said"), [(None, "does not exist"), ("{", "cannot be read"), ("[]", "no JSON object"), ("{}", "tasks:")]
)
def test_a_folder_without_an_evaluation_is_named(tmp_path, content, said):
    if content is not None:
        (tmp_path / "results.json").write_text(content)
    with pytest.raises(SpeechLLMError, match=said) as caught:
        read_runs([tmp_path])
    assert str(tmp_path / "results.json") in str(caught.value)


def test_out_is_a_page(folders):
    with pytest.raises(SpeechLLMError, match=r"r\.pdf: --out is the HTML page"):
        write_comparison(folders, folders[0].parent / "r.pdf")


def test_numbers_that_are_none_stay_out(folders):
    results = json.loads((folders[0] / "results.json").read_text())
    results["gap"] = {"kl": float("nan"), "prompts": {"gender": 0.25}}
    save(folders[0], results)
    retention = {row["name"]: row["values"] for row in compare(read_runs(folders))["retention"]}
    assert retention["gap.prompts.gender"] == [0.25, None, None]
    assert "gap.kl" not in retention
    assert np.isfinite([v for values in retention.values() for v in values if v is not None]).all()


def test_the_gap_is_shown_by_kind_and_not_by_every_prompt(folders):
    row = {"kl": 0.25, "tokens": 9}
    groups = {"by_prompt": {"Who?": row}, "by_attribute": {"pitch": {"low": row}}}
    groups |= {"by_kind": {"gender": row}, "by_strategy": {"gold": row}}
    for path in folders:
        save(path, json.loads((path / "results.json").read_text()) | {"gap": row | groups})
    retention = {row["name"]: row["values"] for row in compare(read_runs(folders))["retention"]}
    names = [name for name in retention if name.startswith("gap")]
    assert names == ["gap.kl", "gap.tokens", "gap.by_strategy.gold", "gap.by_kind.gender"]
    assert retention["gap.by_kind.gender"] == [0.25] * 3
    page = Page(write_comparison(folders, folders[0].parent / "r.html")[0])
    assert "gap: by kind: gender" in page.text
    assert len(page.all("svg")) == 1 + 1 + 2 + 1  # and the gap over all
