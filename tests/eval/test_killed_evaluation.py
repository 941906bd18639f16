"""An evaluation that is killed at any moment and run again."""

import multiprocessing
import random
import signal
import time

import pytest
import torch

from speechllm.audio.io import save_audio
from speechllm.config import EvaluationConfig
from speechllm.data.manifest import write_manifest
from speechllm.eval import asking
from speechllm.eval.evaluation import evaluate
from speechllm.eval.sources import manifest_tasks
from speechllm.export import write_checkpoint
from speechllm.models.modeling import SpeechLLM
from speechllm.models.processing import SpeechLLMProcessor
from speechllm.testing.corpus import tiny_corpus, tone

CLIPS, BATCH, KILLS = 60, 10, 5

PROCESSES = multiprocessing.get_context("fork")  # a child begins with everything imported


@pytest.fixture(scope="module")
def checkpoint(encoder_reference, llm_reference, tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    model = SpeechLLM.from_references(encoder_reference, llm_reference, {"type": "pooled", "vectors": 4})
    return write_checkpoint(model, SpeechLLMProcessor.for_config(model.config), folder / "checkpoint")


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Tones, of which each is a clip of its own; a transcript as long as `tiny_corpus` gives to so many has no room."""
    folder = tmp_path_factory.mktemp("clips")
    known = tiny_corpus(folder)
    for i in range(CLIPS):
        save_audio(folder / f"{i}.wav", tone(0.2 + 0.4 * i / CLIPS, 100.0 + 5 * i, seed=i))
    many = [
        known.utterances[i % 8].model_copy(
            update={"id": f"clip-{i}", "audio": f"{i}.wav", "duration": 0.2 + 0.4 * i / CLIPS}
        )
        for i in range(CLIPS)
    ]
    write_manifest(known.manifest, many)
    return known


def start(checkpoint, clips, out):
    process = PROCESSES.Process(target=evaluation, args=(checkpoint, clips, out))
    process.start()
    return process


def evaluation(checkpoint, clips, out):
    torch.set_num_threads(1)  # the threads of the parent are not forked along
    asking.BATCH = BATCH
    config = EvaluationConfig(max_new_tokens=3, retention="none", device="cpu", dtype="float32")
    evaluate(str(checkpoint), manifest_tasks(clips.manifest, clips.prompts), out, config)


def finish(process):
    process.join(100)
    assert process.exitcode == 0


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def lines(out):
    return sum(path.read_bytes().count(b"\n") for path in out.glob("responses/*"))


def test_killed_at_random_moments_it_ends_with_the_same_files(checkpoint, clips, tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    finish(start(checkpoint, clips, whole))
    total = lines(whole)
    assert total >= 4 * CLIPS
    stopped = []
    for moment in sorted(random.Random(0).sample(range(1, total - 4 * BATCH), KILLS)):
        process = start(checkpoint, clips, broken)
        while process.is_alive() and lines(broken) < moment:
            time.sleep(0.002)
        process.kill()
        process.join(30)
        stopped.append(process.exitcode == -signal.SIGKILL and 0 < lines(broken) < total)
    assert any(stopped)  # on a busy machine a process may come to its end before this one looks again
    finish(start(checkpoint, clips, broken))
    assert contents(broken) == contents(whole)
