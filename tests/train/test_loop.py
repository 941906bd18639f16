import errno
import json
import math
import os
import signal
import subprocess
import sys
from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer

from speechllm import SpeechLLM, SpeechLLMProcessor
from speechllm.audio.io import save_audio
from speechllm.config import StageConfig
from speechllm.data.manifest import Utterance
from speechllm.data.render import PromptRenderer, describe_audio
from speechllm.errors import SpeechLLMError
from speechllm.models.reply import Sampling, SpeechReplier
from speechllm.testing.corpus import tone
from speechllm.testing.tiny import tiny_llm
from speechllm.train import loop, state
from speechllm.train.data import AudioStore, Example, conversation, order, pair_up
from speechllm.train.objectives import OBJECTIVES, Context, CrossEntropy, EmbeddingAlignment

TIMINGS = {"examples_per_second", "seconds", "seconds_left"}


def context_of(config, max_bytes=1 << 30):
    model, processor = loop.build(config)
    store = AudioStore(model, processor, max_bytes)
    return Context(model, processor, store, config.data.attributes, config.data.transcript_dropout, config.seed)


def run_of(config, corpus, max_bytes=1 << 30):
    """A run of the loop up to where `loop.train` calls `fit`."""
    examples = pair_up(corpus.utterances, corpus.records)
    return loop.prepare(config, context_of(config, max_bytes), corpus.utterances, examples)


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
                if next(calls) == call:
                    raise signal
                return super().__call__(batch, step)

        return Dying

    monkeypatch.setattr(loop, "OBJECTIVES", {name: dying(kind) for name, kind in OBJECTIVES.items()})


# ---------------------------------------------------------------- resume

TWO_STAGES = [
    {"objective": "embedding_alignment", "steps": 4, "batch_size": 3, "warmup_steps": 2, "learning_rate": 0.01},
    {"objective": "cross_entropy", "steps": 3, "batch_size": 4, "micro_batch_size": 2, "learning_rate": 0.01},
]
CALLS = 4 + 3 * 2


@pytest.fixture(scope="module")
def resumable(train_config):
    """Saves between the steps, draws dropout and withheld transcripts: all that a resumed run has to get right."""

    def make(out, **changes):
        values = {"stages": TWO_STAGES, "save_every": 3, "data": {"transcript_dropout": 0.5}, **changes}
        return train_config(out, **values)

    return make


@pytest.fixture(scope="module")
def whole(resumable, corpus, tmp_path_factory):
    """Weights and log of a run that was not killed."""
    torch.set_num_threads(1)
    return fit(resumable(tmp_path_factory.mktemp("whole")), corpus)


def test_the_same_seed_gives_the_same_weights_and_another_one_others(whole, resumable, corpus, tmp_path):
    assert_same(fit(resumable(tmp_path / "same"), corpus), whole)
    other, _ = fit(resumable(tmp_path / "other", seed=1), corpus)
    assert not any(torch.equal(other[name], tensor) for name, tensor in whole[0].items() if tensor.numel() > 100)


@pytest.mark.parametrize("call", range(CALLS))
def test_a_run_killed_at_any_step_ends_as_if_it_had_not_been(call, whole, resumable, corpus, monkeypatch, tmp_path):
    config = resumable(tmp_path)
    with monkeypatch.context() as patch:
        kill_at(patch, call)
        with pytest.raises(Killed):
            fit(config, corpus)
    torch.manual_seed(call)
    assert_same(fit(config, corpus), whole)


def test_a_run_killed_again_and_again_ends_too(whole, resumable, corpus, monkeypatch, tmp_path):
    config = resumable(tmp_path, save_every=1)
    for call in (2, 1, 1, 3):
        with monkeypatch.context() as patch:
            kill_at(patch, call, KeyboardInterrupt)
            with pytest.raises(KeyboardInterrupt):
                fit(config, corpus)
    assert_same(fit(config, corpus), whole)


def test_a_run_killed_while_it_saves_goes_on_from_the_older_state(whole, resumable, corpus, monkeypatch, tmp_path):
    config = resumable(tmp_path)
    saves = iter(range(10))

    def dying(value, path, real=torch.save):
        if next(saves) == 1:
            path.write_bytes(b"half a state")
            raise Killed
        real(value, path)

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", dying)
        with pytest.raises(Killed):
            fit(config, corpus)
    assert_same(fit(config, corpus), whole)


def test_a_line_of_the_log_that_was_cut_short_is_dropped(whole, resumable, corpus, monkeypatch, tmp_path):
    config = resumable(tmp_path)
    with monkeypatch.context() as patch:
        kill_at(patch, 5)
        with pytest.raises(Killed):
            fit(config, corpus)
    with (config.out / "log.jsonl").open("a", encoding="utf-8") as out:
        out.write('{"stage": 1, "objective": "cross_en')
    assert_same(fit(config, corpus), whole)


def test_a_finished_run_is_not_run_again(whole, resumable, corpus, monkeypatch, tmp_path):
    config = resumable(tmp_path)
    fit(config, corpus)
    kill_at(monkeypatch, 0)
    assert_same(fit(config, corpus), whole)


SIGKILL = """
import json
import os
import signal
import sys
from pathlib import Path

import speechllm
import torch
from speechllm.config import TrainConfig, parse_config
from speechllm.train import loop
from speechllm.train.objectives import CrossEntropy

torch.set_num_threads(1)
real = CrossEntropy.__call__

def dying(self, batch, step):
    out = real(self, batch, step)
    if step == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return out

CrossEntropy.__call__ = dying
config = parse_config(json.loads(Path(sys.argv[1]).read_text()), TrainConfig, sys.argv[1])
loop.train(config)
"""


def test_a_process_that_was_killed_goes_on_to_the_same_checkpoint(resumable, tmp_path):
    expected = loop.train(resumable(tmp_path / "whole", save_every=1))
    config = resumable(tmp_path / "killed", save_every=1)
    loop.save_config(config, tmp_path / "killed.json")
    done = subprocess.run(
        [sys.executable, "-c", SIGKILL, str(tmp_path / "killed.json")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        cwd=tmp_path,
        capture_output=True,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert (config.out / "state.pt").exists()
    assert not (config.out / "checkpoint").exists()
    kept = (config.out / "log.jsonl").read_bytes()
    found = loop.train(config)
    assert (config.out / "log.jsonl").read_bytes().startswith(kept), "it started over"
    assert log(config) == log(resumable(tmp_path / "whole", save_every=1))
    for name in ("adapter.safetensors", "fingerprint.json", "config.json", "training.json", "README.md"):
        assert (found / name).read_bytes() == (expected / name).read_bytes(), name


@pytest.mark.parametrize(
    "change", [{"seed": 7}, {"stages": TWO_STAGES[:1]}, {"adapter": {"type": "pooled", "vectors": 11}}]
)
def test_going_on_with_another_config_is_refused_and_changes_nothing(change, resumable, corpus, monkeypatch, tmp_path):
    config = resumable(tmp_path)
    with monkeypatch.context() as patch:
        kill_at(patch, 5)
        with pytest.raises(Killed):
            fit(config, corpus)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert set(before) == {"config.json", "log.jsonl", "state.pt"}
    with pytest.raises(SpeechLLMError, match=r"state\.pt: belongs to a run with another config"):
        fit(resumable(tmp_path, **change), corpus)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("file", ["manifest", "targets"])
def test_going_on_with_other_data_is_refused(file, resumable, corpus, monkeypatch, tmp_path):
    copies = {name: tmp_path / f"{name}.jsonl" for name in ("manifest", "targets")}
    for name, path in copies.items():
        path.write_bytes(getattr(corpus, name).read_bytes())
    config = resumable(tmp_path / "run", data={name: str(path) for name, path in copies.items()})
    with monkeypatch.context() as patch:
        kill_at(patch, 5)
        with pytest.raises(Killed):
            fit(config, corpus)
    copies[file].write_text(copies[file].read_text(encoding="utf-8").replace("high", "low", 1), encoding="utf-8")
    with pytest.raises(SpeechLLMError, match=r"state\.pt: belongs to a run with another config or other data"):
        fit(config, corpus)


def test_a_run_may_be_moved_and_save_more_often(whole, resumable, corpus, monkeypatch, tmp_path):
    with monkeypatch.context() as patch:
        kill_at(patch, 5)
        with pytest.raises(Killed):
            fit(resumable(tmp_path / "here"), corpus)
    (tmp_path / "here").rename(tmp_path / "there")
    kept = len(log(resumable(tmp_path / "there")))
    with monkeypatch.context() as patch:
        kill_at(patch, CALLS - 3)  # from step 4 of the first stage on that is beyond the end
        assert_same(fit(resumable(tmp_path / "there", save_every=1), corpus), whole)
    assert kept > 0


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 but cut short", b"\x80\x04nonsense"])
def test_a_damaged_state_is_an_error_that_says_what_to_do(content, resumable, corpus, tmp_path):
    (tmp_path / "state.pt").write_bytes(content)
    with pytest.raises(SpeechLLMError, match=r"state\.pt: is damaged .*delete it to start the run anew") as caught:
        fit(resumable(tmp_path), corpus)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < len(str(tmp_path)) + 200


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("PytorchStreamWriter failed writing file")]
)
def test_a_full_disk_while_saving_leaves_the_older_state(error, whole, resumable, corpus, monkeypatch, tmp_path):
    config = resumable(tmp_path)
    saves = iter(range(10))

    def full(value, path, real=torch.save):
        if next(saves) == 1:
            path.write_bytes(b"half a state")
            raise error
        real(value, path)

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full)
        with pytest.raises(SpeechLLMError, match=r"state\.pt: cannot be written: .*; free some space"):
            fit(config, corpus)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "log.jsonl", "state.pt"]
    assert_same(fit(config, corpus), whole)


# ---------------------------------------------------------------- the step, the log


def test_each_step_is_logged(whole, resumable, corpus, tmp_path):
    config = resumable(tmp_path)
    fit(config, corpus)
    entries = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [(e["stage"], e["step"]) for e in entries] == [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (1, 1), (1, 2)]
    fields = {"stage", "objective", "step", "loss", "learning_rate", "grad_norm", "items"} | TIMINGS
    for entry in entries:
        assert set(entry) == fields
        stage = config.stages[entry["stage"]]
        assert entry["objective"] == stage.objective
        assert entry["learning_rate"] == loop.learning_rate(stage, entry["step"])
        assert all(math.isfinite(value) for value in entry.values() if isinstance(value, float))
        assert entry["examples_per_second"] > 0
        assert entry["seconds_left"] >= 0
    assert [e["seconds"] for e in entries] == sorted(e["seconds"] for e in entries)
    assert entries[0]["items"] == 3 * 10, "the warm-up counts vectors"


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_no_number_stops_before_it_spoils_the_weights(value, resumable, corpus, monkeypatch, tmp_path):
    class Spoiled(CrossEntropy):
        def __call__(self, batch, step):
            loss, items = super().__call__(batch, step)
            return (loss * value if step == 1 else loss), items

    monkeypatch.setattr(loop, "OBJECTIVES", OBJECTIVES | {"cross_entropy": Spoiled})
    config = resumable(tmp_path, stages=TWO_STAGES[1:])
    run = run_of(config, corpus)
    with pytest.raises(SpeechLLMError) as caught:
        loop.fit(run)
    ids = [corpus.utterances[i].id for i in order(8, 4, 1, config.seed)]
    assert f"step 1: the loss is not a finite number (utterances {', '.join(ids)}" in str(caught.value)
    assert "lower learning_rate (0.01)" in str(caught.value)
    assert all(tensor.isfinite().all() for tensor in weights(run).values())
    assert [entry["step"] for entry in log(config)] == [0]


def test_gradients_are_clipped(resumable, corpus, tmp_path):
    stage = TWO_STAGES[1] | {"steps": 1, "warmup_steps": 0, "max_grad_norm": 1e-9, "weight_decay": 0.0}
    run = run_of(resumable(tmp_path, stages=[stage]), corpus)
    before = weights(run)
    loop.fit(run)
    # Adam divides by the norm of the gradient plus 1e-8: what is left of a step is a fraction of the rate
    moved = max(float((after - before[name]).abs().max()) for name, after in weights(run).items())
    assert 0 < moved < 0.1 * stage["learning_rate"]


def stage(**values):
    return StageConfig(objective="cross_entropy", **{"steps": 100, "learning_rate": 0.5, "warmup_steps": 10, **values})


def test_the_learning_rate_rises_in_a_line_and_falls_in_a_cosine():
    rates = [loop.learning_rate(stage(), step) for step in range(100)]
    assert rates[:10] == pytest.approx([0.05 * (k + 1) for k in range(10)])
    assert rates[10] == 0.5
    assert rates[55] == pytest.approx(0.25)
    assert rates[9:] == sorted(rates[9:], reverse=True)
    assert 0 < rates[99] < 0.001
    assert loop.learning_rate(stage(warmup_steps=0), 0) == 0.5


@given(steps=st.integers(1, 300), warmup=st.integers(0, 400), data=st.data())
def test_the_learning_rate_stays_in_its_bounds(steps, warmup, data):
    step = data.draw(st.integers(0, steps - 1))
    assert 0 < loop.learning_rate(stage(steps=steps, warmup_steps=warmup), step) <= 0.5


# ---------------------------------------------------------------- the order of examples


@given(n=st.integers(1, 40), batch=st.integers(1, 60), epochs=st.integers(1, 4), seed=st.integers(0, 5))
def test_every_epoch_is_a_permutation(n, batch, epochs, seed):
    steps = -(-n * epochs // batch)
    seen = [i for step in range(steps) for i in order(n, batch, step, seed)]
    assert len(seen) == steps * batch
    for epoch in range(epochs):
        assert sorted(seen[epoch * n : (epoch + 1) * n]) == list(range(n))


@given(n=st.integers(2, 40), batch=st.integers(1, 20), steps=st.lists(st.integers(0, 100), max_size=8))
def test_the_order_does_not_depend_on_what_was_asked_before(n, batch, steps):
    straight = {step: order(n, batch, step, 3) for step in range(101)}
    assert [order(n, batch, step, 3) for step in steps] == [straight[step] for step in steps]


def test_epochs_and_seeds_have_orders_of_their_own():
    first, second = order(20, 20, 0, 0), order(20, 20, 1, 0)
    assert first != second
    assert first != order(20, 20, 0, 1)
    assert first != sorted(first)


@given(st.lists(st.integers(), max_size=20), st.integers(1, 8))
def test_micro_batches_are_the_batch(batch, size):
    parts = loop.split(batch, size)
    assert [item for part in parts for item in part] == batch
    assert all(0 < len(part) <= size for part in parts)


def test_a_target_about_an_unknown_utterance_is_an_error(corpus):
    with pytest.raises(SpeechLLMError, match=r"target 'tone-7/pitch' is about utterance 'tone-7', which the manifest"):
        pair_up(corpus.utterances[:7], corpus.records)
    assert [e.utterance.id for e in pair_up(corpus.utterances, corpus.records)] == [u.id for u in corpus.utterances]


# ---------------------------------------------------------------- encoded audio


@pytest.fixture(scope="module", params=["pooled", "qformer"])
def store_config(request, train_config, tmp_path_factory):
    small = {"pooled": {"vectors": 10}, "qformer": {"queries": 10, "blocks": 1, "size": 8, "heads": 2, "ffn_size": 8}}
    adapter = {"type": request.param, **small[request.param]}
    return train_config(tmp_path_factory.mktemp("store"), adapter=adapter)


@pytest.fixture
def long_utterance(tmp_path):
    """Just over one window: the last window is very short."""
    save_audio(tmp_path / "long.wav", tone(30.05))
    return Utterance(
        id="long", audio=str(tmp_path / "long.wav"), duration=30.05, sampling_rate=16_000, attributes={"pitch": "low"}
    )


def assert_same_audio(found, expected):
    (states, mask), (their_states, their_mask) = found, expected
    assert states.shape == their_states.shape
    assert torch.equal(mask, their_mask)
    real = mask[:, None, :, None]
    torch.testing.assert_close(states * real, their_states * real, atol=1e-5, rtol=1e-5)


def test_a_store_without_room_gives_what_one_with_room_gives(store_config, corpus, long_utterance):
    context = context_of(store_config)
    roomy, full = context.audio, AudioStore(context.model, context.processor, max_bytes=0)
    utterances = [*corpus.utterances, long_utterance]
    roomy.fill(utterances)
    full.fill(utterances)
    assert full._kept == {}
    assert set(roomy._kept) == {u.id for u in utterances}
    for chosen in ([2], [7, 0, 7], [8, 1], range(9)):
        batch = [utterances[i] for i in chosen]
        assert_same_audio(full.get(batch), roomy.get(batch))
        assert [full.frames(u) for u in batch] == [roomy.frames(u) for u in batch]
    assert roomy.frames(long_utterance) == [3000, 10]
    assert full._kept == {}


def test_a_store_gives_what_the_model_hears(store_config, corpus):
    context = context_of(store_config)
    batch = [corpus.utterances[i] for i in (5, 0, 3)]
    context.audio.fill(corpus.utterances)
    audio = [{"role": "user", "content": [{"type": "audio", "path": u.audio}]} for u in batch]
    inputs = context.processor([[message] for message in audio])
    heard = context.model.encode_audio(inputs["input_features"], inputs["input_features_mask"])
    assert_same_audio(context.audio.get(batch), heard)


def test_a_store_hears_the_segment(store_config, corpus, long_utterance):
    context = context_of(store_config)
    part = long_utterance.model_copy(update={"id": "part", "start": 1.0, "end": 1.5})
    context.audio.get([part])
    assert context.audio.frames(part) == [50]


def test_a_store_fills_only_as_far_as_there_is_room(store_config, corpus):
    context = context_of(store_config)
    context.audio.fill(corpus.utterances)
    sizes = {id: sum(w.nbytes for w in kept) for id, kept in context.audio._kept.items()}
    small = AudioStore(context.model, context.processor, max_bytes=sizes["tone-0"] + 1)
    small.fill(corpus.utterances, batch_size=1)
    assert list(small._kept) == ["tone-0", "tone-1"]


def test_training_without_room_is_training(whole, resumable, corpus, tmp_path):
    found = fit(resumable(tmp_path), corpus, max_bytes=0)
    for ours, theirs in zip(found[1], whole[1], strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-4)


# ---------------------------------------------------------------- objectives


def test_in_the_warm_up_a_vector_of_zeros_has_a_loss_of_one(train_config, corpus, tmp_path):
    context = context_of(train_config(tmp_path))
    with torch.no_grad():
        for parameter in context.model.adapter_state().values():
            parameter.zero_()
        context.model.get_input_embeddings().weight.fill_(0.02)  # all of one size, so that one is exact
        loss, items = warm_up(context)([Example(u) for u in corpus.utterances], 0)
    assert items == 8 * 10
    assert float(loss) / items == pytest.approx(1.0, rel=1e-5)


def test_the_warm_up_wants_the_embeddings_of_the_attributes(train_config, corpus, tmp_path):
    context = context_of(train_config(tmp_path, adapter={"type": "pooled", "vectors": 30}))
    context.audio.fill(corpus.utterances)
    valid = torch.ones(2, 30, dtype=torch.bool)
    rows, taught = warm_up(context)._token_ids([Example(u) for u in corpus.utterances[:2]], valid)
    assert torch.equal(taught, valid)
    read = [context.processor.decode(row).rstrip() for row in rows]
    assert read == ["<pitch>low</pitch>", "<pitch>high</pitch>"]
    rows, _ = warm_up(context, description_style="desta")._token_ids([Example(corpus.utterances[0])], valid[:1])
    assert context.processor.decode(rows[0]).rstrip() == "(Pitch: Low)"


def test_attributes_that_do_not_fit_into_the_vectors_are_an_error(train_config, corpus, tmp_path):
    context = context_of(train_config(tmp_path, adapter={"type": "pooled", "vectors": 2}))
    context.audio.fill(corpus.utterances)
    with pytest.raises(SpeechLLMError, match=r"tone-0: its attributes take \d+ tokens but the adapter has 2 vectors"):
        warm_up(context)([Example(corpus.utterances[0])], 0)


def test_audio_in_several_windows_can_be_learned(store_config, corpus, long_utterance):
    context = context_of(store_config)
    record = corpus.records[0].model_copy(update={"utterance_id": "long"})
    batch = [Example(corpus.utterances[1], corpus.records[1]), Example(long_utterance, record)]
    for objective, expected in ((warm_up(context), 3 * 10), (cross_entropy(context), None)):
        loss, items = objective(batch, 0)
        loss.backward()
        assert loss.isfinite()
        assert expected is None or items == expected


def test_a_reply_that_was_cut_short_counts_no_end_of_turn(train_config, corpus, tmp_path):
    context = context_of(train_config(tmp_path))
    cut = corpus.records[0].model_copy(update={"finish_reason": "length"})
    objective = cross_entropy(context)
    _, whole = objective([Example(corpus.utterances[0], corpus.records[0])], 0)
    _, short = objective([Example(corpus.utterances[0], cut)], 0)
    assert short == whole - 1


@pytest.mark.parametrize(("dropout", "low", "high"), [(0.0, 1.0, 1.0), (1.0, 0.0, 0.0), (0.3, 0.6, 0.8)])
def test_the_words_are_withheld_as_often_as_asked(dropout, low, high, train_config, corpus, tmp_path):
    context = context_of(train_config(tmp_path, data={"transcript_dropout": dropout}))
    objective = cross_entropy(context)
    drawn = [
        [objective._hears_words(e, step) for e in pair_up(corpus.utterances, corpus.records)] for step in range(80)
    ]
    share = sum(map(sum, drawn)) / (80 * 8)
    assert low <= share <= high
    if 0 < dropout < 1:
        assert len({tuple(row) for row in drawn}) > 40, "not the same ones at every step"
        assert all(10 < sum(column) < 70 for column in zip(*drawn, strict=True))


def test_a_model_without_the_transcript_stream_never_reads_it(train_config, corpus, tmp_path):
    context = context_of(train_config(tmp_path, model={"transcript": False}, data={"transcript_dropout": 0.0}))
    assert not cross_entropy(context)._hears_words(Example(corpus.utterances[0], corpus.records[0]), 0)


def test_the_recognisers_words_come_before_the_corpus_own(corpus):
    utterance, messages = corpus.utterances[0], corpus.records[0].messages
    [part, *_] = conversation(messages, utterance, transcript=True)[-1]["content"]
    assert part == {"type": "audio", "path": utterance.audio, "start": None, "end": None, "transcript": "low"}
    heard = utterance.model_copy(update={"recognised_text": "lo"})
    assert conversation(messages, heard, transcript=True)[-1]["content"][0]["transcript"] == "lo"
    silent = conversation(messages, heard, transcript=False)
    assert "transcript" not in silent[-1]["content"][0]
    assert silent[0] == messages[0]
    assert silent[-1]["content"][1:] == messages[-1]["content"][1:]


# ---------------------------------------------------------------- whole runs


def teach_text(reference, corpus, steps=60):
    """Makes the random LLM answer the corpus's questions from the descriptions, so that an adapter can be learned."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(reference), AutoTokenizer.from_pretrained(reference)
    renderer = PromptRenderer(tokenizer)
    pairs = [
        renderer.conversation(describe_audio(record.messages, [record.seed_description]), record.response)
        for record in corpus.records
    ]
    batch = tokenizer([text for text, _ in pairs], return_tensors="pt", padding=True, padding_side="right")
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    for row, (text, start) in zip(labels, pairs, strict=True):
        row[: len(tokenizer(text[:start])["input_ids"])] = -100
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(steps):
        ids = {key: batch[key] for key in ("input_ids", "attention_mask")}
        model(**ids, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(reference)


def test_an_adapter_learns_to_hear(train_config, corpus, tmp_path):
    torch.manual_seed(0)
    llm = tiny_llm(tmp_path / "llm")
    teach_text(llm, corpus)
    adapter = {"type": "pooled", "vectors": 10, "hidden_size": 64, "dropout": 0.0}
    stage = {"objective": "cross_entropy", "steps": 100, "batch_size": 4, "learning_rate": 0.01}
    model = {"llm": llm, "transcript": False}
    config = train_config(tmp_path / "run", model=model, adapter=adapter, stages=[stage])
    examples = pair_up(corpus.utterances, corpus.records)[:4]
    run = loop.prepare(config, context_of(config), corpus.utterances[:4], examples)
    loop.fit(run)
    losses = [entry["loss"] for entry in log(config)]
    assert losses[0] > 0.5
    assert losses[-1] < 0.1
    replier = SpeechReplier(run.model, run.context.processor)
    asked = [conversation(e.target.messages, e.utterance, transcript=False) for e in examples]
    replies = replier(asked, Sampling(max_new_tokens=24))
    assert [r.text for r in replies] == [e.target.response for e in examples]
    assert {r.finish_reason for r in replies} == {"stop"}


def test_train_leaves_a_checkpoint_that_loads(train_config, corpus, tmp_path):
    config = train_config(tmp_path / "run")
    folder = loop.train(config)
    assert folder == tmp_path / "run" / "checkpoint"
    model = SpeechLLM.from_pretrained(folder)
    SpeechLLMProcessor.from_pretrained(folder)
    assert model.config.system_prompt == "Focus on the audio and the instruction."
    facts = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    assert facts["targets"] == 8
    assert facts["datasets"] == ["tones"]
    assert facts["strategies"] == {"self_output": 8}
    trained = torch.load(tmp_path / "run" / "state.pt")["adapter"]
    assert all(torch.equal(tensor, trained[name]) for name, tensor in model.adapter_state().items())


def rewritten(corpus, path, how):
    lines = corpus.targets.read_text(encoding="utf-8").splitlines()
    records = [how(i, json.loads(line)) for i, line in enumerate(lines)]
    path.write_text("".join(json.dumps(r) + "\n" for r in records), encoding="utf-8")
    return {"targets": str(path)}


def test_replies_that_cannot_be_taught_are_left_out_and_told(train_config, corpus, tmp_path, capsys):
    def spoil(i, record):
        texts = {2: "She <|im_end|> is.", 4: "  \n", 5: "<|audio|>"}
        return record | {"response": texts.get(i, record["response"])}

    config = train_config(tmp_path / "run", data=rewritten(corpus, tmp_path / "t.jsonl", spoil))
    folder = loop.train(config)
    assert json.loads((folder / "training.json").read_text(encoding="utf-8"))["targets"] == 5
    told = " ".join(capsys.readouterr().err.split())
    assert "left out 2 of 7 targets, the last 'tone-5/pitch': the reply '<|audio|>' holds the control token" in told


def test_targets_none_of_which_can_be_taught_are_an_error(train_config, corpus, tmp_path):
    data = rewritten(corpus, tmp_path / "t.jsonl", lambda i, record: record | {"response": "<|im_end|>"})
    with pytest.raises(SpeechLLMError, match="no target can be learned; 'tone-7/pitch': "):
        loop.train(train_config(tmp_path / "run", data=data))


def test_the_system_prompt_of_the_model_is_that_of_all_targets(corpus):
    examples = pair_up(corpus.utterances, corpus.records)
    assert loop._common_system_prompt(examples) == "Focus on the audio and the instruction."
    other = corpus.records[0].model_copy(update={"messages": corpus.records[0].messages[1:]})
    assert loop._common_system_prompt([*examples, Example(corpus.utterances[0], other)]) is None
    assert loop._common_system_prompt([Example(u) for u in corpus.utterances]) is None


def test_the_state_is_where_the_run_stands(resumable, corpus, tmp_path):
    run = run_of(resumable(tmp_path), corpus)
    loop.fit(run)
    position, optimizer = state.load_state(tmp_path / "state.pt", run.config_hash, run.model)
    assert position == state.Position(2, 0)
    assert optimizer is None
    assert state.load_state(tmp_path / "none.pt", run.config_hash, run.model) == (state.Position(0, 0), None)


def test_batches_of_an_epoch_are_balanced():
    """Each example is seen as often as any other, whole epochs or not."""
    seen = Counter(i for step in range(10) for i in order(7, 5, step, 0))
    assert max(seen.values()) - min(seen.values()) <= 1
