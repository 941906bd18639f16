import json
from collections import Counter

import pytest

from speechllm.data.attributes import ATTRIBUTES
from speechllm.data.prompts import TRANSCRIBE, Prompt, built_in_prompts, read_prompts
from speechllm.errors import SpeechLLMError


def test_the_built_in_prompts_are_valid_and_distinct():
    prompts = built_in_prompts()
    assert len(prompts) >= 20
    assert max(Counter(prompt.id for prompt in prompts).values()) == 1
    assert max(Counter(prompt.text for prompt in prompts).values()) == 1
    for prompt in prompts:
        assert prompt.kind == TRANSCRIBE or ATTRIBUTES[prompt.kind].values, "no reply to it can be scored"
        assert prompt.id.startswith(f"{prompt.kind}-")


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
