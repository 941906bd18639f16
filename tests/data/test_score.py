import math

import pytest

from speechllm.data.manifest import Utterance
from speechllm.data.score import faithfulness, word_error_rate


def utterance(**changes):
    values = {
        "id": "u",
        "audio": "u.wav",
        "duration": 1.0,
        "sampling_rate": 16_000,
        "text": "Mr. Smith's colour is red",
    }
    return Utterance(**values | {"language": "en", "attributes": {"gender": "female"}} | changes)


@pytest.mark.parametrize(
    ("reply", "score"), [("A woman.", 1.0), ("A man.", 0.0), ("A man or a woman.", 0.0), ("I cannot tell.", 0.0)]
)
def test_an_attribute_is_named_or_not(reply, score):
    assert faithfulness("gender", utterance(), reply) == score


@pytest.mark.parametrize(
    ("reply", "score"),
    [
        ("mister smith's color is red!", 1.0),
        ("Mr. Smith's colour is blue", 5 / 6),
        ("", 0.0),
        ("something else altogether that goes on for longer than the text", 0.0),
    ],
)
def test_a_transcript_is_scored_by_its_words(reply, score):
    assert faithfulness("transcribe", utterance(), reply) == pytest.approx(score)


def test_a_text_without_words_scores_nothing():
    assert faithfulness("transcribe", utterance(text="!?"), "!?") == 0.0
    assert faithfulness("transcribe", utterance(text=None), "hello") == 0.0


def test_word_errors_are_counted_over_the_corpus():
    # 1 error in 4 words and 0 in 1: 20 %, where the mean of the two would be 12.5 %.
    assert word_error_rate(["a b c d", "e"], ["a b x d", "e"], "de") == pytest.approx(0.2)
    assert word_error_rate(["a b c d", "!?"], ["a b x d", "noise"], "de") == pytest.approx(0.25)
    assert math.isnan(word_error_rate(["!?", ""], ["a", "b"]))
    assert math.isnan(word_error_rate([], []))


def test_the_normaliser_goes_by_language():
    assert word_error_rate(["twenty one"], ["21"], "en") == 0.0
    assert word_error_rate(["twenty one"], ["21"], "en-GB") == 0.0
    assert word_error_rate(["twenty one"], ["21"], None) == 0.0
    assert word_error_rate(["twenty one"], ["21"], "de") == 1.0


def test_references_and_hypotheses_have_to_pair_up():
    with pytest.raises(ValueError, match="zip"):
        word_error_rate(["a"], [])
