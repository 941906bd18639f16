import json
import re
from collections import Counter

import pytest

from speechllm.data.attributes import ATTRIBUTES
from speechllm.data.prompts import TRANSCRIBE, Prompt, built_in_prompts, read_prompts
from speechllm.errors import SpeechLLMError


def test_the_built_in_prompts_are_many_valid_and_distinct():
    prompts = built_in_prompts()
    assert len({prompt.text for prompt in prompts}) >= 400
    assert max(Counter(prompt.id for prompt in prompts).values()) == 1
    told = [(prompt.text, prompt.system, json.dumps(prompt.before)) for prompt in prompts]
    assert max(Counter(told).values()) == 1
    assert all(prompt.id.startswith(f"{prompt.kind}-") for prompt in prompts)
    kinds = {"transcribe", "describe", "several", "reason", "translate", "dialogue", "json", "list", "one_word"}
    assert kinds | {"upper_case"} | set(ATTRIBUTES) <= {prompt.kind for prompt in prompts}
    for language in ("en", "zh"):
        mine = built_in_prompts(language=language)
        assert len(mine) >= 150
        assert any(prompt.system for prompt in mine)
        assert any(prompt.before for prompt in mine)
        assert all(bool(re.search("[\u4e00-\u9fff]", prompt.text)) == (language == "zh") for prompt in mine)


def test_the_first_prompts_of_each_kind_are_those_that_the_quickstart_was_measured_with():
    assert [prompt.id for prompt in built_in_prompts(["gender"])[:3]] == ["gender-01", "gender-02", "gender-03"]
    assert built_in_prompts(["transcribe"])[0].text == "Write down the spoken words."


FITTING = {
    "list": "- one\n- two\n- three",
    "one_word": "女性",
    "upper_case": "THE VOICE IS LOW.",
    "lower_case": "the voice is low.",
    "quoted": '"It is low."',
}


def test_the_forms_that_prompts_expect_can_be_met_and_missed():
    formed = [prompt for prompt in built_in_prompts() if prompt.expects]
    assert len(formed) >= 40
    for prompt in formed:
        assert not re.fullmatch(prompt.expects.get("regex", "(?!)"), "Well, the Voice is low", re.DOTALL), prompt
        if prompt.kind in FITTING:
            assert re.fullmatch(prompt.expects["regex"], FITTING[prompt.kind], re.DOTALL), prompt
        elif prompt.kind == "json":
            assert set(prompt.expects["json_schema"]["required"]) <= set(re.findall("[a-z]+", prompt.text))
        else:
            end = re.search('["“](.*)["”]', prompt.text)[1]
            assert re.fullmatch(prompt.expects["regex"], f"It is low. {end}", re.DOTALL), prompt


def test_a_prompt_may_come_after_earlier_turns():
    before = [{"role": "user", "content": "Ready?"}, {"role": "assistant", "content": "Yes."}]
    messages = Prompt(id="a", kind="gender", text="Who?", system="Listen.", before=before).messages()
    assert [m["role"] for m in messages] == ["system", "user", "assistant", "user"]
    assert messages[1:3] == before
    assert messages[3]["content"][0] == {"type": "audio"}


def test_built_in_prompts_by_kind():
    assert {prompt.kind for prompt in built_in_prompts(["gender", TRANSCRIBE])} == {"gender", TRANSCRIBE}
    assert built_in_prompts([]) == []


def test_a_prompt_asks_about_an_audio_part():
    prompt = Prompt(id="a", kind="gender", text="Who?", system="Listen.")
    assert prompt.messages() == [
        {"role": "system", "content": "Listen."},
        {"role": "user", "content": [{"type": "audio"}, {"type": "text", "text": "Who?"}]},
    ]
    [message] = Prompt(id="a", kind="gender", text="Who?").messages({"path": "a.wav"})
    assert message["content"][0] == {"type": "audio", "path": "a.wav"}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"id": "a", "kind": "gender"}, "'text' is missing"),
        ({"id": "a", "kind": "gender", "text": ""}, "text: "),
        ({"id": "a", "kind": "gender", "text": "x", "stile": "tags"}, "unknown key 'stile'; did you mean 'style'?"),
        ({"id": "a", "kind": "gender", "text": "x", "style": "tag"}, "style: "),
    ],
)
def test_a_bad_prompt_of_the_users_is_named_with_its_line(row, message, tmp_path):
    path = tmp_path / "prompts.jsonl"
    fine = {"id": "fine", "kind": "my_kind", "text": "Who?", "style": "tags", "system": None}
    path.write_text("".join(json.dumps(r) + "\n" for r in (fine, row)), encoding="utf-8")
    with pytest.raises(SpeechLLMError) as caught:
        read_prompts(path)
    assert str(caught.value).startswith(f"{path}:2: ")
    assert message in str(caught.value)
    path.write_text(json.dumps(fine), encoding="utf-8")
    assert read_prompts(path) == [Prompt(**fine)]
