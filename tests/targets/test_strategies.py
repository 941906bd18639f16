"""What each strategy makes of a reply: kept, replaced by better words, or dropped."""

import json

import pytest

from speechllm.data.manifest import Utterance
from speechllm.data.prompts import Prompt
from speechllm.data.render import PromptRenderer, ask
from speechllm.errors import SpeechLLMError
from speechllm.models.reply import Reply, Sampling
from speechllm.targets.generate import Generator, generate, works
from speechllm.targets.strategies import OVER_AUDIO, REPLAY, allot, parse_mix
from speechllm.targets.strategies.base import Item, Writer
from speechllm.targets.strategies.build import build_strategies
from speechllm.targets.strategies.corrected import MinimalEdit, Paraphrase, Selective
from speechllm.targets.strategies.gold import Gold, gold_answer
from speechllm.targets.strategies.replay import (
    ExperienceReplay,
    PseudoReplay,
    before_user,
    blank_items,
    cycled,
    read_instructions,
)
from speechllm.targets.strategies.self_output import CONTINUE, CrossModel, SelfOutput
from speechllm.targets.verify import Judge, verify
from speechllm.testing.scripted import ScriptedReplier
from speechllm.testing.tiny import tiny_tokenizer

WOMAN = Utterance(
    id="w",
    audio="w.wav",
    duration=2.0,
    sampling_rate=16_000,
    text="the cat is out",
    language="en",
    attributes={"gender": "female", "age": "31"},
)


def item(kind, text="?", **more):
    prompt = Prompt(id=kind, kind=kind, text=text, **more)
    return Item(id=f"w/{kind}", prompt=prompt, utterance=WOMAN, description="<gender>female</gender>", style="tags")


def writer(*replies, finish_reason="stop"):
    """Says these in turn, and keeps what it was asked in `.replier.asked`."""
    said = iter(replies)
    replier = ScriptedReplier(lambda messages: next(said))
    if finish_reason == "stop":
        return Writer(replier)
    return Writer(lambda conversations, sampling, description="": [Reply(next(said), finish_reason)] * 1)


def made(strategy, one, *replies):
    [written] = strategy.write([one], writer(*replies))
    return written.text, written.outcome


def test_self_output_reads_the_description_and_the_prompt_or_less():
    told = {}
    for form in ("instruction", "bare", "continuation"):
        by = writer("Fine.")
        [written] = SelfOutput(form).write([item("gender", "Who?", system="Listen.")], by)
        assert (written.text, written.outcome) == ("Fine.", "kept")
        [told[form]] = by.replier.asked
        if form == "bare":
            assert written.messages[-1]["content"] == [{"type": "audio"}]
        if form == "continuation":
            assert written.messages[-1]["content"] == [{"type": "text", "text": CONTINUE}, {"type": "audio"}]
        assert told[form][0]["content"] == "Listen."
    last = {form: [part["text"] for part in messages[-1]["content"]] for form, messages in told.items()}
    assert last["instruction"] == ["<gender>female</gender>", "Who?"]
    assert last["bare"] == ["<gender>female</gender>"]
    assert last["continuation"] == [f"{CONTINUE}\nthe cat is out"]


def test_gold_is_the_label_the_transcript_or_nothing():
    assert gold_answer(item("gender")) == "female"
    assert gold_answer(item("gender", language="zh")) == "女性"
    assert gold_answer(item("transcribe")) == "the cat is out"
    assert gold_answer(item("reason")) is None
    assert made(Gold(), item("gender")) == ("female", "kept")
    assert made(Gold(), item("reason")) == ("", "dropped")


GOLD = "female"


@pytest.mark.parametrize(
    ("kind", "reply", "expected"),
    [
        ("gender", "A woman is speaking.", ("A woman is speaking.", "kept")),
        ("gender", "A man is speaking.", (GOLD, "replaced")),
        ("gender", "A man or a woman.", (GOLD, "replaced")),
        ("transcribe", "The cat is out.", ("The cat is out.", "kept")),
        ("transcribe", "The dog is out.", ("the cat is out", "replaced")),
        ("age", "Young.", ("31", "replaced")),
        ("reason", "Because.", ("", "dropped")),
    ],
)
def test_selective_keeps_what_the_verifiers_accept(kind, reply, expected):
    assert made(Selective(), item(kind), reply) == expected


@pytest.mark.parametrize(
    ("kind", "reply", "expected"),
    [
        ("gender", "A woman is speaking.", ("A woman is speaking.", "kept")),
        ("gender", "I think the Man is calm.", ("I think the Woman is calm.", "replaced")),
        ("gender", "It is MALE, surely.", ("It is FEMALE, surely.", "replaced")),
        ("gender", "No idea.", (GOLD, "replaced")),
        ("transcribe", 'They say: "the bat is out".', ('They say: "the cat is out".', "replaced")),
        ("transcribe", "bat", ("the cat is out", "replaced")),
        ("reason", "Because.", ("", "dropped")),
    ],
)
def test_minimal_edit_mends_only_what_is_wrong(kind, reply, expected):
    text, outcome = made(MinimalEdit(), item(kind), reply)
    if kind == "transcribe" and '"' in reply:  # the frame around the words counts as errors against the transcript
        assert outcome == "replaced"
        return
    assert (text, outcome) == expected


def test_paraphrase_is_kept_while_it_agrees():
    by = writer("She is a lady.", "He is a boy.")
    kept, replaced, dropped = Paraphrase().write([item("gender"), item("gender"), item("reason")], by)
    assert (kept.text, kept.outcome) == ("She is a lady.", "kept")
    assert (replaced.text, replaced.outcome, replaced.generator[0]) == (GOLD, "replaced", "corpus")
    assert dropped.outcome == "dropped"
    assert GOLD in by.replier.asked[0][-1]["content"][0]["text"]
    [cut] = Paraphrase().write([item("gender")], writer("She is a lady", finish_reason="length"))
    assert cut.outcome == "replaced", "an answer that was cut short does not replace a whole one"


def test_verifiers_of_form():
    regex = item("one_word", expects={"regex": r"\w+\.?"})
    schema = {"type": "object", "required": ["gender"]}
    json_item = item("json", expects={"json_schema": schema})
    by = writer()
    assert verify([regex, regex], ["Low.", "It is low."], by) == [True, False]
    replies = ['{"gender": "x"}', '```json\n{"gender": "x"}\n```', '{"age": 3}', "gender: x", "[1"]
    assert verify([json_item] * 5, replies, by) == [True, True, False, False, False]
    assert verify([item("reason")], ["x"], by) == [None]
    both = item("gender", expects={"regex": r"\w+"})
    assert verify([both, both, both], ["woman", "man", "a woman"], by) == [True, False, False]
    chinese = item("gender", language="zh")
    assert verify([chinese, chinese], ["是女性。", "是男性。"], by) == [True, False]


def test_the_judge_sees_question_gold_and_reply_and_only_yes_counts():
    by = writer("They agree. Result: YES", "Result: NO", "hm")
    items = [item("gender"), item("reason"), item("gender"), item("gender")]
    assert Judge()(items, ["a", "b", "c", "d"], by) == [True, None, False, False]
    assert GOLD in by.replier.asked[0][-1]["content"][0]["text"]
    assert made(Selective(judge=True), item("gender"), "A woman.", "Result: NO") == (GOLD, "replaced")


def test_another_model_is_asked_and_named():
    other = ScriptedReplier(lambda messages: "Other words.")
    [written] = CrossModel(other, "b/llm", "r2").write([item("gender")], writer())
    assert (written.text, written.generator) == ("Other words.", ("b/llm", "r2"))


def test_instructions_are_replayed_as_they_are(tmp_path):
    path = tmp_path / "text.jsonl"
    rows = [{"prompt": "Count to two.", "response": "1 2"}, {"instruction": "Say hi.", "response": "hi", "id": "h"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    items = cycled(read_instructions(path), 3)
    assert [i.id for i in items] == ["text/1", "text/h", "text/1/1"]
    written = ExperienceReplay().write(items, writer())
    assert [w.text for w in written] == ["1 2", "hi", "1 2"]
    assert items[0].messages == ask("Count to two.")
    path.write_text('{"prompt": "x"}\n', encoding="utf-8")
    with pytest.raises(SpeechLLMError, match=r"text\.jsonl:1: expected"):
        read_instructions(path)


class Magpie(ScriptedReplier):
    """Writes instructions from the bare template."""

    def complete(self, texts, sampling, description=""):
        assert sampling.temperature == 1.0
        self.began = list(texts)
        told = ["Write a poem about rain.", "write a poem about RAIN", "Ok", "Name three large rivers."]
        return [Reply(text, "length" if "rivers" in text else "stop") for text in told]


def test_pseudo_replay_writes_instructions_from_the_template_and_drops_bad_ones():
    replier = Magpie(lambda messages: f"Reply to {messages[-1]['content'][0]['text']}")
    template = before_user(PromptRenderer(tiny_tokenizer()))
    assert template == "<|im_start|>user\n"
    written = PseudoReplay(template).write(blank_items(4), Writer(replier))
    assert replier.began == [template] * 4
    assert [w.outcome for w in written] == ["kept", "dropped", "dropped", "dropped"]
    assert [w.reason.split()[-1] for w in written[1:]] == ["already", "empty", "short"]
    assert written[0].text == "Reply to Write a poem about rain."
    assert written[0].messages == ask("Write a poem about rain.")


def test_pseudo_replay_from_examples():
    by = writer("Instruction: Name a tall tree.", "An oak.")
    [written] = PseudoReplay(shots=["Name a fish.", "Count to ten."]).write(blank_items(1), by)
    assert (written.messages, written.text) == (ask("Name a tall tree."), "An oak.")
    assert "Name a fish." in by.replier.asked[0][-1]["content"][0]["text"]
    with pytest.raises(SpeechLLMError, match="at least two example instructions"):
        PseudoReplay(shots=["one"])
    with pytest.raises(SpeechLLMError, match="cannot continue a bare template"):
        PseudoReplay("<user>").write(blank_items(1), writer())


def test_a_mix_is_parsed_and_shared_out_evenly():
    assert parse_mix(["self_output=3", "gold", "pseudo_replay=.05"]) == {
        "self_output": 3.0,
        "gold": 1.0,
        "pseudo_replay": 0.05,
    }
    names = allot(40, {"self_output": 3.0, "gold": 1.0, "pseudo_replay": 0.5})
    assert (names.count("self_output"), names.count("gold")) == (30, 10)
    assert all(names[k : k + 4].count("gold") == 1 for k in range(0, 40, 4))


@pytest.mark.parametrize(
    ("mix", "message"),
    [
        (["self_outptu"], "there is no strategy 'self_outptu'; did you mean 'self_output'?"),
        (["gold=x"], "'gold=x': give the weight"),
        (["gold=0"], "more than 0"),
        (["gold=nan"], "more than 0"),
        (["gold", "gold=2"], "given twice"),
        (["pseudo_replay"], "at least one strategy over audio"),
    ],
)
def test_a_bad_mix_is_named(mix, message):
    with pytest.raises(SpeechLLMError) as caught:
        parse_mix(mix)
    assert message in str(caught.value)


def test_every_name_can_be_built():
    other = (ScriptedReplier(lambda messages: ""), "o", "1")
    names = [*OVER_AUDIO, *REPLAY]
    built = build_strategies(names, other=other, shots=["a", "b"])
    assert [strategy.name for strategy in built.values()] == names
    assert all(json.dumps(strategy.settings) for strategy in built.values())
    with pytest.raises(SpeechLLMError, match="--other-llm"):
        build_strategies(["cross_model"])
    with pytest.raises(SpeechLLMError, match="--instructions"):
        build_strategies(["pseudo_replay"])


def test_a_mix_of_all_becomes_one_file(corpus, tmp_path):
    replier = Magpie(lambda messages: "The pitch is low.")
    prompt = Prompt(id="p", kind="pitch", text="Low or high?")
    work = works(
        [(u, prompt) for u in corpus.utterances],
        {"self_output": 1.0, "gold": 1.0, "selective": 2.0, "pseudo_replay": 0.5},
    )
    strategies = build_strategies({w.strategy for w in work}, renderer=PromptRenderer(tiny_tokenizer()))
    records = generate(work, strategies, Generator(replier, "x", "0"), Sampling(), tmp_path / "t.jsonl")
    counts = json.loads((tmp_path / "t.jsonl.report.json").read_text(encoding="utf-8"))["strategies"]
    assert {name: sum(c[o] for o in ("kept", "replaced", "dropped")) for name, c in counts.items()} == {
        "self_output": 2,
        "gold": 2,
        "selective": 4,
        "pseudo_replay": 4,
    }
    assert counts["selective"]["replaced"] == 2
    text = [r for r in records if r.strategy == "pseudo_replay"]
    assert [(r.audio, r.utterance_id, r.prompt) for r in text] == [("", "", "Write a poem about rain.")]
    assert {r.generator for r in records if r.strategy == "gold"} == {"corpus"}
