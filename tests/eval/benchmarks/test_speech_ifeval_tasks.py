"""Speech-IFEval's task level: accuracy and word error rate of what a judge makes of closed-ended answers."""

from speechllm.eval.benchmarks.benchmark import Inputs, Item
from speechllm.eval.benchmarks.responses import Row
from speechllm.eval.benchmarks.speech_ifeval_tasks import normal, task_level
from speechllm.eval.judges import LlmJudge, RuleJudge
from speechllm.models.reply import Reply


def _item(metric, dataset, label, response, reply=None):
    row = Row({"metric": metric, "dataset": dataset, "label": label, "instruction": "Well?"}, "q:1")
    answer = None if response is None else Row({"response": response, "eval_response": reply}, "r:1")
    return Item(f"{dataset} {label} {response}", row, answer)


STORED = [
    _item("accuracy", "Emotion", "happy", "Glad.", "Result: YES"),
    _item("accuracy", "Emotion", "happy", "Sad.", "Result: NO"),
    _item("accuracy", "Emotion", "happy", "?", "I think so."),
    _item("accuracy", "Emotion", "happy", None),
    _item("wer", "Speech", "A BIG CAT", "He says: <A big, bat>.", "<A big, bat>"),
    _item("wer", "Speech", "YES", "Yes!", "yes yes"),
]


def test_stored_replies():
    metrics, notes = task_level(STORED, Inputs([]))
    assert metrics == {"Emotion ACC": 25.0, "WER": 50.0}  # one word replaced and one too many, of four
    assert notes == [
        "task level: 1 transcripts that a judge took out are not in the response",
        "task level: 1 replies of the judge are unparsable",
    ]


def test_rules_take_the_whole_response_as_the_transcript():
    metrics, _ = task_level(STORED, Inputs([], judge=RuleJudge()))
    assert metrics == {"Emotion ACC": 0.0, "WER": 75.0}  # "He says" and "bat"


def test_an_llm_is_asked_for_verdicts_and_transcripts():
    seen = []

    def replier(conversations, sampling, description="replies"):
        seen.extend(messages[-1]["content"] for messages in conversations)
        return [Reply("Result: YES", "stop"), Reply("yes", "stop")]

    items = [_item("accuracy", "Emotion", "happy", "Glad."), _item("wer", "Speech", "yes", "It is yes.")]
    metrics, _ = task_level(items, Inputs([], judge=LlmJudge(replier, "an LLM")))
    assert metrics == {"Emotion ACC": 100.0, "WER": 0.0}
    assert "happy" in seen[0]
    assert "yes" not in seen[1].replace("It is yes.", "")  # the transcriber does not see the label


def test_nothing_is_claimed_where_nobody_judged():
    assert task_level([_item("wer", "Speech", "yes", "yes")], Inputs([])) == ({}, [])
    assert task_level([_item("accuracy", "Emotion", None, "x", "Result: YES")], Inputs([])) == ({}, [])
    half = [STORED[0], _item("accuracy", "Emotion", "sad", "Sad.")]
    assert task_level(half, Inputs([]))[1] == ["task level: 1 of 2 closed-ended rows are not judged; not computed"]


def test_transcripts_are_normalised_as_published():
    assert normal("<Hello>, WORLD!") == "hello world"
