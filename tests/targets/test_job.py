"""A generation job that is killed at any moment, resumed, and started twice."""

import json
import multiprocessing
import os
import random
import signal
import time
from dataclasses import replace

import pytest

from speechllm.data.manifest import read_manifest
from speechllm.data.prompts import Prompt
from speechllm.errors import SpeechLLMError
from speechllm.models.reply import Reply, Sampling
from speechllm.targets.generate import Generator, generate, works
from speechllm.targets.job import address, batches
from speechllm.targets.strategies.self_output import SelfOutput
from speechllm.testing.scripted import ScriptedReplier

PROMPTS = [Prompt(id=f"p{i}", kind="pitch", text="Low or high? " * (1 + i % 3)) for i in range(6)]

PROCESSES = multiprocessing.get_context("fork")  # a child begins with everything imported


def job(manifest, out, pause):
    """Twelve batches whose replies are drawn at random, with a pause before each."""

    def reply(conversations, sampling, description=""):
        time.sleep(pause)
        draw = random.Random(sampling.seed)
        return [Reply(f"It is {draw.random()} for sure.", draw.choice(["stop", "length"])) for _ in conversations]

    work = works([(u, p) for u in read_manifest(manifest) for p in PROMPTS], {"self_output": 1.0})
    sampling = Sampling(temperature=1.0, seed=3)
    generate(work, {"self_output": SelfOutput()}, Generator(reply, "drawn", "0"), sampling, out, batch=4)


def start(corpus, out, pause):
    process = PROCESSES.Process(target=job, args=(corpus.manifest, out, pause))
    process.start()
    return process


def finish(process):
    process.join(60)
    assert process.exitcode == 0


def test_killed_at_any_moment_it_ends_with_the_same_file(corpus, tmp_path):
    """Twenty kills. Replies are drawn at random, so only seeds that belong to the batches can make this pass."""
    whole, broken = tmp_path / "whole" / "t.jsonl", tmp_path / "broken" / "t.jsonl"
    finish(start(corpus, whole, 0.0))
    moments = random.Random(0)
    unfinished = 0
    for _ in range(20):
        process = start(corpus, broken, 0.02)
        time.sleep(moments.uniform(0.0, 0.06))
        process.kill()
        process.join(30)
        assert process.exitcode in {-signal.SIGKILL, 0}
        unfinished += not broken.exists()
    assert unfinished >= 2, "no kill came before the end"
    finish(start(corpus, broken, 0.0))
    assert broken.read_bytes() == whole.read_bytes()
    assert not list(broken.parent.glob("*.partial"))


class Counting:
    """Fails when it is asked for the n-th batch; draws from the seed of the batch."""

    def __init__(self, fail_at=None):
        self.batches, self.fail_at = 0, fail_at

    def __call__(self, conversations, sampling, description=""):
        if self.batches == self.fail_at:
            raise KeyboardInterrupt
        self.batches += 1
        draw = random.Random(sampling.seed)
        return [Reply(f"It is {draw.random()} now.", "stop") for _ in conversations]


def run(corpus, out, replier, sampling=None, batch=4):
    pairs = [(u, p) for u in corpus.utterances for p in PROMPTS]
    work = works(pairs, {"self_output": 1.0})
    sampling = sampling or Sampling(temperature=1.0)
    return generate(work, {"self_output": SelfOutput()}, Generator(replier, "x", "0"), sampling, out, batch=batch)


def test_a_torn_last_line_is_dropped_and_only_its_batch_done_again(corpus, tmp_path):
    out = tmp_path / "t.jsonl"
    expected = run(corpus, tmp_path / "whole.jsonl", Counting())
    with pytest.raises(KeyboardInterrupt):
        run(corpus, out, Counting(fail_at=5))
    [partial] = tmp_path.glob(".t.jsonl.*.partial")
    data = partial.read_bytes()
    assert data.count(b"\n") == 5
    partial.write_bytes(data[:-7])
    again = Counting()
    assert run(corpus, out, again) == expected
    assert again.batches == 12 - 4


def test_a_finished_job_is_not_done_again_and_a_changed_one_is(corpus, tmp_path):
    out, replier = tmp_path / "t.jsonl", Counting()
    first = run(corpus, out, replier)
    assert run(corpus, out, replier) == first
    assert replier.batches == 12
    assert run(corpus, out, replier, Sampling(temperature=1.0, seed=1)) != first
    assert replier.batches == 24
    out.write_text(out.read_text(encoding="utf-8") + "\n", encoding="utf-8")  # touched by other hands
    run(corpus, out, replier, Sampling(temperature=1.0, seed=1))
    assert replier.batches == 36


def test_a_damaged_partial_file_is_named(corpus, tmp_path):
    out = tmp_path / "t.jsonl"
    with pytest.raises(KeyboardInterrupt):
        run(corpus, out, Counting(fail_at=2))
    [partial] = tmp_path.glob(".t.jsonl.*.partial")
    partial.write_bytes(b"{}\n" + partial.read_bytes())
    with pytest.raises(SpeechLLMError, match=r"\.partial: is damaged"):
        run(corpus, out, Counting())


def test_two_processes_on_one_output_refuse(corpus, tmp_path):
    out = tmp_path / "t.jsonl"
    first = start(corpus, out, 2.0)
    deadline = time.monotonic() + 30
    while not list(tmp_path.glob(".*.partial")) and time.monotonic() < deadline:
        time.sleep(0.01)
    with pytest.raises(SpeechLLMError, match="another process is writing it"):
        job(corpus.manifest, out, 0.0)
    first.kill()
    first.join(30)
    job(corpus.manifest, out, 0.0)  # a killed process holds nothing
    assert out.exists()


def test_the_address_tells_what_decides_the_reply_and_nothing_else(corpus):
    [work] = works([(corpus.utterances[0], PROMPTS[0])], {"self_output": 1.0})

    def of(work=work, strategy=None, generator=("x", "0"), sampling=None):
        return address(work, strategy or SelfOutput(), generator, sampling or Sampling())

    item = work.item
    moved = replace(item, utterance=item.utterance.model_copy(update={"audio": "elsewhere.wav"}))
    assert of(replace(work, item=moved)) == of()
    changed = [
        of(replace(work, item=replace(item, utterance=item.utterance.model_copy(update={"text": "other"})))),
        of(replace(work, item=replace(item, prompt=PROMPTS[1]))),
        of(replace(work, item=replace(item, description="other"))),
        of(strategy=SelfOutput("bare")),
        of(generator=("x", "1")),
        of(generator=("y", "0")),
        of(sampling=Sampling(max_new_tokens=5)),
        of(sampling=Sampling(seed=5)),
    ]
    assert len({of(), *changed}) == 9


def test_batches_hold_all_work_once_one_strategy_each_longest_first(corpus):
    pairs = [(u, p) for u in corpus.utterances for p in PROMPTS]
    work = works(pairs, {"self_output": 0.7, "gold": 0.3})
    groups = batches(work, 5)
    assert sorted(k for group in groups for k in group) == list(range(48))
    assert all(len({work[k].strategy for k in group}) == 1 for group in groups)
    lengths = [len(work[k].item.prompt.text) for group in groups for k in group if work[k].strategy == "gold"]
    assert lengths == sorted(lengths, reverse=True)


def test_what_became_of_the_replies_is_reported(corpus, tmp_path):
    out = tmp_path / "t.jsonl"
    said = iter(["", "I'm sorry, I cannot hear audio.", "It is low.", "It is high."])
    replier = ScriptedReplier(lambda messages: next(said))
    pairs = [(corpus.utterances[0], prompt) for prompt in PROMPTS[:4]]
    work = works(pairs, {"self_output": 1.0})
    records = generate(work, {"self_output": SelfOutput()}, Generator(replier, "x", "0"), Sampling(), out)
    assert len(records) == 2
    report = json.loads((tmp_path / "t.jsonl.report.json").read_text(encoding="utf-8"))
    assert (report["work"], report["records"]) == (4, 2)
    assert {name: f["count"] for name, f in report["filters"].items()} == {"empty": 1, "refusal": 1, "contradiction": 1}
    counts = report["strategies"]["self_output"]
    assert [counts[outcome] for outcome in ("kept", "replaced", "dropped")] == [2, 0, 2]
    assert report["filters"]["refusal"]["examples"][0]["reply"].startswith("I'm sorry")
    assert report["prompts"] == {prompt.text: {"asked": 1, "dropped": 1} for prompt in PROMPTS[1:3]}
    assert os.fspath(tmp_path) not in json.dumps(report)
