import pytest

from speechllm.data.attributes import ATTRIBUTES, display_name, extract_value


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


@pytest.mark.parametrize("attribute", ["age", "colour"])
def test_an_attribute_without_a_closed_set_of_values_has_none_to_extract(attribute):
    with pytest.raises(KeyError):
        extract_value(attribute, "forty")


def test_display_names():
    assert display_name("speaking_rate") == "Speaking speed"
    assert display_name("first_language") == "First language"
