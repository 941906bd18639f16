"""The course of a training run in the report: curves, what validation measured, and what was said."""

import json

import pytest

from speechllm.cli import main
from speechllm.errors import SpeechLLMError
from speechllm.eval.learning import curve_panels, read_log, validations
from tests.eval.test_report import Page


def entries(kept):
    """Two stages of four steps; after every second step of the latter it is validated."""
    log = []
    for stage, objective in enumerate(["embedding_alignment", "cross_entropy"]):
        for step in range(1, 5):
            loss = 2.0 / (step + 4 * stage)
            log.append({"stage": stage, "step": step, "objective": objective, "loss": loss, "learning_rate": 1e-3})
            if stage and step % 2 == 0:
                found = {
                    "loss": loss + 0.1,
                    "kl": loss / 2,
                    "samples": [{"id": "a<b", "wanted": "He.", "reply": "She."}],
                }
                if kept:
                    found["text"] = {"n": 16, "identical_replies": 16 - step, "kl": 0.1}
                log.append({"stage": stage, "step": step, "objective": objective, "validation": found})
    return log


def write(folder, log):
    folder.mkdir(parents=True)
    (folder / "log.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in log), encoding="utf-8")
    return folder


def test_validations_are_counted_over_all_stages():
    rows = validations(entries(kept=True))
    assert [(row["stage"], row["step"], row["at"]) for row in rows] == [(1, 2, 6), (1, 4, 8)]
    assert [row["kept"] for row in rows] == [14 / 16, 12 / 16]
    assert [row["kept"] for row in validations(entries(kept=False))] == [None, None]
    assert rows[1]["loss"] == pytest.approx(0.35)


def test_a_panel_a_stage_and_two_of_validation():
    names = [panel["name"] for panel in curve_panels(entries(kept=True))]
    assert [name.partition(". ")[0] for name in names] == ["1", "2", "Held out", "What is left of the text LLM"]
    assert len(curve_panels(entries(kept=False))) == 3
    kept = curve_panels(entries(kept=True))[3]
    assert "88\xa0% at first, 75\xa0% at last" in kept["note"]


def test_runs_of_training_are_shown_beside_evaluations_or_alone(tmp_path, capsys):
    runs = [write(tmp_path / name / "out", entries(kept=name == "one")) for name in ("one", "two")]
    out = tmp_path / "report.html"
    assert main(["report", *map(str, runs), "--out", str(out)]) == 0
    page = Page(out)
    assert page.open == []
    assert len(page.all("svg")) == 4 + 3
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    assert "one/out: 2. Self-output" in page.text
    assert "a<b" in page.text
    assert "She." in page.text
    told = json.loads(out.with_suffix(".json").read_text(encoding="utf-8"))["training"]
    assert [row["kl"] for row in told[0]["validations"]] == pytest.approx([1 / 6, 0.125])
    assert "| 2 | 4 | 0.3500 | 0.1250 | 75 % |" in out.with_suffix(".md").read_text(encoding="utf-8")


def test_a_log_under_way_is_read_and_a_damaged_one_named(tmp_path):
    folder = write(tmp_path / "run", entries(kept=False))
    with (folder / "log.jsonl").open("a", encoding="utf-8") as out:
        out.write('{"stage": 1, "st')
    assert len(read_log(folder)) == len(entries(kept=False))
    with (folder / "log.jsonl").open("a", encoding="utf-8") as out:
        out.write("\n{}\n")
    with pytest.raises(SpeechLLMError, match=r"log\.jsonl:11: is no JSON object"):
        read_log(folder)
