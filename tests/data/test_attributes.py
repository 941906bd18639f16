import pytest

from speechllm.data.attributes import ATTRIBUTES, display_name, extract_value
from speechllm.data.bins import WORDS, values_among
from speechllm.data.manifest import Utterance
from speechllm.data.prompts import Prompt
from speechllm.data.score import faithfulness, word_error_rate
from speechllm.eval.tasks import attribute_task
from speechllm.targets.filters import contradicts
from speechllm.targets.strategies.base import Item


@pytest.mark.parametrize(
    ("attribute", "reply", "value"),
    [
        ("gender", "The speaker is female.", "female"),
        ("gender", "The speaker is male.", "male"),
        ("gender", "FEMALE", "female"),
        ("gender", "A woman's voice, a lady.", "female"),
        ("gender", "It could be a man or a woman.", None),
        ("gender", "The speaker is human.", None),
        ("gender", "Malevolent femaleness", None),
        ("gender", "", None),
        ("gender", "\n<gender>male</gender>", "male"),
        ("speaking_rate", "Quite rapidly, that is fast.", "fast"),
        ("speaking_rate", "neither slow nor fast", None),
        ("pitch", "A deep voice", "low"),
        ("volume", "It is a loud one", "high"),
    ],
)
def test_the_value_is_the_one_that_the_reply_names(attribute, reply, value):
    assert extract_value(attribute, reply) == value


@pytest.mark.parametrize("attribute", [name for name, known in ATTRIBUTES.items() if known.values])
def test_every_word_of_every_value_names_it_and_no_other(attribute):
    for value, words in ATTRIBUTES[attribute].values.items():
        assert value.lower() in words, "a value names itself"
        for word in words:
            assert extract_value(attribute, f"It is {word}.") == value


@pytest.mark.parametrize(
    ("attribute", "true", "reply", "value"),
    [
        ("pitch", "very low", "The pitch is very low.", "very low"),
        ("pitch", "very low", "The pitch is low.", "low"),
        ("pitch", "medium", "A medium pitch, neither", "medium"),
        ("pitch", "low", "The pitch is very low.", "low"),  # where two words are all that is known
        ("speaking_rate", "very fast", "They speak very fast.", "very fast"),
        ("emotion", "amused", "The speaker is amused.", "amused"),
        ("emotion", "amused", "Happy, and amused", None),
        ("emotion", "joy", "joy", "joy"),
    ],
)
def test_values_that_occur_beside_the_known_ones_are_named_too(attribute, true, reply, value):
    assert extract_value(attribute, reply, values_among(attribute, [true])) == value


@pytest.mark.parametrize("attribute", sorted(set(WORDS) & set(ATTRIBUTES)))
def test_what_is_measured_can_be_answered_right(attribute):
    """Every word that `speechllm measure` writes, by who chooses prompts, checks targets and evaluates."""
    words = WORDS[attribute][1]
    clips = [Utterance(id=w, audio="a.wav", duration=1, sampling_rate=16_000, attributes={attribute: w}) for w in words]
    prompt = Prompt(id=attribute, kind=attribute, text="?")
    task = attribute_task(attribute, clips, prompt)
    for word, clip, question in zip(words, clips, task.questions, strict=True):
        reply = f"It is {word}."
        assert faithfulness(attribute, clip, reply) == 1.0
        assert task.extract(question, reply) == question.truth == word
        assert not contradicts(Item("x", prompt, clip), reply)


@pytest.mark.parametrize("attribute", ["age", "colour"])
def test_an_attribute_without_a_closed_set_of_values_has_none_to_extract(attribute):
    with pytest.raises(KeyError):
        extract_value(attribute, "forty")


def test_display_names():
    assert display_name("speaking_rate") == "Speaking speed"
    assert display_name("first_language") == "First language"


@pytest.mark.parametrize("language", ["zh", "zh-CN", "cmn", "cmn_hans", "yue"])
def test_chinese_is_counted_by_character(language):
    assert word_error_rate(["你好世界"], ["你好世间"], language) == 0.25


@pytest.mark.parametrize(("code", "name"), [("cmn", "Chinese"), ("zh-CN", "Chinese"), ("ko", "Korean"), ("kok", None)])
def test_languages_are_named_by_their_whole_code(code, name):
    clip = Utterance(id="a", audio="a.wav", duration=1, sampling_rate=16_000, language=code)
    assert clip.value("language") == name
