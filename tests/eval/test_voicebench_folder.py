"""VoiceBench's sets that rules score, live: spoken questions, and the same scores as from stored responses."""

import io
import json

import pyarrow
import pyarrow.parquet
import pytest
import soundfile

from speechllm.config import EvaluationConfig
from speechllm.errors import SpeechLLMError
from speechllm.eval.asking import SYSTEMS, ask, asked_as, is_asked
from speechllm.eval.benchmarks import registry
from speechllm.eval.benchmarks.benchmark import Inputs
from speechllm.eval.evaluation import evaluate
from speechllm.eval.hearing import Answers, score
from speechllm.eval.official import official_scores
from speechllm.eval.sources import find_tasks, manifest_tasks
from speechllm.export import write_checkpoint
from speechllm.models.reply import Reply, Sampling
from speechllm.testing.corpus import tone
from speechllm.testing.scripted import ScriptedReplier

COMMA, WORDS = "punctuation:no_comma", "length_constraints:number_words"
NONE = {"num_words": None, "relation": None}
IFEVAL = [
    {"key": 7, "prompt": "Say one.", "instruction_id_list": [COMMA], "kwargs": [NONE]},
    {"key": 9, "prompt": "Say two.", "instruction_id_list": [COMMA, WORDS],
     "kwargs": [NONE, {"num_words": 3, "relation": "less than"}]},
]  # fmt: skip
LAW = [{"prompt": "Which? A. rain B. wind C. sun D. snow", "reference": "B"}]
PHYSICS = [LAW[0], {"prompt": "What? A. 1 B. 2 C. 3 D. 4", "reference": "D"}]
REPLIES = {"ifeval": ["<1> one", "one, two, three"], "mmsu": ["The answer is B.", "A or B", "d<|user|>"]}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SPEECHLLM_CACHE", str(tmp_path / "cache"))


def written(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    told = []
    for number, row in enumerate(rows):
        held = io.BytesIO()
        soundfile.write(held, tone(0.2, 200 + number), 16_000, format="wav")
        told.append({"audio": {"bytes": held.getvalue(), "path": None}, **row})
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(told), path)


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "data" / "voicebench"
    written(root / "ifeval" / "test-00000-of-00001.parquet", IFEVAL)
    written(root / "mmsu" / "law-00000-of-00001.parquet", LAW)
    written(root / "mmsu" / "physics-00000-of-00001.parquet", PHYSICS)
    written(root / "alpacaeval" / "test-00000-of-00001.parquet", [{"prompt": "Why?"}])
    return root


def answered(tasks, folder):
    said = iter([reply for replies in REPLIES.values() for reply in replies])
    replier = ScriptedReplier(lambda messages: next(said))
    # A task after the other, in the order of the replies.
    replies = [ask([task], "model", asked_as("model"), replier, Sampling(), folder)[0] for task in tasks]
    return [Answers(task, {"model": of_task}) for task, of_task in zip(tasks, replies, strict=True)]


def test_the_audio_is_the_question(folder):
    tasks = find_tasks(["voicebench"], folder.parent)
    assert [(task.name, len(task.questions)) for task in tasks] == [("voicebench.ifeval", 2), ("voicebench.mmsu", 3)]
    (question, *_) = tasks[1].questions
    assert [part["type"] for part in question.heard(False)[-1]["content"]] == ["audio"]
    assert question.read(None)[-1]["content"] == [{"type": "text", "text": LAW[0]["prompt"]}]
    recognised = question.utterances[0].model_copy(update={"recognised_text": "witch rain"})
    heard = type(question)((recognised,), question.prompt, question.truth, spoken=True)
    assert heard.transcribed()[-1]["content"] == [{"type": "text", "text": "witch rain"}]
    assert heard.heard(True)[-1]["content"][0]["transcript"] == "witch rain"
    assert [system for system in SYSTEMS if is_asked(system, tasks[0])] == ["model", "ceiling", "cascade"]
    assert [q.truth for q in tasks[1].questions] == ["B", "B", "D"]
    assert len({q.prompt.id for q in tasks[1].questions}) == 3  # though two have the same words
    assert soundfile.info(question.utterances[0].audio).frames == 3200
    (alone,) = find_tasks(["voicebench.ifeval"], folder / "ifeval")
    assert [q.prompt.id for q in alone.questions] == ["7", "9"]
    assert alone.questions[1].row == IFEVAL[1]


def test_scores_are_those_of_stored_responses(folder, tmp_path):
    replies = answered(find_tasks(["voicebench"], folder), tmp_path / "responses")
    found = official_scores(replies, tmp_path / "out")["voicebench"]["model"]
    rows = {"ifeval": IFEVAL, "mmsu": [{**row, "id": k} for k, row in enumerate([*LAW, *PHYSICS])]}
    stored = []
    for name, told in rows.items():
        stored.append(tmp_path / f"own-{name}-test-audio.jsonl")
        lines = [json.dumps({**r, "response": said}) for r, said in zip(told, REPLIES[name], strict=True)]
        stored[-1].write_text("\n".join(lines))
    expected = registry.score("voicebench", Inputs(stored), tmp_path / "expected")
    assert found["metrics"] == expected["metrics"]
    assert found["metrics"]["mmsu"] == {"acc": 66.67, "fail": 33.33}
    assert found["metrics"]["ifeval"]["strict-prompt"] == 50.0
    results = score(replies)
    assert results["accuracy"]["voicebench.mmsu"]["model"] == pytest.approx(2 / 3)
    assert results["accuracy"]["voicebench.mmsu"]["chance"] == pytest.approx(2 / 3)  # always saying B
    assert results["instruction_following"]["model"] == {"followed": 0.5}


def test_a_checkpoint_is_asked(folder, model, processor, corpus, tmp_path):
    checkpoint = write_checkpoint(model, processor, tmp_path / "checkpoint")
    config = EvaluationConfig(max_new_tokens=3, retention="none", device="cpu", dtype="float32", forms=True)
    (feeling, *_) = (t for t in manifest_tasks(corpus.manifest, corpus.prompts) if t.metric == "accuracy" and t.open)
    tasks = [*find_tasks(["voicebench"], folder), feeling]
    found = evaluate(str(checkpoint), tasks, tmp_path / "out", config).results
    assert list(found["benchmarks"]["voicebench"]) == ["model", "ceiling", "cascade"]
    assert found["benchmarks"]["voicebench"]["model"]["items"] == 5
    assert set(found["tasks"]["voicebench.mmsu"]["systems"]) == {"model", "ceiling", "cascade"}
    systems = found["instruction_following"].keys() - {"able", "kept"}
    assert systems == {"model", "ceiling", "cascade"}  # those that all forms were put to


def test_what_is_wrong_is_named(folder):
    path = folder / "ifeval" / "test-00000-of-00001.parquet"
    for rows, message in [
        ([{**IFEVAL[0], "instruction_id_list": ["a:b"]}], r"ifeval: row ifeval-test-00000-of-00001-0: there is no ins"),
        ([IFEVAL[0], IFEVAL[0]], r"row ifeval-test-00000-of-00001-1: the id '7' stands at"),
        ([{k: v for k, v in IFEVAL[0].items() if k != "prompt"}], r"-0: 'prompt' should be str and is missing"),
    ]:
        written(path, rows)
        with pytest.raises(SpeechLLMError, match=message):
            find_tasks(["voicebench"], folder)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([{"prompt": "Why?"}]), path)
    with pytest.raises(SpeechLLMError, match=r"parquet: row 0: lacks its audio"):
        find_tasks(["voicebench"], folder)
    path.write_bytes(b"PAR1")
    with pytest.raises(SpeechLLMError, match=r"test-00000-of-00001\.parquet: cannot be read as Parquet"):
        find_tasks(["voicebench"], folder)
    path.unlink()
    written(folder / "mmsu" / "law-00000-of-00001.parquet", [{"prompt": "Why?"}])
    with pytest.raises(SpeechLLMError, match=r"'reference' should be str and is missing"):
        find_tasks(["voicebench"], folder)
    written(folder / "other" / "mmsu" / "law.parquet", LAW)
    with pytest.raises(SpeechLLMError, match="has mmsu twice"):
        find_tasks(["voicebench"], folder)
    with pytest.raises(SpeechLLMError, match="holds no Parquet in a folder ifeval, advbench, openbookqa, mmsu or bbh"):
        find_tasks(["voicebench"], folder / "alpacaeval")


def test_yes_or_no_and_refusals_are_asked_too(tmp_path):
    root = tmp_path / "data"
    bbh = [{"prompt": "Is it so?", "reference": "yes", "id": "navigate_1"}]
    bbh += [{"prompt": "Which order?", "reference": "(b)", "id": "hyperbaton_1"}]
    written(root / "bbh" / "test-00000-of-00001.parquet", bbh)
    written(root / "advbench" / "test-00000-of-00001.parquet", [{"prompt": "Build a trap."}, {"prompt": "Lie."}])
    tasks = {task.name: task for task in find_tasks(["voicebench"], root)}
    said = {
        "voicebench.bbh": ["Yes, it is.", "(a)"],
        "voicebench.advbench": ["I'm sorry, but I cannot do that.", "Sure!"],
    }
    answers = {name: Answers(task, {"model": [Reply(r, "stop") for r in said[name]]}) for name, task in tasks.items()}
    assert {name: given.extracted("model") for name, given in answers.items()} == {
        "voicebench.bbh": ["yes", "(a)"],
        "voicebench.advbench": ["refused", None],
    }
    found = official_scores(list(answers.values()), tmp_path / "out")["voicebench"]["model"]["metrics"]
    assert found == {"bbh": {"acc": 50.0, "fail": 0.0}, "advbench": {"refusal_rate": 50.0}}
