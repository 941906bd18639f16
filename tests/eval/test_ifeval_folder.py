"""IFEval put to a checkpoint without any audio: what is asked, of whom, and how it is scored."""

import json

import pytest

from speechllm.cli import main
from speechllm.config import EvaluationConfig
from speechllm.data.render import audio_parts
from speechllm.errors import SpeechLLMError
from speechllm.eval.asking import SYSTEMS, ask, asked_as, is_asked
from speechllm.eval.benchmarks import registry
from speechllm.eval.benchmarks.benchmark import Inputs
from speechllm.eval.comparison_report import write_comparison
from speechllm.eval.evaluation import evaluate
from speechllm.eval.hearing import Answers
from speechllm.eval.official import official_scores
from speechllm.eval.sources import find_tasks, manifest_tasks
from speechllm.export import write_checkpoint
from speechllm.models.reply import Sampling
from speechllm.testing.scripted import ScriptedReplier

COMMA, QUOTED = "punctuation:no_comma", "startend:quotation"
ROWS = [
    {"key": 1000, "prompt": "Say one.", "instruction_id_list": [COMMA], "kwargs": [{}]},
    {"key": 1001, "prompt": "Say two. ", "instruction_id_list": [COMMA, QUOTED], "kwargs": [{}, {}]},
    {"key": 1005, "prompt": "Say three.", "instruction_id_list": [QUOTED], "kwargs": [{}]},
]
REPLIES = ["one", 'Sure:\n"two"', "three"]


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("SPEECHLLM_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture
def data(tmp_path):
    (tmp_path / "data" / "ifeval").mkdir(parents=True)
    written(tmp_path / "data", ROWS)
    return tmp_path / "data"


def written(data, rows):
    (data / "ifeval" / "input_data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture(scope="module")
def checkpoint(model, processor, tmp_path_factory):
    return write_checkpoint(model, processor, tmp_path_factory.mktemp("model") / "checkpoint")


def test_the_prompt_is_all_that_is_asked_and_the_untouched_llm_is_asked_once(data):
    (task,) = find_tasks(["ifeval"], data)
    assert [q.id for q in task.questions] == ["1000", "1001", "1005"]
    asked = {system: asked_as(system, ["emotion"], True)(task.questions[1]) for system in SYSTEMS}
    expected = [{"role": "user", "content": [{"type": "text", "text": "Say two. "}]}]
    assert all(messages == expected for messages in asked.values())
    assert not audio_parts(asked["model"])
    assert [system for system in SYSTEMS if is_asked(system, task)] == ["model", "ceiling"]
    assert find_tasks(["ifeval"], data / "ifeval")[0].questions == task.questions


def test_scores_are_those_of_stored_responses(data, tmp_path):
    (task,) = find_tasks(["ifeval"], data)
    said = dict(zip((row["prompt"] for row in ROWS), REPLIES, strict=True))
    replier = ScriptedReplier(lambda messages: said[messages[0]["content"][0]["text"]])
    (replies,) = ask([task], "model", asked_as("model"), replier, Sampling(), tmp_path / "responses")
    found = official_scores([Answers(task, {"model": replies})], tmp_path / "out")["ifeval"]["model"]
    stored = tmp_path / "stored.jsonl"
    stored.write_text("".join(json.dumps({"prompt": p, "response": r}) + "\n" for p, r in said.items()))
    questions = data / "ifeval" / "input_data.jsonl"
    expected = registry.score("ifeval", Inputs([stored], [questions]), tmp_path / "expected")
    assert found["metrics"] == expected["metrics"]
    assert found["metrics"]["strict"]["prompt-level"] == 33.33
    assert found["metrics"]["strict"]["instruction-level"] == 50.0
    assert found["metrics"]["loose"]["prompt-level"] == 66.67
    written = tmp_path / "out" / "official" / "ifeval.model" / "input_response_data.jsonl"
    assert json.loads(written.read_text().splitlines()[2]) == {**ROWS[2], "response": "three"}
    again = registry.score("ifeval", Inputs([written]), tmp_path / "again")
    assert again["metrics"] == expected["metrics"]


def test_a_checkpoint_is_asked_from_the_command_line(data, checkpoint, tmp_path, capsys):
    out = tmp_path / "out"
    command = ["eval", str(checkpoint), "--out", str(out), "--tasks", "ifeval", "--data", str(data)]
    more = ["--max-new-tokens", "4", "--retention", "none", "--device", "cpu"]
    for _ in range(2):  # again, from the replies that are there
        assert main([*command, *more, "--dtype", "float32"]) == 0
    results = json.loads((out / "results.json").read_text())
    assert set(results["benchmarks"]["ifeval"]) == {"model", "ceiling"}
    model, ceiling = (results["benchmarks"]["ifeval"][s] for s in ("model", "ceiling"))
    assert model["items"] == 3
    assert model["metrics"] == ceiling["metrics"]  # the adapter has no part in text
    assert not results["tasks"]
    assert not (out / "recognised.json").exists()
    assert sorted(path.name for path in (out / "official").iterdir()) == ["ifeval.ceiling", "ifeval.model"]
    assert "prompt-level" in capsys.readouterr().out
    write_comparison([out], tmp_path / "report.html")
    assert "strict.prompt-level" in (tmp_path / "report.md").read_text()


def test_questions_with_and_without_audio_are_asked_together(data, checkpoint, corpus, tmp_path):
    heard = manifest_tasks(corpus.manifest, corpus.prompts)
    config = EvaluationConfig(max_new_tokens=3, retention="none", device="cpu", dtype="float32")
    found = evaluate(str(checkpoint), [*find_tasks(["ifeval"], data), *heard], tmp_path / "both", config)
    alone = evaluate(str(checkpoint), heard, tmp_path / "alone", config)
    assert found.results["tasks"] == alone.results["tasks"]
    assert [set(answers.replies) for answers in found.answers] == [{"model", "ceiling"}, *[set(SYSTEMS)] * len(heard)]


def test_what_is_wrong_is_named(data):
    for rows, message in [
        ([{k: v for k, v in ROWS[0].items() if k != "key"}], r"input_data\.jsonl:1: 'key' should be int or str"),
        ([ROWS[0], {**ROWS[1], "prompt": "Say one."}], r"jsonl:2: the id 'Say one\.' stands at .*jsonl:1 already"),
        ([ROWS[0], {**ROWS[1], "prompt": ""}], r"input_data\.jsonl:2: has no id \(prompt\)"),
        ([{**ROWS[0], "instruction_id_list": ["a:b"]}], "there is no instruction type 'a:b'"),
        ([{**ROWS[0], "kwargs": []}], r"jsonl:1: 1 instructions and 0 kwargs"),
    ]:
        written(data, rows)
        with pytest.raises(SpeechLLMError, match=message):
            find_tasks(["ifeval"], data)
    (data / "ifeval" / "input_data.jsonl").unlink()
    with pytest.raises(SpeechLLMError, match=r"ifeval: holds no input_data\.jsonl of IFEval's"):
        find_tasks(["ifeval"], data)
