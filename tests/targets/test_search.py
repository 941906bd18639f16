import pytest

from speechllm.data.manifest import Utterance
from speechllm.data.prompts import Prompt
from speechllm.errors import SpeechLLMError
from speechllm.targets.search import Scored, keep_faithful, search_prompts
from speechllm.testing.scripted import ScriptedReplier

PROMPTS = [
    Prompt(id="gender-good", kind="gender", text="Is the speaker male or female?"),
    Prompt(id="gender-bad", kind="gender", text="Gender?"),
    Prompt(id="pitch", kind="pitch", text="Low or high?"),
    Prompt(id="words", kind="transcribe", text="Write it down."),
]


def utterances(n=16, **changes):
    made = []
    for i in range(n):
        attributes = {"gender": ("male", "female")[i % 2], "pitch": ("low", "high")[i // 2 % 2]}
        values = {"id": f"u{i}", "audio": "a.wav", "duration": 1.0, "sampling_rate": 16_000, "text": f"word {i}"}
        made.append(Utterance(**values | {"attributes": attributes} | changes))
    return made


def faithful(messages):
    """Understands tags only, and two of the questions."""
    description, question = (part["text"] for part in messages[-1]["content"])
    if "<" not in description:
        return "I cannot hear audio."
    if question == "Is the speaker male or female?":
        return "A woman." if "female" in description else "A man."
    if question == "Write it down.":
        return description.partition("<text>")[2].removesuffix("</text>")
    if question == "Low or high?":
        return "low"
    return "Male or female."


def find(prompts=PROMPTS, among=None, script=faithful, **settings):
    replier = ScriptedReplier(script)
    chosen = {"first_round": 4, "second_round": 8, "finalists": 4, "styles": ("desta", "tags")} | settings
    return search_prompts(prompts, among or utterances(), replier, **chosen), replier


def test_a_faithful_prompt_and_style_rank_above_unfaithful_ones():
    scored, _ = find()
    by_kind = {kind: [s for s in scored if s.prompt.kind == kind] for kind in ("gender", "pitch", "transcribe")}
    best = by_kind["gender"][0]
    assert (best.prompt.id, best.prompt.style, best.score) == ("gender-good", "tags", 1.0)
    assert best.example in ("A woman.", "A man.")
    assert [s.score for s in by_kind["gender"]] == [1.0, 0.0, 0.0, 0.0]
    assert (by_kind["transcribe"][0].prompt.style, by_kind["transcribe"][0].score) == ("tags", 1.0)
    assert by_kind["pitch"][0].score == 0.5, "always the same answer is right half the time: values are balanced"
    assert {s.n for s in scored} == {8}


def test_every_combination_is_tried_on_the_first_round_and_the_better_ones_on_the_second():
    scored, replier = find(systems=(None, "Listen."), finalists=2)
    candidates = 4 * 2 * 2
    finalists = 3 * 2
    assert len(scored) == finalists
    assert len(replier.asked) == candidates * 4 + finalists * 8
    first = replier.asked[: candidates * 4]
    assert sum(messages[0] == {"role": "system", "content": "Listen."} for messages in first) == len(first) / 2
    assert {s.prompt.style for s in scored if s.score == 1.0} == {"tags"}


def test_the_search_is_reproducible():
    def sampled(seed):
        _, replier = find(seed=seed)
        return [messages[-1]["content"][0]["text"] for messages in replier.asked]

    assert sampled(0) == sampled(0)
    assert sampled(0) != sampled(1)


def test_withheld_attributes_are_not_described():
    _, replier = find(attributes=["gender"])
    read = " ".join(messages[-1]["content"][0]["text"] for messages in replier.asked).lower()
    assert "gender" in read
    assert "pitch" not in read


def test_utterances_that_lack_what_is_asked_are_not_sampled():
    lacking = [u.model_copy(update={"attributes": {"gender": "male"}}) for u in utterances(4)]
    scored, _ = find(among=[*lacking, *utterances(2)])
    assert {s.n for s in scored} == {2}
    with pytest.raises(SpeechLLMError, match="no utterance has all of text, gender, pitch; prompts cannot be scored"):
        find(among=lacking)


def test_text_is_needed_only_for_transcripts():
    scored, _ = find(PROMPTS[:1], utterances(text=None))
    assert scored[0].score == 1.0
    with pytest.raises(SpeechLLMError, match="all of text, gender"):
        find([PROMPTS[0], PROMPTS[3]], utterances(text=None))


@pytest.mark.parametrize("kind", ["age", "mood"])
def test_a_kind_whose_values_are_not_known_cannot_be_scored(kind):
    prompts = [Prompt(id="x", kind=kind, text="?")]
    with pytest.raises(SpeechLLMError, match=f"prompts of kind '{kind}' cannot be scored"):
        find(prompts, utterances(attributes={kind: "old"}))


def scored(kind, id, score):
    return Scored(Prompt(id=id, kind=kind, text="?"), score, 8, "")


def test_the_faithful_ones_are_kept_and_the_best_where_none_is():
    found = [
        scored("gender", "g1", 0.85),
        scored("gender", "g2", 1.0),
        scored("gender", "g3", 0.9),
        scored("pitch", "p1", 0.3),
        scored("pitch", "p2", 0.4),
        scored("transcribe", "t1", 0.8),
        scored("transcribe", "t2", 0.79),
    ]
    assert [p.id for p in keep_faithful(found)] == ["g2", "g3", "p2", "t1"]
    assert [p.id for p in keep_faithful(found, threshold=0.95, at_most=5)] == ["g2", "p2", "t1"]
    assert keep_faithful([]) == []


def test_faults_are_told_as_shares():
    def script(messages):
        description, question = (part["text"] for part in messages[-1]["content"])
        if question == "Gender?":
            return "I'm sorry, I cannot hear."
        if "male or female" in question:
            return description
        return "A man of the tags said in the parentheses" if question == "Low or high?" else "a b a b"

    scored, _ = find(script=script, styles=("natural",))
    told = {s.prompt.id: (s.refusal, s.echo, s.copy, s.truncated) for s in scored}
    assert told == {
        "gender-bad": (1.0, 0.0, 0.0, 0.0),
        "gender-good": (0.0, 0.0, 1.0, 0.0),
        "pitch": (0.0, 1.0, 0.0, 0.0),
        "words": (0.0, 0.0, 0.0, 0.0),
    }
    words = next(s for s in scored if s.prompt.id == "words")
    assert words.distinct_2 == pytest.approx(2 / 24)  # "a b" and "b a" among three pairs of each of eight replies
    assert words.surprisal is None


def test_the_finalists_replies_are_read_again():
    seen = []

    def surprisal(conversations, replies, description=""):
        seen.extend(replies)
        return [[1.0, 3.0] for _ in replies]

    scored, _ = find(surprisal=surprisal)
    assert {s.surprisal for s in scored} == {2.0}
    assert len(seen) == 8 * len(scored)
