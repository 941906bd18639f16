import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechllm.data.attributes import ATTRIBUTES
from speechllm.data.describe import STYLES, describe, describe_attributes
from speechllm.data.manifest import Utterance
from speechllm.errors import SpeechLLMError


def utterance(**changes):
    values = {
        "id": "u",
        "audio": "u.wav",
        "duration": 3.4,
        "sampling_rate": 16_000,
        "text": "I pull the covers up.",
        "attributes": {"home_town": "Ulm", "speaking_rate": "slow", "gender": "female", "snr_db": 15.5},
    }
    return Utterance(**values | changes)


FULL = {
    "desta": "[00:00:00 - 00:00:03] I pull the covers up."
    " (Gender: Female, Speaking speed: Slow, Signal-to-Noise Ratio: 15.5 dB, Home town: Ulm)",
    "tags": "<gender>female</gender><speaking speed>slow</speaking speed>"
    "<signal-to-noise ratio>15.5 dB</signal-to-noise ratio><home town>Ulm</home town>"
    "<text>I pull the covers up.</text>",
    "natural": "The gender of the speaker is female, the speaking speed of the speaker is slow,"
    " the signal-to-noise ratio of the speaker is 15.5 dB and the home town of the speaker is Ulm."
    ' The speaker says: "I pull the covers up."',
}
WITHHELD = {
    "desta": "[00:00:00 - 00:00:03] I pull the covers up. (Speaking speed: Slow, Gender: Female)",
    "tags": "<speaking speed>slow</speaking speed><gender>female</gender><text>I pull the covers up.</text>",
    "natural": "The speaking speed of the speaker is slow and the gender of the speaker is female."
    ' The speaker says: "I pull the covers up."',
}
NO_TEXT = {
    "desta": "[00:00:00 - 00:00:03] (Gender: Female)",
    "tags": "<gender>female</gender>",
    "natural": "The gender of the speaker is female.",
}
TEXT_ALONE = {
    "desta": "[00:00:00 - 00:00:03] I pull the covers up.",
    "tags": "<text>I pull the covers up.</text>",
    "natural": 'The speaker says: "I pull the covers up."',
}
NOTHING = {"desta": "[00:00:00 - 00:00:03]", "tags": "", "natural": ""}


@pytest.mark.parametrize("style", STYLES)
def test_what_a_description_says(style):
    assert describe(utterance(), style) == FULL[style]
    assert describe(utterance(), style, ["speaking_rate", "gender", "age"]) == WITHHELD[style]
    assert describe(utterance(), style, []) == TEXT_ALONE[style]
    assert describe(utterance(attributes={}), style) == TEXT_ALONE[style]
    assert describe(utterance(text=None), style, ["gender"]) == NO_TEXT[style]
    assert describe(utterance(text=None, attributes={}), style) == NOTHING[style]


@pytest.mark.parametrize("style", STYLES)
def test_attributes_alone_name_neither_words_nor_times(style):
    expected = {
        "desta": "(Speaking speed: Slow, Gender: Female)",
        "tags": "<speaking speed>slow</speaking speed><gender>female</gender>",
        "natural": "The speaking speed of the speaker is slow and the gender of the speaker is female.",
    }
    assert describe_attributes(utterance(), style, ["speaking_rate", "gender"]) == expected[style]
    assert describe_attributes(utterance(), style, []) == ""
    assert describe_attributes(utterance(attributes={}), style) == ""


@pytest.mark.parametrize(
    ("seconds", "time"),
    [(0.0, "00:00:01"), (0.4, "00:00:01"), (59.7, "00:01:00"), (75.0, "00:01:15"), (3725.2, "01:02:05")],
)
def test_times_are_whole_seconds_and_at_least_one(seconds, time):
    assert describe(utterance(duration=seconds), "desta", []).startswith(f"[00:00:00 - {time}] ")


def test_an_unknown_style_is_an_error_that_suggests_the_near_one():
    with pytest.raises(SpeechLLMError, match="description style 'dseta' is not known; did you mean 'desta'"):
        describe(utterance(), "dseta")


NAMES = st.sampled_from([*ATTRIBUTES, "home_town", "mood"])


@given(
    st.dictionaries(NAMES, st.text("abcxyz", min_size=1, max_size=5)),
    st.one_of(st.none(), st.text(max_size=20)),
    st.sampled_from(STYLES),
)
def test_a_description_is_pure_and_tells_every_value_and_the_text(attributes, text, style):
    one = utterance(attributes=attributes, text=text)
    written = describe(one, style)
    assert written == describe(one.model_copy(), style)
    for value in attributes.values():
        assert value in written or value.capitalize() in written
    assert text is None or text in written
    withheld = describe(one, style, list(attributes)[1:])
    assert len(withheld) <= len(written)
