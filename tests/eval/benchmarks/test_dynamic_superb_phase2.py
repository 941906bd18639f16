"""Dynamic-SUPERB phase 2: classification, values with their N/A rate, and what is left out."""

import json

import pytest

from speechllm.errors import SpeechLLMError
from speechllm.eval.benchmarks.benchmark import Inputs
from speechllm.eval.benchmarks.dynamic_superb_phase2 import DYNAMIC_SUPERB_PHASE2
from speechllm.eval.benchmarks.measures import bleu, character_error_rate, measure_of, pearson, word_error_rate
from speechllm.eval.judges import LlmJudge, RuleJudge
from speechllm.models.reply import Reply


def _file(folder, name, rows):
    path = folder / f"{name}.json"
    asked = "Which? The answer could be happy or sad."
    path.write_text(
        json.dumps(
            {f"{k}.wav": {"instruction": asked, "label": a, "sllm_response": r} for k, (a, r) in enumerate(rows)}
        )
    )
    return path


def _instance(folder, name, metric):
    path = folder / f"instance-{name}.json"
    path.write_text(json.dumps({"name": name, "metrics": [metric], "version": "1"}))
    return path


class Says:
    def __init__(self, *texts):
        self.texts = texts
        self.asked = []

    def __call__(self, conversations, sampling, description="replies"):
        self.asked += [messages[-1]["content"] for messages in conversations]
        return [Reply(text, "stop") for text in self.texts]


def test_classification_is_judged(tmp_path):
    path = _file(tmp_path, "Emotion_X", [("happy", "glad"), ("happy", "sad"), ("sad", "?"), ("sad", None)])
    llm = Says("It fits.\nRESULT: Yes", "Result:\nNO", "Yes, it is.", "Result: YES")
    scored = DYNAMIC_SUPERB_PHASE2.score(
        Inputs([path], [_instance(tmp_path, "Emotion_X", "llm_classification")], LlmJudge(llm, "an LLM"))
    )
    assert [v.verdict for v in scored.verdicts] == ["right", "wrong", "unparsable", "missing"]
    assert scored.metrics == {"classification": {"Emotion_X": 25.0}, "regression": {}}
    assert (scored.judge, scored.notes) == ("an LLM", [])
    assert all(part in llm.asked[0] for part in ("Which?", "happy", "glad"))


def test_classification_by_rule(tmp_path):
    path = _file(tmp_path, "Emotion_X", [("happy", "Happy!"), ("happy", "happy or sad")])
    scored = DYNAMIC_SUPERB_PHASE2.score(Inputs([path], judge=RuleJudge()))
    assert scored.metrics["classification"] == {"Emotion_X": 50.0}
    assert "taken as classification" in scored.notes[0]


def test_values_are_extracted_and_measured(tmp_path):
    rows = [(1.0, "about 2"), ("2", "maybe 4.0"), (3, "6 it is"), (4, "none"), (5, "1 or 2"), (6, None)]
    path = _file(tmp_path, "Age_X", rows)
    instance = _instance(tmp_path, "Age_X", "pearsonr")
    scored = DYNAMIC_SUPERB_PHASE2.score(Inputs([path], [instance], RuleJudge()))
    assert [v.verdict for v in scored.verdicts] == ["measured"] * 3 + ["n/a", "n/a", "missing"]
    assert scored.metrics["regression"] == {"Age_X": {"metric": "pearsonr", "value": 1.0, "N/A rate": 50.0}}
    llm = Says("2", "4", "six", "N/A", "nan", "7")
    scored = DYNAMIC_SUPERB_PHASE2.score(Inputs([path], [instance], LlmJudge(llm, "an LLM")))
    assert [v.verdict for v in scored.verdicts] == ["measured"] * 2 + ["n/a"] * 3 + ["missing"]


@pytest.mark.parametrize(("metric", "value"), [("wer", 33.33), ("CER", 14.29), ("sacrebleu", 0.0)])
def test_texts_are_measured(tmp_path, metric, value):
    path = _file(tmp_path, "Speech_X", [("a cat", "a bat"), ("dog?", ""), ("is", "is")])
    scored = DYNAMIC_SUPERB_PHASE2.score(Inputs([path], [_instance(tmp_path, "Speech_X", metric)], RuleJudge()))
    assert scored.metrics["regression"] == {"Speech_X": {"metric": metric, "value": value, "N/A rate": 33.33}}


def test_without_a_judge_nothing_is_claimed(tmp_path):
    paths = [_file(tmp_path, name, [("1", "1")]) for name in ("A_X", "B_X")]
    scored = DYNAMIC_SUPERB_PHASE2.score(Inputs(paths, [_instance(tmp_path, "B_X", "wer")]))
    assert scored.metrics["classification"] == {"A_X": None}
    assert scored.metrics["regression"]["B_X"] == {"metric": "wer", "value": None, "N/A rate": None}
    assert [v.verdict for v in scored.verdicts] == ["not judged"] * 2


def test_metrics_without_a_known_rule_are_left_out_and_named(tmp_path):
    path = _file(tmp_path, "Diarization_X", [("1", "1")])
    scored = DYNAMIC_SUPERB_PHASE2.score(Inputs([path], [_instance(tmp_path, "Diarization_X", "der")], RuleJudge()))
    assert scored.verdicts == []
    assert "the rule of its metric 'der' is not known here" in scored.notes[0]
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(SpeechLLMError, match=r"bad\.json: is no instance\.json"):
        DYNAMIC_SUPERB_PHASE2.score(Inputs([path], [tmp_path / "bad.json"]))


@pytest.mark.parametrize(
    ("name", "measure"),
    [
        *((name, "wer") for name in ("wer", "WER", "word_error_rate", "Word Error Rate")),
        *((name, "cer") for name in ("cer", "character error rate")),
        *((name, "bleu") for name in ("bleu", "sacrebleu", "SacreBLEU")),
        *((name, "pearson") for name in ("pearson", "pearsonr", "PCC", "Pearson correlation coefficient")),
        *((name, "classification") for name in ("accuracy", "Accuracy", "llm_classification", "LLM classification")),
        *(
            (name, None)
            for name in ("bleurt", "swer", "power", "lower", "cered", "pearsonish", "inaccuracy", "der", "")
        ),
    ],
)
def test_metrics_go_by_their_whole_names(name, measure):
    assert measure_of(name) == measure


@pytest.mark.parametrize("metric", ["bleurt", "swer", "power", "balanced accuracy"])
def test_a_name_within_which_a_known_one_stands_is_left_out_and_named(tmp_path, metric):
    path = _file(tmp_path, "Other_X", [("1", "1")])
    scored = DYNAMIC_SUPERB_PHASE2.score(Inputs([path], [_instance(tmp_path, "Other_X", metric)], RuleJudge()))
    assert (scored.verdicts, scored.metrics) == ([], {"classification": {}, "regression": {}})
    assert scored.notes == [f"Other_X: the rule of its metric {metric!r} is not known here; left out"]


def test_measures():
    assert pearson(["1", "2", "3"], ["3", "2", "1"]) == -1.0
    assert pearson(["1", "1"], ["1", "2"]) is None
    assert pearson(["1"], ["1"]) is None
    with pytest.raises(SpeechLLMError, match="of numbers"):
        pearson(["one", "2"], ["1", "2"])
    assert word_error_rate(["a b c d", "e"], ["a b x d", "e"]) == 20.0
    assert word_error_rate([], []) is None
    assert character_error_rate(["abcd"], ["abxd"]) == 25.0
    assert bleu(["the cat sat on the mat today"], ["the cat sat on the mat today"]) == 100.0
