import pytest

from speechllm.data.manifest import Utterance
from speechllm.data.prompts import Prompt
from speechllm.eval.hearing import Answers, score
from speechllm.eval.json_form import find_json, json_tasks, parse_json
from speechllm.eval.tasks import attribute_task
from speechllm.models.reply import Reply


@pytest.mark.parametrize(
    ("reply", "value"),
    [
        ('{"a": 1}', {"a": 1}),
        (' ["x"]\n', ["x"]),
        ('```json\n{"a": 1}\n```', {"a": 1}),
        ('```\n{"a": 1}\n```', {"a": 1}),
        ('Here: {"a": 1}', None),
        ("{'a': 1}", None),
        ('"a"', None),
        ("3", None),
        ("", None),
        ("[" * 3000, None),
        ('{"a":' * 3000, None),
    ],
)
def test_json_is_an_object_or_a_list_and_nothing_around_it(reply, value):
    assert parse_json(reply) == value


@pytest.mark.parametrize("reply", ["[" * 3000, 'Well: {"a":' * 1 + '{"a":' * 3000])
def test_thousands_of_brackets_hold_no_json(reply):
    assert find_json(reply) is None


@pytest.fixture
def tasks():
    clip = Utterance(id="u", audio="u.wav", duration=1.0, sampling_rate=16000, attributes={"emotion": "angry"})
    prompt = Prompt(id="p", kind="emotion", text="What is the emotion of the speaker?")
    return attribute_task("emotion", [clip], prompt), json_tasks(attribute_task("emotion", [clip], prompt))


def test_each_form_asks_for_its_keys(tasks):
    assert [task.questions[0].prompt.text for task in tasks[1]] == [
        'Write a JSON object with the key "answer". What is the emotion of the speaker?',
        'Write a JSON object with the key "emotion". What is the emotion of the speaker?',
        'Write a JSON object with the keys "emotion" and "reason". What is the emotion of the speaker?',
    ]
    assert [task.name for task in tasks[1]] == [f"json.emotion.{form}" for form in ("answer", "own_key", "two_keys")]


@pytest.mark.parametrize(
    ("reply", "found", "valid", "fits", "right"),
    [
        ('{"emotion": "anger", "reason": "loud"}', 1, 1, 1, 1),
        ('{"emotion": "sad", "reason": "low"}', 1, 1, 1, 0),
        ('{"emotion": "angry"}', 1, 1, 0, 1),
        ('{"emotion": ["angry"], "reason": "x"}', 1, 1, 0, 1),
        ('Here: {"emotion": "angry", "reason": "x"} as you asked.', 1, 0, 0, 1),
        ('{"emotion": "angry", "data": {"emotion": {', 0, 0, 0, 0),
        ("The speaker is angry.", 0, 0, 0, 0),
    ],
)
def test_form_and_value_are_scored_apart(tasks, reply, found, valid, fits, right):
    plain, forms = tasks
    said = {s: [Reply(reply, "stop")] for s in ("model", "ceiling", "cascade", "nothing")}
    results = score([Answers(plain, said), Answers(forms[2], said)])
    assert results["json_retention"]["model"] == {"found": found, "valid": valid, "schema": fits, "right": right}
    assert results["json_retention"]["able"] == found
    assert results["json_retention"].get("kept") == (1 if found else None)
    assert list(results["accuracy"]) == ["emotion"]
