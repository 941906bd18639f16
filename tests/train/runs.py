"""Runs of the loop over the tiny corpus, for the tests of this folder."""

import json

import torch
from torch.utils._python_dispatch import _get_current_dispatch_mode

from speechllm.config import StageConfig
from speechllm.train import loop
from speechllm.train.objectives import OBJECTIVES, CrossEntropy, EmbeddingAlignment
from speechllm.train.ranks import Ranks
from speechllm.train.run import make_context
from speechllm.train.sources import TrainingSource

TIMINGS = {"examples_per_second", "audio_seconds_per_second", "items_per_second", "share_of_peak", "memory_gb"}
TIMINGS |= {"seconds", "seconds_left"}


TWO_STAGES = [
    {"objective": "embedding_alignment", "steps": 4, "batch_size": 3, "warmup_steps": 2, "learning_rate": 0.01},
    {"objective": "cross_entropy", "steps": 3, "batch_size": 4, "micro_batch_size": 2, "learning_rate": 0.01},
]
CALLS = 4 + 3 * 2


def context_of(config, max_bytes=1 << 30):
    model, processor = loop.build(config)
    return make_context(config, model, processor, max_bytes)


def run_of(config, corpus, max_bytes=1 << 30):
    """A run of the loop up to where `loop.train` calls `fit`."""
    source = TrainingSource(corpus.utterances, corpus.records)
    return loop.prepare(config, context_of(config, max_bytes), [source], Ranks())


def fit(config, corpus, max_bytes=1 << 30):
    """Trains, or goes on; returns the weights and the log without its timings."""
    run = run_of(config, corpus, max_bytes)
    loop.fit(run)
    return weights(run), log(config)


def weights(run):
    return {name: tensor.detach().clone() for name, tensor in run.model.adapter_state().items()}


def log(config):
    lines = (config.out / "log.jsonl").read_text(encoding="utf-8").splitlines()
    return [{key: value for key, value in json.loads(line).items() if key not in TIMINGS} for line in lines]


def warm_up(context, **settings):
    return EmbeddingAlignment(context, StageConfig(objective="embedding_alignment", steps=1, **settings))


def cross_entropy(context):
    return CrossEntropy(context, StageConfig(objective="cross_entropy", steps=1))


def assert_same(found, expected):
    assert found[1] == expected[1]
    assert found[0].keys() == expected[0].keys()
    different = [name for name in expected[0] if not torch.equal(found[0][name], expected[0][name])]
    assert different == []


class Killed(BaseException):
    """Like KeyboardInterrupt, which pytest keeps for itself."""


def kill_at(monkeypatch, call, signal=Killed):
    """Raises where an objective is called for the `call`-th time, counted from 0 over all stages."""
    calls = iter(range(10**6))

    def dying(kind):
        class Dying(kind):
            def __call__(self, batch, step):
                counts_arithmetic = _get_current_dispatch_mode() is not None
                if not counts_arithmetic and next(calls) == call:
                    raise signal
                return super().__call__(batch, step)

        return Dying

    monkeypatch.setattr(loop, "OBJECTIVES", {name: dying(kind) for name, kind in OBJECTIVES.items()})
