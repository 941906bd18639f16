"""Benchmarks with a scorer of their own, from `speechllm eval` to the report."""

import json

import pytest

from speechllm.config import EvaluationConfig
from speechllm.eval.comparison_report import write_comparison
from speechllm.eval.evaluation import evaluate
from speechllm.eval.official_table import official_remarks, official_rows, print_official
from speechllm.eval.sources import find_tasks
from speechllm.export import write_checkpoint
from tests.eval.test_phase2_folder import folder as phase2  # noqa: F401 - a fixture
from tests.eval.test_speech_ifeval_folder import folder as ifeval  # noqa: F401 - a fixture
from tests.eval.test_speech_ifeval_folder import own_cache  # noqa: F401 - a fixture

CONFIG = EvaluationConfig(max_new_tokens=3, retention="none", device="cpu", dtype="float32", judge="rules")


@pytest.fixture
def evaluated(model, processor, tmp_path, ifeval, phase2):  # noqa: F811
    checkpoint = write_checkpoint(model, processor, tmp_path / "checkpoint")
    tasks = [*find_tasks(["speech_ifeval"], ifeval), *find_tasks(["dynamic_superb_phase2"], phase2)]
    return tmp_path / "out", evaluate(str(checkpoint), tasks, tmp_path / "out", CONFIG).results


def test_an_evaluation_holds_official_scores_of_all_systems_and_the_report_shows_them(evaluated, tmp_path, capsys):
    out, results = evaluated
    assert json.loads((out / "results.json").read_text())["benchmarks"] == results["benchmarks"]
    rows = official_rows(results)
    assert set(rows["speech_ifeval"]["Closed-ended"]) == {"model", "ceiling", "cascade", "nothing"}
    assert rows["speech_ifeval"]["CoT"]["model"] is None  # no rule decides it
    assert rows["dynamic_superb_phase2"]["classification.Emotion_X"]["model"] is not None
    assert "speech_ifeval.chain-of-thought" not in results["tasks"]
    remarks = official_remarks(results)
    assert "2 of 6 rows need a judge (--judge)" in remarks["speech_ifeval"]
    assert any("of 6 responses were cut short; raise --max-new-tokens" in r for r in remarks["speech_ifeval"])
    page, markdown, _ = write_comparison([out], tmp_path / "r.html")
    for text in (page.read_text(), markdown.read_text()):
        assert "By the benchmarks" in text
        assert "classification.Emotion_X" in text
        assert "2 of 6 rows need a judge" in text
    print_official(results)
    shown = capsys.readouterr().out
    assert "speech_ifeval, by its own rules" in shown
    assert "IFrate" in shown


def test_a_run_of_judged_tasks_alone_can_be_reported(model, processor, tmp_path, phase2):  # noqa: F811
    checkpoint = write_checkpoint(model, processor, tmp_path / "checkpoint")
    tasks = find_tasks(["dynamic_superb_phase2.Age_X"], phase2)
    results = evaluate(str(checkpoint), tasks, tmp_path / "out", CONFIG).results
    assert results["tasks"] == {}
    _, markdown, _ = write_comparison([tmp_path / "out"], tmp_path / "r.html")
    assert "regression.Age_X.N/A rate" in markdown.read_text()


def test_a_benchmark_that_waits_for_a_judge_says_so_and_shows_no_empty_table(tmp_path, capsys):
    told = {"metrics": {"single": {"Emotion": None}}, "items": 4, "not_judged": 4, "judge": None, "notes": []}
    results = {"benchmarks": {"sakura": {"model": told}}}
    assert official_rows(results) == {"sakura": {}}
    print_official(results)
    shown = capsys.readouterr().out
    assert "4 of 4 rows need a judge (--judge)" in shown
    assert "single.Emotion" not in shown
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "results.json").write_text(json.dumps(results))
    (tmp_path / "out" / "answers.json").write_text("{}")
    page, markdown, _ = write_comparison([tmp_path / "out"], tmp_path / "r.html")
    for text in (page.read_text(), markdown.read_text()):
        assert "4 of 4 rows need a judge" in text
        assert "A cell: model, then" not in text
