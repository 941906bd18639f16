import json
from dataclasses import replace

import pytest

from speechllm.data.manifest import Utterance
from speechllm.data.prompts import Prompt
from speechllm.data.render import audio_parts
from speechllm.errors import SpeechLLMError
from speechllm.eval.asking import SYSTEMS, ask, asked_as, responses_path
from speechllm.eval.hearing import Answers, score
from speechllm.eval.metrics import accuracy
from speechllm.eval.tasks import Question, Task, attribute_task, named_choice, speaker_task
from speechllm.models.reply import Reply, Sampling
from speechllm.testing.scripted import ScriptedReplier

PROMPT = Prompt(id="p", kind="gender", text="Who speaks?", style="tags", system="Listen.")


def clip(name, **values):
    return Utterance(id=name, audio=f"{name}.wav", duration=1.0, sampling_rate=16_000, **values)


def people(n):
    return [clip(f"u{k}", attributes={"gender": ("female", "male")[k % 2]}, recognised_text=f"w{k}") for k in range(n)]


def test_each_system_is_told_what_it_may_know():
    question = attribute_task("gender", people(1), PROMPT).questions[0]
    asked = {system: asked_as(system, None, True)(question) for system in SYSTEMS}
    assert audio_parts(asked["model"])[0] == {
        "type": "audio",
        "path": "u0.wav",
        "start": None,
        "end": None,
        "transcript": "w0",
    }
    told = {s: [part.get("text") for part in asked[s][-1]["content"]] for s in SYSTEMS}
    assert told["ceiling"] == ["<gender>female</gender><text>w0</text>", "Who speaks?"]  # the corpus tells no words
    assert told["cascade"] == ["<text>w0</text>", "Who speaks?"]
    assert told["nothing"] == ["Who speaks?"]
    assert {asked[s][0]["content"] for s in SYSTEMS} == {"Listen."}


def test_two_clips_stand_before_the_question_in_order():
    question = Question(tuple(people(2)), PROMPT, "no")
    assert [p["path"] for p in audio_parts(question.heard(False))] == ["u0.wav", "u1.wav"]
    assert question.heard(False)[-1]["content"][-1] == {"type": "text", "text": "Who speaks?"}
    assert [p["text"] for p in question.read(None)[-1]["content"]] == [
        "<gender>female</gender><text>w0</text>",
        "<gender>male</gender><text>w1</text>",
        "Who speaks?",
    ]


def test_the_ceiling_reads_the_words_of_the_corpus_where_there_are_any():
    told = Question((clip("u", text="Right.", recognised_text="Write."),), PROMPT, "no").read([])
    assert told[-1]["content"][0]["text"] == "<text>Right.</text>"


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        ("(b) sad", "sad"),
        ("The answer is (c).", "very sad"),
        ("a", "happy"),
        ("B.", "sad"),
        ("She is very sad.", "very sad"),
        ("Happy or sad?", None),
        ("unhappy", None),
        ("d", None),
        ("", None),
        ("A person speaks.", None),
    ],
)
def test_a_choice_is_named_by_its_words_or_its_letter(reply, said):
    question = Question((clip("u"),), PROMPT, "sad", ("happy", "sad", "very sad"))
    assert named_choice(question, reply) == said


def test_scores_of_accuracy_and_chance():
    task = attribute_task("gender", people(4), PROMPT)
    replies = {
        "model": ["A woman.", "A man.", "A woman or a man.", "male"],
        "ceiling": ["female", "male", "female", "male"],
        "cascade": ["male"] * 4,
        "nothing": ["A woman."] * 4,
    }
    answers = Answers(task, {s: [Reply(text, "stop") for text in texts] for s, texts in replies.items()})
    results = score([answers])
    assert results["accuracy"]["gender"] == {"model": 0.75, "ceiling": 1.0, "cascade": 0.5, "chance": 0.5, "n": 4}
    model = results["tasks"]["gender"]["systems"]["model"]
    assert model["answered"] == 0.75
    assert model["labels"] == ["female", "male", "(none)"]
    assert model["confusion"] == [[1, 0, 1], [0, 2, 0]]
    assert model["macro_f1"] == pytest.approx((2 / 3 + 1) / 2)
    low, high = model["interval"]
    assert low < 0.75 < high
    assert results["agreement"] == 0.75
    assert results["tasks"]["gender"]["ahead_of_cascade"] == {"difference": 0.25, "p_value": 1.0}


def test_scores_of_transcripts():
    task = attribute_task("transcribe", [clip("u", text="red green blue"), clip("v", text="black")], PROMPT)
    texts = {"model": ["red green", "black"], "ceiling": ["Red, green, blue!", "black"]}
    results = score([Answers(task, {s: [Reply(t, "stop") for t in said] for s, said in texts.items()})])
    assert results["wer"] == 0.25
    assert results["ceiling_wer"] == 0.0
    assert results["accuracy"] == {}


def test_replies_are_kept_and_a_torn_line_is_asked_again(tmp_path, monkeypatch):
    monkeypatch.setattr("speechllm.eval.asking.BATCH", 2)
    task = attribute_task("gender", people(5), PROMPT)

    def run():
        replier = ScriptedReplier(lambda messages: messages[-1]["content"][0]["text"])
        (replies,) = ask([task], "cascade", asked_as("cascade"), replier, Sampling(), tmp_path)
        return replies, len(replier.asked)

    path = responses_path(tmp_path, "gender", "cascade")
    replies, asked = run()
    assert asked == 5
    whole = path.read_bytes()
    assert [json.loads(line)["label"] for line in whole.splitlines()] == ["female", "male", "female", "male", "female"]
    assert run() == (replies, 0)
    for kept in (0, 1, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:kept])
        again, _ = run()
        assert again == replies
        assert path.read_bytes() == whole


def test_batches_go_across_tasks_and_are_the_same_after_a_kill(tmp_path, monkeypatch):
    monkeypatch.setattr("speechllm.eval.asking.BATCH", 4)
    tasks = [
        attribute_task("gender", people(3), PROMPT.model_copy(update={"text": f"Question {k}?"})) for k in range(3)
    ]
    tasks = [replace(task, name=f"task{k}") for k, task in enumerate(tasks)]
    batches: list[tuple[str, ...]] = []

    def replier(conversations, sampling, description):
        batches.append(tuple(map(str, conversations)))
        return [Reply(str(len(batches[-1])) + str(c)[-40:], "stop") for c in conversations]

    def run(folder):
        return ask(tasks, "cascade", asked_as("cascade"), replier, Sampling(), folder)

    whole = run(tmp_path / "whole")
    assert [len(batch) for batch in batches] == [4, 4, 1]
    assert [len(replies) for replies in whole] == [3, 3, 3]
    first = list(batches)
    (tmp_path / "cut").mkdir()
    for k, lines in enumerate((3, 0, 0)):  # killed after the first task's part of the first batch was written
        path = responses_path(tmp_path / "cut", f"task{k}", "cascade")
        kept = responses_path(tmp_path / "whole", f"task{k}", "cascade").read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join(kept[:lines]))
    batches.clear()
    assert run(tmp_path / "cut") == whole
    assert batches == first
    for path in (tmp_path / "whole").iterdir():
        assert (tmp_path / "cut" / path.name).read_bytes() == path.read_bytes()


def test_replies_to_other_questions_are_not_taken(tmp_path):
    replier = ScriptedReplier(lambda messages: "x")
    task = attribute_task("gender", people(2), PROMPT)
    ask([task], "model", asked_as("model"), replier, Sampling(), tmp_path)
    other = Task(task.name, task.questions[::-1], task.extract)
    with pytest.raises(SpeechLLMError, match=r"gender\.model\.jsonl:1: is a reply to another question"):
        ask([other], "model", asked_as("model"), replier, Sampling(), tmp_path)
    fewer = Task(task.name, task.questions[:1], task.extract)
    with pytest.raises(SpeechLLMError, match=r"gender\.model\.jsonl:2: is no reply to task"):
        ask([fewer], "model", asked_as("model"), replier, Sampling(), tmp_path)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("truths", "answers", "columns", "matrix"),
    [
        (["a", "a"], ["a", "a"], ["a"], [[2]]),
        (["a", "b"], ["a", "c"], ["a", "b", "c"], [[1, 0, 0], [0, 0, 1]]),
        (["a", "b"], ["", None], ["a", "b", "", "(none)"], [[0, 0, 1, 0], [0, 0, 0, 1]]),
    ],
)
def test_the_confusion_matrix_has_a_column_for_whatever_was_answered(truths, answers, columns, matrix):
    scores = accuracy(truths, answers)
    assert (scores["labels"], scores["confusion"]) == (columns, matrix)


def speakers(counts):
    return [
        clip(f"{name}{k}").model_copy(update={"speaker": name}) for name, count in counts.items() for k in range(count)
    ]


def test_speakers_are_verified_on_balanced_pairs():
    task = speaker_task(speakers({"a": 6, "b": 6, "c": 5, "d": 1}))
    pairs = [(q.utterances[0].speaker, q.utterances[1].speaker, q.truth) for q in task.questions]
    assert len(pairs) == 8
    assert [truth for *_, truth in pairs].count("yes") == 4
    assert all((first == second) == (truth == "yes") for first, second, truth in pairs)
    assert len({u.id for q in task.questions for u in q.utterances[:1]}) == 8
    assert task.questions == speaker_task(speakers({"a": 6, "b": 6, "c": 5, "d": 1})).questions
    assert len(audio_parts(task.questions[0].heard(False))) == 2
    assert task.extract(task.questions[0], "Yes, it is.") == "yes"


@pytest.mark.parametrize("counts", [{"a": 6}, {"a": 1, "b": 1}, {"a": 2}])
def test_without_mates_of_several_speakers_nothing_is_asked(counts):
    assert speaker_task(speakers(counts)).questions == ()
