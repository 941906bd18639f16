import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer

from speechllm.audio.io import load_audio
from speechllm.data.manifest import Utterance
from speechllm.data.prompts import Prompt
from speechllm.errors import SpeechLLMError
from speechllm.models.reply import Reply, Sampling, TextReplier
from speechllm.targets.generate import Generator, choose_prompts, generate_targets
from speechllm.targets.records import TargetRecord, read_targets, usable
from speechllm.testing.scripted import ScriptedReplier

PROMPTS = [
    Prompt(id="gender-1", kind="gender", text="Male or female?", style="tags", system="Listen."),
    Prompt(id="gender-2", kind="gender", text="Who?"),
    Prompt(id="pitch-1", kind="pitch", text="Low or high?", style="natural"),
    Prompt(id="transcribe-1", kind="transcribe", text="Write it down.", style="desta"),
]


def utterances(n):
    return [
        Utterance(
            id=f"u{i}",
            audio=f"u{i}.wav",
            duration=2.0,
            sampling_rate=16_000,
            text=f"words {i}",
            attributes={"gender": "female" if i % 2 else "male", "pitch": "low"},
        )
        for i in range(n)
    ]


@given(n=st.integers(1, 24), each=st.integers(1, 3), seed=st.integers(0, 3))
def test_kinds_are_drawn_equally_often(n, each, seed):
    pairs = choose_prompts(utterances(n), PROMPTS, each, seed)
    kinds = Counter(prompt.kind for _, prompt in pairs)
    assert sum(kinds.values()) == n * each
    assert max(kinds.values()) - min(kinds[kind] for kind in ("gender", "pitch", "transcribe")) <= 1
    assert [utterance.id for utterance, _ in pairs] == [f"u{i}" for i in range(n) for _ in range(each)]


@given(n=st.integers(1, 10), each=st.integers(1, 6), seed=st.integers(0, 20))
def test_an_utterance_is_asked_nothing_twice(n, each, seed):
    prompts = [Prompt(id=f"{kind}-{i}", kind=kind, text="?") for kind in ("gender", "pitch", "age") for i in range(2)]
    pairs = [(utterance.id, prompt.id) for utterance, prompt in choose_prompts(utterances(n), prompts, each, seed)]
    assert len(set(pairs)) == len(pairs)


def test_drawing_is_reproducible_and_depends_on_the_seed():
    first = choose_prompts(utterances(30), PROMPTS, 2, seed=0)
    assert choose_prompts(utterances(30), PROMPTS, 2, seed=0) == first
    assert choose_prompts(utterances(30), PROMPTS, 2, seed=1) != first
    assert {prompt.id for _, prompt in first} == {prompt.id for prompt in PROMPTS}, "no prompt is left out"


@pytest.mark.parametrize(("prompts", "each"), [(PROMPTS, 4), ([], 1)])
def test_too_few_prompts_are_an_error(prompts, each):
    with pytest.raises(SpeechLLMError, match="give more prompts or ask fewer"):
        choose_prompts(utterances(2), prompts, each, seed=0)


def script(messages):
    """Tells what it was shown, so that a record proves what the LLM read."""
    return f"I read {len(messages[-1]['content'][0]['text'])} characters."


def generate(corpus, tmp_path, pairs, **settings):
    replier = settings.pop("replier", None) or ScriptedReplier(script)
    generator = Generator(replier, "some/llm", "abc123")
    sampling = Sampling(max_new_tokens=9, temperature=0.5, top_p=0.9, seed=4)
    out = tmp_path / "deep" / "targets.jsonl"
    return generate_targets(pairs, generator, sampling, out, **settings), out, replier


def test_records_hold_the_reply_what_it_is_about_and_where_it_comes_from(corpus, tmp_path):
    utterance, prompt = corpus.utterances[1], PROMPTS[0]
    [record], out, replier = generate(corpus, tmp_path, [(utterance, prompt)])
    assert record == TargetRecord(
        id="tone-1/gender-1",
        utterance_id="tone-1",
        audio=record.audio,
        seed_description="<pitch>high</pitch><text>high</text>",
        prompt="Male or female?",
        messages=prompt.messages(),
        response="I read 36 characters.",
        finish_reason="stop",
        strategy="self_output",
        generator="some/llm",
        generator_revision="abc123",
        prompt_id="gender-1",
        prompt_kind="gender",
        description_style="tags",
        sampling={"max_new_tokens": 9, "temperature": 0.5, "top_p": 0.9},
        seed=4,
    )
    assert load_audio(out.parent / record.audio).size == load_audio(utterance.audio).size
    assert replier.asked == [
        [
            {"role": "system", "content": "Listen."},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "<pitch>high</pitch><text>high</text>"},
                    {"type": "text", "text": "Male or female?"},
                ],
            },
        ]
    ]


def test_records_are_read_back_as_they_were_written(corpus, tmp_path):
    pairs = choose_prompts(corpus.utterances, PROMPTS, 2, seed=0)
    records, out, _ = generate(corpus, tmp_path, pairs)
    assert read_targets(out) == records
    assert len({record.id for record in records}) == len(records) == 16
    _, other, _ = generate(corpus, tmp_path / "again", pairs)
    lines = [json.loads(line) | {"audio": ""} for line in out.read_text(encoding="utf-8").splitlines()]
    assert lines == [json.loads(line) | {"audio": ""} for line in other.read_text(encoding="utf-8").splitlines()]
    assert {path.name for path in out.parent.iterdir()} == {"targets.jsonl", "targets.jsonl.report.json"}


def test_the_style_is_the_prompts_own_or_the_one_that_was_given(corpus, tmp_path):
    pairs = [(corpus.utterances[0], prompt) for prompt in PROMPTS]
    records, *_ = generate(corpus, tmp_path, pairs, style="natural")
    assert [record.description_style for record in records] == ["tags", "natural", "natural", "desta"]
    assert records[3].seed_description.startswith("[00:00:00 - ")
    withheld, *_ = generate(corpus, tmp_path, pairs, attributes=[])
    assert "pitch" not in "".join(record.seed_description for record in withheld).lower()


def test_nothing_is_left_under_the_final_name_where_the_llm_fails(corpus, tmp_path):
    def broken(messages):
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError):
        generate(corpus, tmp_path, [(corpus.utterances[0], PROMPTS[0])], replier=ScriptedReplier(broken))
    assert list(tmp_path.rglob("*.jsonl")) == []


def test_a_reply_that_was_cut_short_is_recorded_as_such(corpus, tmp_path):
    def replier(conversations, sampling, description=""):
        low = ["is low" in str(conversation) for conversation in conversations]
        return [Reply("It is", "length") if this else Reply("It is high.", "stop") for this in low]

    pairs = [(corpus.utterances[i], PROMPTS[2]) for i in (0, 1)]
    records, out, _ = generate(corpus, tmp_path, pairs, replier=replier)
    assert [record.finish_reason for record in records] == ["length", "stop"]
    assert [record.finish_reason for record in read_targets(out)] == ["length", "stop"]


def test_a_replier_that_answers_too_few_is_an_error(corpus, tmp_path):
    pairs = [(corpus.utterances[i], PROMPTS[2]) for i in (0, 1)]
    with pytest.raises(ValueError, match="zip"):
        generate(corpus, tmp_path, pairs, replier=lambda conversations, sampling, description: [Reply("x", "stop")])


def test_a_real_llm_writes_the_same_whatever_the_order_and_the_batch(corpus, tmp_path, llm_reference):
    """Greedy replies; and `length` for each of them that did not end its turn."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(llm_reference), AutoTokenizer.from_pretrained(llm_reference)
    pairs = choose_prompts(corpus.utterances, PROMPTS, 1, seed=0)
    written = {}
    for size in (1, 3, 8):
        generator = Generator(TextReplier(model, tokenizer, size), llm_reference, "0")
        records = generate_targets(pairs, generator, Sampling(max_new_tokens=5), tmp_path / f"{size}.jsonl")
        written[size] = [(record.id, record.response, record.finish_reason) for record in records]
    assert written[1] == written[3] == written[8]
    assert [id for id, *_ in written[1]] == [f"{u.id}/{p.id}" for u, p in pairs]


def test_records_without_a_reply_are_not_usable(corpus):
    records = [corpus.records[0].model_copy(update={"response": text}) for text in ("", " \n", "x")]
    assert [record.response for record in usable(records)] == ["x"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"finish_reason": "eos"}, "finish_reason: "),
        ({"respnse": "x"}, "unknown key 'respnse'; did you mean 'response'?"),
        ({"response": 7}, "response: "),
    ],
)
def test_a_bad_record_is_named_with_its_line(change, message, corpus, tmp_path):
    lines = corpus.targets.read_text(encoding="utf-8").splitlines()
    lines[1] = json.dumps(json.loads(lines[1]) | change)
    (tmp_path / "t.jsonl").write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(SpeechLLMError) as caught:
        read_targets(tmp_path / "t.jsonl")
    assert str(caught.value).startswith(f"{tmp_path / 't.jsonl'}:2: ")
    assert message in str(caught.value)


def test_an_empty_targets_file_is_an_error(tmp_path):
    (tmp_path / "t.jsonl").write_text("\n")
    with pytest.raises(SpeechLLMError, match=r"t\.jsonl: holds no target records; generate some with"):
        read_targets(tmp_path / "t.jsonl")


def test_every_kind_is_asked_about_all_sorts_of_utterances():
    """A corpus that alternates its speakers was once asked for the gender of women only."""
    alternating = [
        Utterance(
            id=str(i),
            audio="a.wav",
            duration=1.0,
            sampling_rate=16000,
            text="words",
            attributes={"gender": ("female", "male")[i % 2], "pitch": "low", "speaking_rate": "slow"},
        )
        for i in range(200)
    ]
    prompts = [Prompt(id=kind, kind=kind, text=kind) for kind in ("gender", "pitch", "speaking_rate", "transcribe")]
    pairs = choose_prompts(alternating, prompts, per_utterance=1, seed=0)
    women = sum(u.attributes["gender"] == "female" for u, p in pairs if p.kind == "gender")
    assert 10 <= women <= 40


def test_what_is_not_known_of_an_utterance_it_is_not_asked():
    """A clip without an emotion label once got a target that named one."""
    facts = {"angry": {"emotion": "angry"}, "woman": {"gender": "female"}, "korean": {}}
    clips = [
        Utterance(id=name, audio="a.wav", duration=1.0, sampling_rate=16000, language="ko", attributes=known)
        for name, known in facts.items()
    ]
    prompts = [Prompt(id=k, kind=k, text=k) for k in ("emotion", "gender", "language", "transcribe", "describe")]
    asked = {(u.id, p.kind) for u, p in choose_prompts(clips, prompts, per_utterance=3, seed=0)}
    free = {(name, kind) for name in facts for kind in ("language", "describe")}
    assert asked == free | {("angry", "emotion"), ("woman", "gender")}
    with pytest.raises(SpeechLLMError, match="no utterance has what the prompts ask for: emotion"):
        choose_prompts(clips[1:], prompts[:1], per_utterance=1, seed=0)
