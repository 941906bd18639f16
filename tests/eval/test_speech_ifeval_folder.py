"""Speech-IFEval's folder as live tasks: what is asked, and the same scores as from stored responses."""

import json

import pytest
import soundfile

from speechllm.errors import SpeechLLMError
from speechllm.eval.asking import SYSTEMS
from speechllm.eval.benchmarks import registry
from speechllm.eval.benchmarks.benchmark import Inputs
from speechllm.eval.hearing import Answers, score
from speechllm.eval.official import official_scores
from speechllm.eval.sources import find_tasks
from speechllm.models.reply import Reply
from speechllm.testing.corpus import tone

UPPER, TITLE, BULLETS = (
    "change_case:english_capital",
    "detectable_format:title",
    "detectable_format:number_bullet_lists",
)


def row(number, metric, instructions=(), **fields):
    told = {"audio_filepath": f"MMAU/{number}.wav", "textual_audio": f"[00:00:00 - 00:00:01] word {number}"}
    told |= {"instruction": f"Say {number}.", "dataset": "MMAU", "metric": metric}
    if instructions:
        told |= {"id": number, "instruction_id_list": list(instructions), "kwargs": [{}] * len(instructions)}
    return told | fields


ROWS = {
    "closed_ended_questions": [
        row(0, "wer", [UPPER], label="HELLO"),
        row(1, "accuracy", [TITLE], label="Female"),
        row(2, "accuracy", [UPPER], label="Male"),
    ],
    "creative_writing": [row(3, "open", [BULLETS], kwargs=[{"num_bullets": 2}])],
    "chain-of-thought": [row(4, "cot"), row(5, "cot")],
}
REPLIES = {
    "model": ["HELLO", "female", "male", "* a\\n* b", "Because. So.", "yes"],
    "ceiling": ["HELLO", "<<title>> female", "MALE", "- a", "", "yes"],
    "cascade": ["", "<<x>>", "?", "1. a\n2. b", "a", "b"],
    "nothing": ["X", "", "", "none", "a", "b"],
}


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "speech_ifeval" / "data"
    (root / "eval_data").mkdir(parents=True)
    (root / "audios" / "MMAU").mkdir(parents=True)
    for part, rows in ROWS.items():
        (root / "eval_data" / f"{part}.jsonl").write_text("".join(json.dumps(told) + "\n" for told in rows))
        for told in rows:
            soundfile.write(root / "audios" / told["audio_filepath"], tone(0.3), 16_000)
    (root / "eval_data" / "closed_ended_questions-woprompt.jsonl").write_text("{}\n")
    return tmp_path


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("SPEECHLLM_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def answered(tasks):
    found, at = [], 0
    for task in tasks:
        n = len(task.questions)
        found.append(Answers(task, {s: [Reply(t, "stop") for t in REPLIES[s][at : at + n]] for s in SYSTEMS}))
        at += n
    return found


def stored(folder, system):
    """Files of responses as the benchmark's authors write them."""
    paths, at = [], 0
    for part, rows in ROWS.items():
        paths.append(folder / f"{system}-{part}.jsonl")
        told = [{**r, "response": t} for r, t in zip(rows, REPLIES[system][at:])]
        paths[-1].write_text("".join(json.dumps(r) + "\n" for r in told))
        at += len(rows)
    return paths


class Judge:
    name = "judge"

    def __call__(self, questions):
        return [f"Result: {'YES' if 'Because' in q.response or 'female' in q.response else 'no'}" for q in questions]


def test_questions_are_asked_as_the_authors_do(folder):
    tasks = find_tasks(["speech_ifeval"], folder)
    assert [task.name for task in tasks] == [f"speech_ifeval.{part}" for part in ROWS]
    question = tasks[0].questions[1]
    system, asked = question.heard(False)
    assert system["content"] == "Follow the given instructions."
    assert [part["type"] for part in asked["content"]] == ["audio", "text"]
    assert asked["content"][1]["text"] == "Say 1."
    assert question.utterances[0].audio.endswith("audios/MMAU/1.wav")
    read = question.read(None)
    assert read[0] == system
    assert [part["text"] for part in read[1]["content"]] == ["Speech Input: [00:00:00 - 00:00:01] word 1\n\nSay 1."]
    (alone,) = find_tasks(["speech_ifeval.chain-of-thought"], folder / "speech_ifeval" / "data")
    assert alone.left_to_benchmark


@pytest.mark.parametrize("judge", [None, Judge()])
def test_scores_are_those_of_stored_responses(folder, tmp_path, judge):
    found = official_scores(answered(find_tasks(["speech_ifeval"], folder)), tmp_path / "out", judge)["speech_ifeval"]
    reference = None
    for system in ("ceiling", "model", "cascade", "nothing"):
        inputs = Inputs(stored(tmp_path, system), judge=judge, reference=reference)
        expected = registry.score("speech_ifeval", inputs, tmp_path / f"scored-{system}")
        assert found[system]["metrics"] == expected["metrics"]
        assert found[system]["not_judged"] == expected["not_judged"] == (0 if judge else 2)
        if judge and system == "ceiling":
            reference = tmp_path / "scored-ceiling" / "scores.json"
    model = found["model"]["metrics"]
    assert (model["Closed-ended"], model["Creative Writing"]) == (33.33, 100.0)
    if judge:  # the ceiling's replies again: nothing is forgotten, whatever was rounded
        ceiling = registry.score(
            "speech_ifeval", Inputs(stored(tmp_path, "ceiling"), judge=judge, reference=reference), tmp_path / "same"
        )
        assert ceiling["metrics"]["delta"] == 0.0
    assert (model["CoT"], model["delta"]) == ((50.0, 83.35) if judge else (None, None))
    again = sorted((tmp_path / "out" / "official" / "speech_ifeval.model").glob("*.jsonl"))
    assert (
        registry.score("speech_ifeval", Inputs(again, judge=judge), tmp_path / "x")["metrics"]["groups"]
        == model["groups"]
    )


def test_rules_count_as_instructions_that_are_followed_and_judged_parts_do_not(folder):
    results = score(answered(find_tasks(["speech_ifeval"], folder)))
    assert set(results["tasks"]) == {"speech_ifeval.closed_ended_questions", "speech_ifeval.creative_writing"}
    assert results["instruction_following"]["model"]["followed"] == 0.5
    assert results["instruction_following"]["ceiling"]["followed"] == 0.75
    assert "mean_accuracy" not in results


def test_chance_of_keeping_to_a_rule_is_what_the_bare_question_scores(folder):
    (task,) = find_tasks(["speech_ifeval.closed_ended_questions"], folder)
    found = answered([task])[0]
    assert score([found])["tasks"][task.name]["chance"] == pytest.approx(1 / 3)  # and not 1, as if one could guess
    alone = Answers(task, {"model": found.replies["model"]})
    assert score([alone])["tasks"][task.name]["chance"] == 0.0


def test_what_is_wrong_is_named(folder):
    root = folder / "speech_ifeval" / "data"
    path = root / "eval_data" / "creative_writing.jsonl"
    told = ROWS["creative_writing"][0]
    for wrong, message in [
        ({**told, "audio_filepath": "MMAU/x.wav"}, r"creative_writing\.jsonl:1: its audio MMAU/x\.wav is not in"),
        ({**told, "instruction_id_list": ["a:b"]}, "there is no instruction type 'a:b'"),
        ({k: v for k, v in told.items() if k != "textual_audio"}, "'textual_audio' should be str and is missing"),
    ]:
        path.write_text(json.dumps(wrong))
        with pytest.raises(SpeechLLMError, match=message):
            find_tasks(["speech_ifeval"], folder)
    path.write_text("\n".join(map(json.dumps, [told, ROWS["chain-of-thought"][0]])))
    with pytest.raises(SpeechLLMError, match=r"creative_writing\.jsonl:2: metric is 'cot' among"):
        find_tasks(["speech_ifeval"], folder)
    with pytest.raises(SpeechLLMError, match="holds no eval_data/ with a file of Speech-IFEval's"):
        find_tasks(["speech_ifeval"], root / "audios")
