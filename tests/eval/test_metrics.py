"""Metrics of texts, by hand-computed values."""

import json
import math

import pytest

from speechllm.data.json_file import write_json
from speechllm.data.manifest import read_manifest
from speechllm.data.prompts import built_in_prompts
from speechllm.errors import SpeechLLMError
from speechllm.eval.asking import SYSTEMS
from speechllm.eval.comparison_report import write_comparison
from speechllm.eval.hearing import Answers, score
from speechllm.eval.metrics import slot_f1, translation, word_error
from speechllm.eval.sources import read_task
from speechllm.eval.table import print_table
from speechllm.eval.tasks import attribute_task
from speechllm.models.reply import Reply
from tests.eval.test_report import Page


def test_word_errors_are_told_by_language():
    references = ["red green blue white", "rot gelb", "你好吗"]
    said = ["red green blue", "rot rosa", "你好"]
    found = word_error(references, said, ["en", "de", "zh"])
    assert found["value"] == pytest.approx(3 / 9)  # words of English and German, characters of Mandarin
    rates = {language: told["value"] for language, told in found["by_language"].items()}
    assert rates == pytest.approx({"de": 1 / 2, "en": 1 / 4, "zh": 1 / 3})
    assert found["by_language"]["de"]["n"] == 1
    assert "by_language" not in word_error(references[:2], said[:2], ["en", "en"])


def test_there_is_no_error_rate_without_a_word_to_get_wrong():
    assert word_error(["!?", "?"], ["a", ""], ["en", "en"]) == {"value": None, "interval": None, "n": 2}
    found = word_error(["!?", "rot gelb"], ["a", "rot"], ["en", "de"])
    assert found["value"] == 0.5
    assert found["by_language"]["en"] == {"value": None, "interval": None, "n": 1}
    assert found["by_language"]["de"]["value"] == 0.5


def test_numbers_that_json_cannot_hold_become_null_and_are_named(tmp_path, capsys):
    path = tmp_path / "results.json"
    write_json({"gap": {"kl": math.nan, "n": 3}, "rates": [0.5, math.inf, 2], "x": None}, path)
    assert json.loads(path.read_text()) == {"gap": {"kl": None, "n": 3}, "rates": [0.5, None, 2], "x": None}
    said = " ".join(capsys.readouterr().err.split())
    assert "gap.kl, rates.1: not a finite number, written as null" in said
    write_json({"many": [math.nan] * 7}, path)
    assert "many.4 and 2 more" in " ".join(capsys.readouterr().err.split())
    write_json({"fine": 1.0}, path)
    assert capsys.readouterr().err == ""


def test_translations_are_scored_by_sacrebleu():
    references = ["The cat sat on the mat today.", "It rains in the north again."]
    assert translation(references, references, "bleu")["value"] == pytest.approx(1.0)
    found = translation(references, ["The cat sat on the mat today.", "Snow."], "bleu")
    # Of the first sentence all is right, of the second the stop: 9 of 10 words, 7 of 8 pairs, all 6 and 5 longer ones.
    # 10 words for 15 cost exp(1 - 15/10).
    assert found["value"] == pytest.approx(((9 / 10) * (7 / 8)) ** 0.25 * math.exp(1 - 15 / 10), abs=1e-3)
    assert found["interval"][0] <= found["value"] <= found["interval"][1]
    assert "13a" in found["signature"]
    assert translation(["abc"], ["abc"], "chrf")["value"] == pytest.approx(1.0)
    assert translation(["abc"], ["xyz"], "chrf") | {"signature": ""} == {
        "value": 0.0,
        "interval": None,
        "n": 1,
        "signature": "",
    }


def test_slots_are_scored_as_pairs():
    references = ['{"city": "Ulm", "day": "Monday"}', '{"city": "Bonn"}']
    replies = ['```json\n{"City": "ulm ", "day": "Friday"}\n```', "Bonn"]
    found = slot_f1(references, replies)
    assert found["value"] == pytest.approx(2 * 1 / (3 + 2))  # one of three is found, one of two is right
    assert found["answered"] == 0.5
    assert slot_f1(references, references)["value"] == 1.0
    assert slot_f1(["{}"], ["none"])["value"] == 0.0


@pytest.mark.parametrize(
    ("metric", "reply", "value"),
    [
        ("bleu", "I would like a small cup of tea.", 1.0),
        ("chrf", "I would like a small cup of tea.", 1.0),
        ("slot_f1", "tea", 0.0),
    ],
)
def test_a_task_of_the_users_names_its_metric(metric, reply, value, corpus, tmp_path, capsys):
    truth = '{"drink": "tea"}' if metric == "slot_f1" else "I would like a small cup of tea."
    rows = [json.loads(line) for line in corpus.manifest.read_text().splitlines()]
    for row in rows:
        row["audio"] = str(corpus.manifest.parent / row["audio"])
        row["attributes"]["wanted"] = truth
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    told = f'name = "mine"\nmanifest = "m.jsonl"\nprompt = "Say it."\nlabel = "wanted"\nmetric = "{metric}"\n'
    (tmp_path / "mine.toml").write_text(told)
    task = read_task(tmp_path / "mine.toml")
    results = score([Answers(task, dict.fromkeys(SYSTEMS, [Reply(reply, "stop")] * len(task.questions)))])
    assert results["tasks"]["mine"]["systems"]["model"]["value"] == pytest.approx(value)
    print_table(results)
    assert f"model {value:.3f}" in capsys.readouterr().out


def test_a_metric_that_is_none_is_refused_with_those_there_are(tmp_path):
    (tmp_path / "mine.toml").write_text(
        'name = "mine"\nmanifest = "m.jsonl"\nprompt = "Say it."\nlabel = "wanted"\nmetric = "blue"\n'
    )
    with pytest.raises(SpeechLLMError, match=r"metric: .*'bleu'.*'blue'"):
        read_task(tmp_path / "mine.toml")


def test_a_task_without_words_is_scored_and_shown_with_a_dash(corpus, tmp_path, capsys):
    rows = [json.loads(line) | {"text": "!?"} for line in corpus.manifest.read_text().splitlines()]
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = attribute_task("transcribe", read_manifest(tmp_path / "m.jsonl"), built_in_prompts(["transcribe"])[0])
    results = score([Answers(task, dict.fromkeys(SYSTEMS, [Reply("word", "stop")] * len(task.questions)))])
    assert results["wer"] is None
    print_table(results)
    (tmp_path / "run").mkdir()
    write_json(results, tmp_path / "run" / "results.json")
    page, markdown, _ = write_comparison([tmp_path / "run"], tmp_path / "r.html")
    assert "wer | **–**; ceiling –, cascade –" in markdown.read_text()
    assert "nan" not in (Page(page).text + capsys.readouterr().out).lower()
