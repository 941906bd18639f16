"""Judges: what is asked of an LLM, and what rules decide alone."""

import pytest

from speechllm.errors import SpeechLLMError
from speechllm.eval.judges import LlmJudge, Question, RuleJudge, load_judge
from speechllm.models.reply import Reply


def test_an_llm_judge_asks_greedily_and_in_order():
    seen = {}

    def replier(conversations, sampling, description="replies"):
        seen.update(conversations=conversations, sampling=sampling)
        return [Reply(f"Result: {messages[-1]['content']}", "stop") for messages in conversations]

    judge = LlmJudge(replier, "some LLM")
    assert judge([Question("be strict", "YES", "a", "b"), Question("", "NO", "a", "b")]) == [
        "Result: YES",
        "Result: NO",
    ]
    assert seen["sampling"].temperature == 0
    assert [[m["role"] for m in messages] for messages in seen["conversations"]] == [["system", "user"], ["user"]]
    assert judge.name == "some LLM"


CITIES = "Which city? (a) York (b) New York (c) Rome"


@pytest.mark.parametrize(
    ("instruction", "label", "response", "right"),
    [
        ("How?", "happy", "She sounds HAPPY!", True),
        ("How?", "happy", "She sounds unhappy.", False),
        ("How?", "New York", "York, the new one", False),
        ("How?", "happy", "", False),
        ("How?", "", "anything", False),
        ("How? The answer could be happy or sad.", "happy", "happy", True),
        ("How? The answer could be happy or sad.", "happy", "happy, not sad", False),
        (CITIES, "(b) New York", "It is New York.", True),
        (CITIES, " (b) New York", "b", True),
        (CITIES, "(b) New York", "B. New York", True),
        (CITIES, "(b) New York", "(b)", True),
        (CITIES, "New York", "(b) new york", True),
        (CITIES, "(b) New York", "(a) or (b)", False),
        (CITIES, "(b) New York", "New York or Rome", False),
        (CITIES, "(b) New York", "York", False),
        (CITIES, "(b) New York", "a big city", False),  # an article is no choice
        (CITIES, "(b) New York", "Paris", False),
    ],
)
def test_rules_decide_by_label_and_options(instruction, label, response, right):
    question = Question("", "", label, response, instruction, replies=("good", "bad"))
    assert RuleJudge()([question]) == ["good" if right else "bad"]


def test_rules_decide_nothing_without_a_label():
    assert RuleJudge()([Question("", "", None, "anything")]) == [None]


@pytest.mark.parametrize(
    ("label", "response", "value"),
    [
        ("3", "It is 4.5 seconds", "4.5"),
        ("3", "-2", "-2"),
        ("3", "1 or 2", "N/A"),
        ("3", "version v2", "N/A"),  # a number inside a word
        ("3", "none", "N/A"),
        ("some text", " all of it ", "all of it"),
        ("some text", " ", "N/A"),
    ],
)
def test_rules_extract_the_only_number_or_all_text(label, response, value):
    assert RuleJudge()([Question("", "", label, response, extract=True)]) == [value]


def test_judges_by_name(llm_reference):
    assert load_judge("none") is None
    assert isinstance(load_judge("rules"), RuleJudge)
    judge = load_judge(llm_reference)
    assert judge.name == llm_reference
    (reply,) = judge([Question("Be short.", "Hello?", "a", "b")])
    assert isinstance(reply, str)
    with pytest.raises(SpeechLLMError, match="needs no server"):
        load_judge("none", "http://localhost:1/v1")
