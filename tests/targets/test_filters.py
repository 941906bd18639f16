import pytest

from speechllm.data.manifest import Utterance
from speechllm.data.prompts import Prompt
from speechllm.targets.filters import DROPPED, rejected, repeats, verdicts
from speechllm.targets.strategies.base import Item


def item(kind="gender", language="en", text="?", **more):
    utterance = Utterance(
        id="u", audio="u.wav", duration=1.0, sampling_rate=16_000, language="en", attributes={"gender": "female"}
    )
    prompt = Prompt(id="p", kind=kind, text=text, language=language, **more)
    return Item(id="u/p", prompt=prompt, utterance=utterance)


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("The speaker is female.", []),
        (" \n", ["empty"]),
        ("I'm sorry, but I cannot hear audio.", ["refusal"]),
        ("As an AI, I do what I can.", ["refusal"]),
        ("I can't hear her well, she says.", ["refusal"]),
        ("She is sorry that she was late.", []),
        ("According to the text in parentheses, it is a woman.", ["leaked_metadata"]),
        ("<gender>female</gender>", ["leaked_metadata"]),
        ("[00:00:00 - 00:00:03] a woman", ["leaked_metadata"]),
        ("A woman wrote this in capitals (with care).", []),
        ("A man is speaking.", ["contradiction"]),
        ("说话人是一位女性，声音很温柔。", ["language"]),
        ("the same again " * 6, ["repetition"]),
    ],
)
def test_what_is_wrong_with_a_reply(reply, expected):
    assert verdicts(item(), reply, "stop") == expected
    assert rejected(verdicts(item(), reply, "stop")) == bool(DROPPED & set(expected))


def test_a_reply_without_the_form_that_was_asked_for_is_dropped():
    asked = item(expects={"regex": r".+\nP\.S\..*"})
    assert verdicts(asked, "She is female.\n\nP.S. Bye.", "stop") == []
    assert verdicts(asked, "She is female.", "stop") == ["form"]
    assert rejected(["form"])


def test_a_reply_that_was_cut_short_is_kept_and_told():
    assert verdicts(item(), "The speaker is", "length") == ["truncated"]
    assert not rejected(["truncated"])


@pytest.mark.parametrize(
    ("reply", "language", "kind", "wrong"),
    [
        ("The speaker is a woman.", "zh", "gender", True),
        ("说话人是女性。", "zh", "gender", False),
        ("说话人的性别是女性，她说得很慢。", "en", "translate", False),
        ("抱歉，我无法听录音。", "zh", "reason", False),
    ],
)
def test_the_language_of_the_prompt_is_the_language_of_the_reply(reply, language, kind, wrong):
    assert ("language" in verdicts(item(kind, language), reply, "stop")) == wrong


def test_loops_are_told_from_plain_repetition():
    assert repeats("no no no yes " * 4)
    assert repeats("很好很好很好很好很好很好很好很好")
    assert repeats("line one\n" * 4)
    assert not repeats("He said no and she said no and that was that.")
    assert not repeats("one two three one two three")


def test_a_leak_that_the_prompt_asked_for_is_none():
    asked = item("list", text="Is it in the description? Quote from the description.")
    assert verdicts(asked, "It is in the description.", "stop") == []
