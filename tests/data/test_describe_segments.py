import pytest

from speechllm.data.describe import STYLES, describe, describe_attributes
from speechllm.data.manifest import Segment, Utterance, read_manifest, write_manifest
from speechllm.data.translations import WORDINGS
from speechllm.errors import SpeechLLMError

DIALOGUE = Utterance(
    id="d",
    audio="d.wav",
    duration=3609.6,
    sampling_rate=16_000,
    attributes={"snr_db": 15},
    segments=[
        Segment(start=3.6, end=3.9, text="Did you?", speaker="Ann", attributes={"emotion": "surprised"}),
        Segment(
            start=0.0,
            end=3.6,
            text="I pull the covers up.",
            speaker="Alan_Alda",
            attributes={"speaking_rate": "slow", "gender": "male"},
        ),
        Segment(start=3605.0, end=3609.6, attributes={"sound": "door slam"}),
    ],
)

FULL = {
    "desta": "[00:00:00 - 01:00:10] (Signal-to-Noise Ratio: 15 dB)\n"
    '[00:00:00 - 00:00:04] Alan_Alda: "I pull the covers up." (Gender: Male, Speaking speed: Slow)\n'
    '[00:00:04 - 00:00:05] Ann: "Did you?" (Emotion: Surprised)\n'
    "[01:00:05 - 01:00:10] (Sound: Door slam)",
    "tags": "<signal-to-noise ratio>15 dB</signal-to-noise ratio>"
    "<segment><time>00:00:00 - 00:00:04</time><speaker>Alan_Alda</speaker><gender>male</gender>"
    "<speaking speed>slow</speaking speed><text>I pull the covers up.</text></segment>"
    "<segment><time>00:00:04 - 00:00:05</time><speaker>Ann</speaker><emotion>surprised</emotion>"
    "<text>Did you?</text></segment>"
    "<segment><time>01:00:05 - 01:00:10</time><sound>door slam</sound></segment>",
    "natural": "The signal-to-noise ratio of the speaker is 15 dB.\n"
    "From 00:00:00 to 00:00:04: The gender of Alan_Alda is male and the speaking speed of Alan_Alda is slow."
    ' Alan_Alda says: "I pull the covers up."\n'
    'From 00:00:04 to 00:00:05: The emotion of Ann is surprised. Ann says: "Did you?"\n'
    "From 01:00:05 to 01:00:10: The sound of the speaker is door slam.",
}

MANDARIN = {
    "desta": "[00:00:00 - 01:00:10] (信噪比: 15 dB)\n"
    '[00:00:00 - 00:00:04] Alan_Alda: "I pull the covers up." (性别: 男, 语速: 慢)\n'
    '[00:00:04 - 00:00:05] Ann: "Did you?" (情绪: 惊讶)\n'
    "[01:00:05 - 01:00:10] (声音: Door slam)",
    "tags": "<信噪比>15 dB</信噪比>"
    "<片段><时间>00:00:00 - 00:00:04</时间><说话人>Alan_Alda</说话人><性别>男</性别><语速>慢</语速>"
    "<文本>I pull the covers up.</文本></片段>"
    "<片段><时间>00:00:04 - 00:00:05</时间><说话人>Ann</说话人><情绪>惊讶</情绪><文本>Did you?</文本></片段>"
    "<片段><时间>01:00:05 - 01:00:10</时间><声音>door slam</声音></片段>",
    "natural": "说话人的信噪比是15 dB。\n"
    "从 00:00:00 到 00:00:04：Alan_Alda的性别是男，Alan_Alda的语速是慢。Alan_Alda说：“I pull the covers up.”\n"
    "从 00:00:04 到 00:00:05：Ann的情绪是惊讶。Ann说：“Did you?”\n"
    "从 01:00:05 到 01:00:10：说话人的声音是door slam。",
}


@pytest.mark.parametrize("style", STYLES)
def test_segments_are_told_in_the_order_of_time_with_speakers_and_attributes(style):
    assert describe(DIALOGUE, style) == FULL[style]
    assert describe(DIALOGUE, style, language="zh") == MANDARIN[style]


def test_a_withheld_attribute_is_withheld_in_every_segment():
    assert describe(DIALOGUE, "desta", ["gender"]).split("\n") == [
        '[00:00:00 - 00:00:04] Alan_Alda: "I pull the covers up." (Gender: Male)',
        '[00:00:04 - 00:00:05] Ann: "Did you?"',
        "[01:00:05 - 01:00:10]",
    ]


def test_attributes_alone_tell_neither_words_nor_names_nor_times():
    assert describe_attributes(DIALOGUE, "desta") == (
        "(Signal-to-Noise Ratio: 15 dB)\n(Gender: Male, Speaking speed: Slow)\n(Emotion: Surprised)\n(Sound: Door slam)"
    )
    assert describe_attributes(DIALOGUE, "tags", ["emotion"]) == "<segment><emotion>surprised</emotion></segment>"
    assert describe_attributes(DIALOGUE, "natural", ["gender"]) == "The gender of the speaker is male."


def test_one_speaker_in_mandarin():
    one = DIALOGUE.model_copy(
        update={"segments": None, "text": "你好。", "attributes": {"gender": "Female", "accent": "Welsh"}}
    )
    assert describe(one, "desta", language="zh") == "[00:00:00 - 01:00:10] 你好。 (性别: 女, 口音: Welsh)"
    assert describe(one, "tags", language="zh") == "<性别>女</性别><口音>Welsh</口音><文本>你好。</文本>"
    assert describe(one, "natural", language="zh") == "说话人的性别是女，说话人的口音是Welsh。说话人说：“你好。”"
    assert describe_attributes(one, "tags", ["gender"], "zh") == "<性别>女</性别>"


def test_no_two_values_share_a_translation_that_means_something_else():
    values = WORDINGS["zh"].values
    same = {word: [value for value in values if values[value] == word] for word in values.values()}
    assert [group for group in same.values() if len(group) > 1] == [["moderate", "medium"]]


def test_an_unknown_language_is_an_error_that_names_it():
    with pytest.raises(SpeechLLMError, match="description language 'fr' is not known"):
        describe(DIALOGUE, "desta", language="fr")


def test_segments_go_through_a_manifest_and_must_lie_inside(tmp_path):
    path = tmp_path / "m.jsonl"
    write_manifest(path, [DIALOGUE])
    assert read_manifest(path)[0].segments == DIALOGUE.segments
    line = path.read_text(encoding="utf-8")
    path.write_text(line.replace('"end":3.9', '"end":3.5'))
    with pytest.raises(SpeechLLMError, match=r"m\.jsonl:1: .*segments\.0.*3\.5 s is not after start, 3\.6 s"):
        read_manifest(path)
    path.write_text(line.replace('"end":3609.6', '"end":3700.0'))
    with pytest.raises(SpeechLLMError, match=r"m\.jsonl:1: segments\.2: ends at 3700 s, the utterance lasts 3609\.6 s"):
        read_manifest(path)
