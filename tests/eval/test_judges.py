"""Judges: what is asked of an LLM, and what rules decide alone."""

import pytest

from speechllm.eval.judges import LlmJudge, Question, RuleJudge
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


@pytest.mark.parametrize(
    ("label", "response", "reply"),
    [
        ("happy", "She sounds HAPPY!", "Result: YES"),
        ("happy", "She sounds unhappy.", "Result: NO"),
        ("(a) New York", "the answer is a, New York", "Result: YES"),
        ("New York", "York, the new one", "Result: NO"),
        ("happy", "", "Result: NO"),
        ("", "anything", "Result: NO"),
        (None, "anything", None),
    ],
)
def test_rules_look_for_the_label_as_whole_words(label, response, reply):
    assert RuleJudge()([Question("", "", label, response)]) == [reply]
