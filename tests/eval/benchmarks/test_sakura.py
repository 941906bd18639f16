"""SAKURA: responses, judgements, and what the rule-based judge makes of responses."""

import json

import pytest

from speechllm.errors import SpeechLLMError
from speechllm.eval.benchmarks.benchmark import Inputs
from speechllm.eval.benchmarks.sakura import SAKURA
from speechllm.eval.judges import LlmJudge, RuleJudge
from speechllm.models.reply import Reply

ASKED = "What does the speaker feel? (a) fear (b) anger"


def _file(folder, name, results, **header):
    path = folder / name
    path.write_text(json.dumps({**header, "results": results}, indent=1))
    return path


def _responses(*responses):
    return {
        f"data/Emotion/audio/{k}.wav": {"instruction": ASKED, "response": response, "label": " (b) anger"}
        for k, response in enumerate(responses)
    }


def test_rule_based_judge(tmp_path):
    single = _responses("(b) anger", "Anger.", "fear or anger", "", "joy")
    multi = _responses("b", "(a)")
    paths = [
        _file(tmp_path, "m1.json", single, attribute="emotion", type="single"),
        _file(tmp_path, "m2.json", multi, attribute="emotion", type="multi"),
    ]
    scored = SAKURA.score(Inputs(paths, judge=RuleJudge()))
    assert scored.metrics == {
        "single": {"Emotion": 40.0, "Average": 40.0},
        "multi": {"Emotion": 50.0, "Average": 50.0},
    }
    assert scored.judge == RuleJudge.name
    assert "no file of Gender, multi hop" in scored.notes


def test_files_of_one_name_are_not_one_item(tmp_path):
    answer = {"instruction": ASKED, "response": "b", "label": "(b) anger"}
    path = _file(tmp_path, "m1.json", {"a/1.wav": answer, "b/1.wav": answer}, attribute="emotion", type="single")
    with pytest.raises(SpeechLLMError, match=r"m1\.json:\d+: b/1\.wav has the same file name as .*m1\.json:\d+"):
        SAKURA.score(Inputs([path], judge=RuleJudge()))


def test_stored_judgements_and_what_is_neither(tmp_path):
    rows = _responses("x", "y", "z")
    for row, judgement in zip(rows.values(), [" Correct ", "incorrect", "partly correct"]):
        row |= {"Explanation": "so", "Judgement": judgement, "model_response": row.pop("response")}
    scored = SAKURA.score(Inputs([_file(tmp_path, "Emotion_single_judgements.json", rows, judge_model="m")]))
    assert [v.verdict for v in scored.verdicts] == ["right", "wrong", "unparsable"]
    assert (scored.metrics["single"], scored.metrics["multi"]) == (
        {"Emotion": 33.33, "Average": 33.33},
        {"Average": None},
    )
    assert scored.judge == "stored in the response files"


def test_an_llm_judge_is_parsed_strictly(tmp_path):
    said = ["Explanation: it is\nJudgement: correct", "Explanation: no\nJudgement: Incorrect\n\nBye", "correct", ""]

    def replier(conversations, sampling, description="replies"):
        assert ASKED in conversations[0][-1]["content"]
        return [Reply(text, "stop") for text in said]

    path = _file(tmp_path, "Emotion_single.json", _responses("1", "2", "3", "{4}"))
    scored = SAKURA.score(Inputs([path], judge=LlmJudge(replier, "an LLM")))
    assert [v.verdict for v in scored.verdicts] == ["right", "wrong", "unparsable", "unparsable"]


def test_without_a_judge_nothing_is_claimed(tmp_path):
    path = _file(tmp_path, "Emotion_single.json", _responses("(b) anger"))
    scored = SAKURA.score(Inputs([path]))
    assert scored.verdicts[0].verdict == "not judged"
    assert scored.metrics["single"] == {"Emotion": None, "Average": None}


def test_questions_show_what_is_missing(tmp_path):
    folder = tmp_path / "Emotion"
    folder.mkdir()
    asked = {"single_instruction": ASKED, "single_answer": "(b) anger", "multi_instruction": "?", "multi_answer": "x"}
    (folder / "metadata.json").write_text(json.dumps({f"data/Emotion/audio/{k}.wav": asked for k in range(2)}))
    (tmp_path / "single.json").write_text(json.dumps({"1.wav": {"response": "anger"}}))
    path = tmp_path / "Emotion_single.json"
    path.write_text(json.dumps({"1.wav": {"response": "anger"}}))
    scored = SAKURA.score(Inputs([path], [folder / "metadata.json"], RuleJudge()))
    assert [(v.id, v.verdict) for v in scored.verdicts] == [
        ("Emotion single 0.wav", "missing"),
        ("Emotion single 1.wav", "right"),
    ]
    assert scored.metrics["single"]["Emotion"] == 50.0


def test_a_file_has_to_tell_its_hop(tmp_path):
    with pytest.raises(SpeechLLMError, match="neither its `type` nor its name tells single from multi"):
        SAKURA.score(Inputs([_file(tmp_path, "Emotion.json", _responses("x"))]))
