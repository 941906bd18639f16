"""Speech-IFEval: the five departures from IFEval, the three parts and what a judge adds."""

import json

import pytest

from speechllm.errors import SpeechLLMError
from speechllm.eval.benchmarks.benchmark import Inputs
from speechllm.eval.benchmarks.checkers import Instructions, load_checkers
from speechllm.eval.benchmarks.departures import DEPARTURES, speech_checkers
from speechllm.eval.benchmarks.responses import Row
from speechllm.eval.benchmarks.speech_ifeval import SPEECH_IFEVAL
from speechllm.eval.judges import LlmJudge, RuleJudge
from speechllm.models.reply import Reply

BULLETS, PARAGRAPHS = "detectable_format:number_bullet_lists", "length_constraints:number_paragraphs"
REPEAT, UPPER, LOWER = "combination:repeat_prompt", "change_case:english_capital", "change_case:english_lowercase"

CASES = [
    # instruction, its arguments, response, Speech-IFEval, IFEval
    (BULLETS, {"num_bullets": 2}, "* one\n- two", 1, 1),
    (BULLETS, {"num_bullets": 2}, "* one\\n* two", 1, 0),  # a literal \n
    (BULLETS, {"num_bullets": 2}, "• one\n  • two", 1, 0),
    (BULLETS, {"num_bullets": 2}, "1. one\n2) two", 1, 0),
    (BULLETS, {"num_bullets": 2}, "１ one\n٢ two", 1, 0),  # digits of other scripts
    (BULLETS, {"num_bullets": 2}, "In 2020:\n- one\n- two", 1, 1),
    (BULLETS, {"num_bullets": 2}, "2020 was:\n- one\n- two", 0, 1),  # a first line that begins with a digit counts
    (BULLETS, {"num_bullets": 1}, "** bold **", 0, 0),
    (PARAGRAPHS, {"num_paragraphs": 2}, "one\ntwo", 1, 0),
    (PARAGRAPHS, {"num_paragraphs": 2}, "one\n\n\ntwo\n", 1, 0),
    (PARAGRAPHS, {"num_paragraphs": 2}, "one\n***\ntwo", 1, 1),
    (PARAGRAPHS, {"num_paragraphs": 2}, "***\none\n***\ntwo\n***", 1, 1),
    (PARAGRAPHS, {"num_paragraphs": 2}, "one *** *** two", 0, 0),
    (PARAGRAPHS, {"num_paragraphs": 2}, "one\\ntwo", 0, 0),  # the literal \n helps bullets alone
    (PARAGRAPHS, {"num_paragraphs": 1}, "one", 1, 1),
    (REPEAT, {"prompt_to_repeat": "Why?"}, ' "Why?" Because.', 1, 0),
    (REPEAT, {"prompt_to_repeat": "Why?"}, "'\"why? Because.\"'", 1, 0),
    (REPEAT, {"prompt_to_repeat": "Why?"}, '" Why? Because."', 0, 0),  # quotes go after the spaces outside them
    (REPEAT, {"prompt_to_repeat": "Why?"}, "“Why?” Because.", 0, 0),
    (UPPER, {}, "DIES IST EIN DEUTSCHER SATZ UND SONST NICHTS.", 1, 0),
    (UPPER, {}, "THIS IS AN ENGLISH SENTENCE.", 1, 1),
    (UPPER, {}, "12345", 0, 0),
    (LOWER, {}, "dies ist ein deutscher satz und sonst nichts.", 1, 0),
    (LOWER, {}, "ÉTÉ", 0, 0),
    ("detectable_format:json_format", {}, "```json\n[1]\n```", 1, 1),
    ("startend:quotation", {}, '"in quotes" ', 1, 1),
    ("detectable_format:title", {}, "<<a>>", 1, 1),
]


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("SPEECHLLM_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.mark.parametrize(("name", "kwargs", "response", "speech", "text"), CASES)
def test_departures(name, kwargs, response, speech, text):
    row = Row({"instruction_id_list": [name], "kwargs": [kwargs]}, "q:1")
    assert Instructions(row, speech_checkers()).strict(response) == [bool(speech)]
    assert Instructions(row, load_checkers()).strict(response) == [bool(text)]


def test_every_departure_shows():
    assert {name for name, _, _, speech, text in CASES if speech != text} == set(DEPARTURES)


def _row(number, metric, response=None, names=(), **fields):
    row = {"audio_filepath": f"{number}.wav", "instruction": "Say it.", "metric": metric, **fields}
    if metric != "cot":
        row |= {"id": number, "instruction_id_list": list(names), "kwargs": [{}] * len(names)}
    return row | ({} if response is None else {"response": response})


CLOSED = [_row(0, "wer", "HELLO", [UPPER]), _row(1, "accuracy", "Happy", [UPPER])]
CREATIVE = [_row(2, "open", "<<a>>", ["detectable_format:title"])]
THOUGHT = [_row(k, "cot", f"answer {k}") for k in (3, 4, 5)]


def _files(folder, *parts):
    paths = [folder / f"{k}.jsonl" for k in range(len(parts))]
    for path, rows in zip(paths, parts):
        path.write_text("\n".join(map(json.dumps, rows)))
    return paths


def test_rates_and_groups(tmp_path):
    thought = [row | {"eval_response": r} for row, r in zip(THOUGHT, ["Result: YES", "So:\nresult: no", "It does."])]
    reference = tmp_path / "scores.json"
    reference.write_text(json.dumps({"metrics": {"IFrate": 50.0}}))
    scored = SPEECH_IFEVAL.score(Inputs(_files(tmp_path, CLOSED, CREATIVE, thought), reference=reference))
    assert scored.metrics == {
        "Closed-ended": 50.0,
        "Creative Writing": 100.0,
        "CoT": 33.33,
        "IFrate": 61.11,
        "delta": 22.22,
        "groups": {"change_case": 50.0, "wrapping": 100.0},
    }
    assert [v.verdict for v in scored.verdicts[3:]] == ["right", "wrong", "unparsable"]
    assert scored.judge == "stored in the response files"
    assert "Closed-ended: 2 of 933 rows" in scored.notes


def test_a_text_llm_that_follows_nothing_has_nothing_to_forget(tmp_path):
    thought = [row | {"eval_response": "Result: YES"} for row in THOUGHT]
    reference = tmp_path / "scores.json"
    reference.write_text(json.dumps({"metrics": {"IFrate": 0.0}}))
    scored = SPEECH_IFEVAL.score(Inputs(_files(tmp_path, CLOSED, CREATIVE, thought), reference=reference))
    assert (scored.metrics["IFrate"], scored.metrics["delta"]) == (83.33, None)


@pytest.mark.parametrize("judge", [None, RuleJudge()])
def test_without_an_llm_chain_of_thought_is_not_judged(tmp_path, judge):
    scored = SPEECH_IFEVAL.score(Inputs(_files(tmp_path, CLOSED, CREATIVE, THOUGHT), judge=judge))
    assert [v.verdict for v in scored.verdicts[3:]] == ["not judged"] * 3
    assert (scored.metrics["CoT"], scored.metrics["IFrate"], scored.metrics["Closed-ended"]) == (None, None, 50.0)


def test_a_judge_sees_question_and_response_and_goes_before_stored_replies(tmp_path):
    seen = []

    def replier(conversations, sampling, description="replies"):
        seen.extend(messages[-1]["content"] for messages in conversations)
        return [Reply("Result: YES", "stop") for _ in conversations]

    thought = [row | {"eval_response": "Result: NO"} for row in THOUGHT]
    scored = SPEECH_IFEVAL.score(Inputs(_files(tmp_path, thought), judge=LlmJudge(replier, "an LLM")))
    assert (scored.metrics["CoT"], scored.judge) == (100.0, "an LLM")
    assert "Say it." in seen[0]
    assert "answer 3" in seen[0]


def test_missing_responses_count_in_every_part(tmp_path):
    questions = [*CLOSED, *CREATIVE, *THOUGHT]
    answers = [CLOSED[0], _row(5, "cot", "so", eval_response="Result: YES")]
    (answers_file,) = _files(tmp_path, answers)
    questions_file = tmp_path / "q.jsonl"
    questions_file.write_text("\n".join(json.dumps(row | {"response": None}) for row in questions))
    scored = SPEECH_IFEVAL.score(Inputs([answers_file], [questions_file]))
    assert (scored.metrics["Closed-ended"], scored.metrics["Creative Writing"]) == (50.0, 0.0)
    assert [v.verdict for v in scored.verdicts] == ["right", "missing", "missing", "missing", "missing", "right"]
    assert scored.metrics["CoT"] == 33.33


def test_bad_rows_and_references_are_errors(tmp_path):
    with pytest.raises(SpeechLLMError, match=r"0\.jsonl:1: metric is not one of wer"):
        SPEECH_IFEVAL.score(Inputs(_files(tmp_path, [_row(0, "bleu", "x")])))
    paths = _files(tmp_path, CLOSED, CREATIVE, [row | {"eval_response": "Result: NO"} for row in THOUGHT])
    with pytest.raises(SpeechLLMError, match=r"no scores\.json with an IFrate"):
        SPEECH_IFEVAL.score(Inputs(paths, reference=tmp_path / "nowhere.json"))
