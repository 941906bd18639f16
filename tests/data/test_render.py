import copy

import pytest

from speechllm.data.render import PromptRenderer, ask, audio_parts, describe_audio, flatten, special_tokens
from speechllm.errors import SpeechLLMError
from speechllm.testing.tiny import CHAT_TEMPLATE, tiny_tokenizer

LLAMA = (
    "{{ '<|begin_of_text|>' }}{% for m in messages %}"
    "{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' + m['content'] | trim + '<|eot_id|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
"""Llama 3: trims the content; its end of turn is neither the end of sequence nor has it a name of its own."""

GEMMA = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{{ bos_token }}"
    "{% for m in messages %}{{ '<start_of_turn>' + ('model' if m['role'] == 'assistant' else m['role']) + '\n'"
    " + m['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
VICUNA = (
    "{% for m in messages %}{% if m['role'] == 'user' %}{{ 'USER: ' + m['content'] + ' ' }}"
    "{% elif m['role'] == 'assistant' %}{{ 'ASSISTANT: ' + m['content'] + eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)
DATED = "{{ strftime_now('%d %b %Y %f') }}" + CHAT_TEMPLATE

TALK = [
    {"role": "user", "content": [{"type": "audio", "path": "a.wav"}, {"type": "text", "text": " Who? "}]},
    {"role": "assistant", "content": "A man."},
    {"role": "user", "content": "Sure?"},
]


def renderer(template=CHAT_TEMPLATE, added=(), **named):
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens(list(added), special_tokens=True)
    tokenizer.add_special_tokens(named)
    tokenizer.chat_template = template
    return PromptRenderer(tokenizer)


def llama(template=LLAMA):
    added = ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
    return renderer(template, added, eos_token="<|end_of_text|>")


def gemma():
    return renderer(GEMMA, ["<start_of_turn>", "<end_of_turn>"], bos_token="<bos>", eos_token="<eos>")


def test_chatml():
    chatml = renderer()
    assert chatml.prompt(TALK) == (
        "<|im_start|>user\n<|audio|>\n Who? <|im_end|>\n<|im_start|>assistant\nA man.<|im_end|>\n"
        "<|im_start|>user\nSure?<|im_end|>\n<|im_start|>assistant\n"
    )
    assert chatml.end_of_turn == "<|im_end|>"


def test_llama_3():
    assert llama().prompt(TALK) == (
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n<|audio|>\n Who?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nA man.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nSure?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
    )
    assert llama().end_of_turn == "<|eot_id|>"


def test_the_end_of_turn_of_other_families():
    assert gemma().end_of_turn == "<end_of_turn>"
    assert renderer(VICUNA, eos_token="</s>").end_of_turn == "</s>"
    nothing = renderer("{% for m in messages %}{{ m.content }}\n{% endfor %}", eos_token="</s>")
    assert nothing.end_of_turn == "</s>", "the end of sequence where the template writes nothing"


def test_of_two_tokens_that_start_alike_the_longer_ends_the_turn():
    template = "{% for m in messages %}{{ m.content }}<end><of_turn>{% endfor %}"
    assert renderer(template, ["<end>", "<end><of_turn>"]).end_of_turn == "<end><of_turn>"


@pytest.mark.parametrize("make", [renderer, llama, gemma])
@pytest.mark.parametrize("reply", ["It is.", "  It is.\n", "\n\n", ""])
def test_a_conversation_continues_the_prompt_as_generation_would(make, reply):
    """Not what the template makes of a reply: some trim it, and the LLM's own words are what is learned."""
    text, start = make().conversation(TALK, reply)
    assert text == make().prompt(TALK) + reply + make().end_of_turn
    assert text[start:] == reply + make().end_of_turn
    cut, start = make().conversation(TALK, reply, complete=False)
    assert cut[start:] == reply


def test_what_a_template_refuses_is_an_error_with_its_words():
    with pytest.raises(SpeechLLMError, match=r"refuses the messages \(System role not supported\); .*system, user"):
        gemma().prompt(ask("Who?", system="Listen."))


def test_a_tokenizer_without_a_template_is_an_error():
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = None
    with pytest.raises(SpeechLLMError, match="has no chat template; use an instruction-tuned LLM"):
        PromptRenderer(tokenizer)


def test_the_template_hash_is_that_of_the_template():
    hashes = [renderer().template_hash, llama().template_hash, gemma().template_hash]
    assert len(set(hashes)) == 3
    assert renderer().template_hash == hashes[0]
    assert llama().template_hash == hashes[1]
    longer = renderer("{# the same #}" + CHAT_TEMPLATE)
    assert longer.template_hash == hashes[0], "what the LLM reads is the same"
    for changed in (
        CHAT_TEMPLATE.replace("assistant\n", "assistant:\n"),
        CHAT_TEMPLATE.replace("{{ m.content }}", "{{ m.content | trim }} "),
        CHAT_TEMPLATE.replace("{% for", "{% if messages[0].role != 'system' %}Be kind.{% endif %}{% for", 1),
        CHAT_TEMPLATE.replace("{% for", "{% if messages[0].role == 'system' %}Be kind.{% endif %}{% for", 1),
    ):
        assert renderer(changed).template_hash != hashes[0], changed


def test_the_template_hash_knows_the_end_of_turn():
    """Two templates that differ only behind the last reply."""
    last = (
        "{% for m in messages %}{{ m.content }}{% if loop.last and m.role == 'assistant' %}END{% endif %}{% endfor %}"
    )
    hashes = {renderer(last.replace("END", end), ["<a>", "<b>"]).template_hash for end in ("<a>", "<b>")}
    assert len(hashes) == 2


def test_the_template_hash_knows_how_transcripts_are_told(monkeypatch):
    before = renderer().template_hash
    monkeypatch.setattr("speechllm.data.render._SAYS", "{text}")
    assert renderer().template_hash != before


def test_the_template_hash_does_not_depend_on_the_day():
    dated = renderer(DATED)
    assert dated.prompt(TALK) != dated.prompt(TALK), "this template writes the microsecond"
    assert dated.template_hash == dated.template_hash
    assert dated.template_hash != renderer().template_hash


def test_special_tokens_are_all_of_them():
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens(["<think>"])
    tokenizer.add_tokens(["<|tool|>"], special_tokens=True)
    found = special_tokens(tokenizer)
    assert sorted(found) == sorted(["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|tool|>"])


# ---------------------------------------------------------------- messages


def test_parts_are_joined_by_a_line_break():
    parts = [{"type": "audio"}, {"type": "audio", "transcript": "Hi there"}, {"type": "text", "text": "Who?"}]
    assert flatten(parts) == '<|audio|>\n<|audio|> The speaker says: "Hi there"\nWho?'
    assert flatten("Who?") == "Who?"
    assert flatten([]) == ""


def test_audio_parts_come_in_order():
    talk = [*TALK, {"role": "user", "content": [{"type": "audio", "path": "b.wav"}, {"type": "audio"}]}]
    assert audio_parts(talk) == [
        {"type": "audio", "path": "a.wav"},
        {"type": "audio", "path": "b.wav"},
        {"type": "audio"},
    ]


def test_descriptions_take_the_place_of_audio():
    talk = [*TALK, {"role": "user", "content": [{"type": "text", "text": "And"}, {"type": "audio", "path": "b.wav"}]}]
    before = copy.deepcopy(talk)
    described = describe_audio(talk, ["<first>", "<second>"])
    assert talk == before
    assert audio_parts(described) == []
    assert described[0]["content"] == [{"type": "text", "text": "<first>"}, {"type": "text", "text": " Who? "}]
    assert described[1:3] == talk[1:3]
    assert described[3]["content"] == [{"type": "text", "text": "And"}, {"type": "text", "text": "<second>"}]
    text = renderer().prompt(described)
    assert text == renderer().prompt(talk).replace("<|audio|>", "<first>", 1).replace("<|audio|>", "<second>", 1)


@pytest.mark.parametrize("descriptions", [[], ["a", "b"]])
def test_there_is_one_description_for_each_audio(descriptions):
    with pytest.raises(ValueError, match="1 audio parts"):
        describe_audio(TALK, descriptions)


def test_ask():
    assert ask("Who?") == [{"role": "user", "content": [{"type": "text", "text": "Who?"}]}]
    assert ask("Who?", system="S", audio={"path": "a.wav"}) == [
        {"role": "system", "content": "S"},
        {"role": "user", "content": [{"type": "audio", "path": "a.wav"}, {"type": "text", "text": "Who?"}]},
    ]
