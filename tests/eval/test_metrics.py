"""Metrics of texts, by hand-computed values."""

import json
import math

import pytest

from speechllm.errors import SpeechLLMError
from speechllm.eval.asking import SYSTEMS
from speechllm.eval.hearing import Answers, score
from speechllm.eval.metrics import slot_f1, translation, word_error
from speechllm.eval.sources import read_task
from speechllm.eval.table import print_table
from speechllm.models.reply import Reply


def test_word_errors_are_told_by_language():
    references = ["red green blue white", "rot gelb", "你好吗"]
    said = ["red green blue", "rot rosa", "你好"]
    found = word_error(references, said, ["en", "de", "zh"])
    assert found["value"] == pytest.approx(3 / 9)  # words of English and German, characters of Mandarin
    rates = {language: told["value"] for language, told in found["by_language"].items()}
    assert rates == pytest.approx({"de": 1 / 2, "en": 1 / 4, "zh": 1 / 3})
    assert found["by_language"]["de"]["n"] == 1
    assert "by_language" not in word_error(references[:2], said[:2], ["en", "en"])
    assert math.isnan(word_error(["!?"], ["a"], ["en"])["value"])


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
