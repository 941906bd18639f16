"""Training on several sources: their shares, their order, and what is refused."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from runs import log

from speechllm.config import DataConfig, SourceConfig, TrainConfig, parse_config
from speechllm.data.manifest import Utterance, write_manifest
from speechllm.errors import SpeechLLMError
from speechllm.targets.records import read_targets
from speechllm.train import loop
from speechllm.train.data import Example
from speechllm.train.order import BatchOrder, mixture_of
from speechllm.train.sources import read_sources


def example(source: int, number: int) -> Example:
    return Example(Utterance(id=f"{source}-{number}", audio="a", duration=1.0, sampling_rate=1), None, source)


@given(
    sizes=st.lists(st.integers(1, 30), min_size=1, max_size=4),
    weights=st.lists(st.integers(1, 9), min_size=4, max_size=4),
    batch=st.integers(1, 9),
    bucket=st.booleans(),
)
def test_sources_are_seen_by_weight_and_each_example_of_one_equally_often(sizes, weights, batch, bucket):
    examples = [example(source, number) for source, size in enumerate(sizes) for number in range(size)]
    told = [SourceConfig(targets=Path(f"{k}.jsonl"), weight=float(weights[k])) for k in range(len(sizes))]
    mixture = mixture_of(examples, DataConfig(sources=told), seed=1)
    order = BatchOrder(mixture, [float(k % 5) for k in range(len(examples))] if bucket else None, batch, seed=1)
    epochs = 12
    steps = epochs * len(examples) // batch
    seen = [examples[k] for step in range(steps) for k in order[step]]
    by_source = Counter(e.source for e in seen)
    whole = epochs * len(examples)
    for source, size in enumerate(sizes):
        share = weights[source] / sum(weights[: len(sizes)])
        # A batch may be missing at the end, and an epoch's quota is rounded to whole examples.
        assert abs(by_source[source] - share * whole) <= batch + len(examples) + len(sizes)
        times = Counter(e.utterance.id for e in seen if e.source == source)
        if len(times) == size and steps * batch == whole:
            assert max(times.values()) - min(times.values()) <= 1


@pytest.fixture
def two_sources(train_config, corpus, tmp_path):
    """A run on the first half of the corpus and, at three times its weight, the second."""
    parts = []
    for number, half in enumerate((corpus.utterances[:4], corpus.utterances[4:])):
        manifest, targets = tmp_path / f"{number}.jsonl", tmp_path / f"{number}-targets.jsonl"
        write_manifest(manifest, half)
        ids = {u.id for u in half}
        records = [record for record in read_targets(corpus.targets) if record.utterance_id in ids]
        targets.write_text("".join(r.model_dump_json() + "\n" for r in records), encoding="utf-8")
        parts.append(SourceConfig(manifest=manifest, targets=targets, weight=(1.0, 3.0)[number]))

    def make(out, **changes) -> TrainConfig:
        stages = [
            {"objective": "embedding_alignment", "steps": 4, "batch_size": 4, "warmup_steps": 1},
            {"objective": "cross_entropy", "steps": 6, "batch_size": 4, "warmup_steps": 1},
        ]
        config = train_config(out, stages=stages, save_every=1)
        data = replace(config.data, manifest=None, targets=None, sources=parts)
        return replace(config, data=data, **changes)

    return make


def test_a_mixture_is_gone_on_with_bit_for_bit(two_sources, tmp_path, monkeypatch):
    whole = two_sources(tmp_path / "whole")
    loop.train(whole)
    cut = two_sources(tmp_path / "cut")
    take, taken = loop.take_step, []

    def stops(*arguments):
        if len(taken) == 6:
            raise KeyboardInterrupt
        taken.append(1)
        return take(*arguments)

    monkeypatch.setattr(loop, "take_step", stops)
    with pytest.raises(KeyboardInterrupt):
        loop.train(cut)
    monkeypatch.setattr(loop, "take_step", take)
    loop.train(cut)
    adapters = [(config.out / "checkpoint" / "adapter.safetensors").read_bytes() for config in (cut, whole)]
    assert adapters[0] == adapters[1]
    assert [entry["loss"] for entry in log(cut)] == [entry["loss"] for entry in log(whole)]


def test_other_data_in_a_source_is_noticed(two_sources, tmp_path):
    config = two_sources(tmp_path / "run")
    loop.train(config)
    path = config.data.sources[1].targets
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    rows[0]["response"] = "Something else."
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with pytest.raises(SpeechLLMError, match=r"data\.sources\.1\.targets\.sha256 \(the file's content\)"):
        loop.train(config)


def test_an_utterance_in_two_sources_names_both(two_sources, tmp_path):
    data = two_sources(tmp_path / "run").data
    twice = replace(data, sources=[data.sources[0], data.sources[0]])
    with pytest.raises(SpeechLLMError, match=r"0\.jsonl: the utterance '.*' is in .*0\.jsonl too"):
        read_sources(twice)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "give manifest and targets, or"),
        ({"manifest": "m", "targets": "t", "sources": [{"targets": "t"}]}, "one of them"),
        ({"manifest": "m"}, "targets is missing"),
        ({"sources": [{"targets": "t", "weight": 1.0}, {"targets": "u"}]}, "give all sources a weight, or none"),
        ({"sources": [{"targets": "t", "weight": 0.0}]}, "weight"),
    ],
)
def test_what_is_no_mixture_is_refused(values, message):
    with pytest.raises(SpeechLLMError, match=message):
        parse_config(values, DataConfig, "run.toml")
