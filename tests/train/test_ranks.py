import dataclasses
import os
import signal

import pytest
import torch
from processes import together
from runs import TWO_STAGES, context_of, log, run_of

from speechllm.errors import SpeechLLMError
from speechllm.train import loop
from speechllm.train.objectives import OBJECTIVES
from speechllm.train.ranks import Ranks, as_torchrun_does, shard
from speechllm.train.state import Position, save_state
from speechllm.train.steps import take_step

TERMS = {"cross_entropy": 0.1, "kl": 1.0, "hidden_state": 1.0}


class Recorder(torch.optim.SGD):
    """Keeps the gradients instead of taking a step."""

    def step(self):
        self.seen = [p.grad.numpy(force=True) for group in self.param_groups for p in group["params"]]


def gradients(config, corpus, micro_batch_size, ranks, sharded=False):
    """Loss, tokens and gradients of one step of each objective over all eight examples."""
    run = run_of(config, corpus)
    if sharded:
        shard(run.model.language_model)
    found = {}
    for stage in config.stages:
        recorder = Recorder(run.model.adapter_state().values(), lr=1.0)
        settings = dataclasses.replace(stage, micro_batch_size=micro_batch_size)
        objective = OBJECTIVES[stage.objective](run.context, settings)
        out = take_step(objective, run.examples[stage.objective][:8], 0, settings, recorder, ranks)
        found[stage.objective] = (out.loss, out.items, out.grad_norm, recorder.seen)
    return found


@pytest.mark.parametrize("sharded", [False, True], ids=["whole", "sharded"])
def test_two_ranks_of_four_are_one_of_eight_are_two_times_four(sharded, train_config, corpus, tmp_path):
    settings = {"steps": 1, "batch_size": 8, "max_grad_norm": 1e9, "terms": TERMS, "prompts": str(corpus.prompts)}
    settings |= {"max_new_tokens": 4, "group_size": 2}
    adapter = {"type": "pooled", "vectors": 10, "hidden_size": 16, "dropout": 0.0}
    # Of a sharded LLM the first pass makes the buffers; one that only writes must not make them useless in training.
    first = sorted(OBJECTIVES, key=lambda name: name != "on_policy")
    stages = [{"objective": objective, **settings} for objective in first]
    config = train_config(tmp_path, stages=stages, adapter=adapter, data={"transcript_dropout": 0.5})
    whole = gradients(config, corpus, 8, Ranks())
    accumulated = gradients(config, corpus, 4, Ranks())
    of_ranks = together(lambda rank: gradients(config, corpus, 4, Ranks(), sharded))
    for objective, (loss, items, norm, wanted) in whole.items():
        for split in (accumulated, *of_ranks):
            found = split[objective]
            assert found[1] == items
            assert found[0] == pytest.approx(loss, rel=1e-5, abs=1e-7)
            assert found[2] == pytest.approx(norm, rel=1e-4, abs=1e-6)
            for ours, theirs in zip(found[3], wanted, strict=True):
                torch.testing.assert_close(torch.tensor(ours), torch.tensor(theirs), rtol=1e-3, atol=1e-5 * norm)
        for ours, theirs in zip(of_ranks[0][objective][3], of_ranks[1][objective][3], strict=True):
            assert (ours == theirs).all(), "both processes take the same step"


def test_the_ranks_of_a_sharded_llm_hold_half_each(train_config, corpus, tmp_path):
    config = train_config(tmp_path)

    def halves(rank):
        model = context_of(config).model
        Ranks()
        before = {name: p.numel() for name, p in model.language_model.named_parameters()}
        shard(model.language_model)
        after = {n: getattr(p, "_local_tensor", p).numel() for n, p in model.language_model.named_parameters()}
        ends = [name for name in before if name.endswith(("embed_tokens.weight", "lm_head.weight"))]
        assert all(after[name] == before[name] for name in ends)
        return [sum(n for name, n in sizes.items() if name not in ends) for sizes in (before, after)]

    for before, after in together(halves):
        assert after == pytest.approx(before / 2, rel=0.05)


def test_a_run_on_two_ranks_ends_as_it_does_on_one(train_config, corpus, tmp_path):
    adapter = {"type": "pooled", "vectors": 10, "hidden_size": 16, "dropout": 0.0}
    stages = [stage | {"batch_size": 4, "micro_batch_size": 2} for stage in TWO_STAGES]
    one = train_config(tmp_path / "one", stages=stages, adapter=adapter)
    two = train_config(tmp_path / "two", stages=stages, adapter=adapter)
    folder = loop.train(one)
    assert together(lambda rank: str(loop.train(two))) == [str(tmp_path / "two" / "checkpoint")] * 2
    ours, theirs = log(two), log(one)
    assert [(e["stage"], e["step"], e["items"]) for e in ours] == [(e["stage"], e["step"], e["items"]) for e in theirs]
    for entry, expected in zip(ours, theirs, strict=True):
        assert entry["loss"] == pytest.approx(expected["loss"], rel=1e-3)
    assert {path.name for path in two.out.iterdir()} == {path.name for path in one.out.iterdir()}
    assert (two.out / "checkpoint" / "config.json").read_bytes() == (folder / "config.json").read_bytes()


def test_ranks_killed_and_resumed_end_as_if_they_had_not_been(resumable, corpus, monkeypatch, tmp_path):
    """A signal to one process stops both at the same step."""

    def train(out, stopped_at=None):
        def run(rank):
            real = loop.take_step

            def signalled(objective, batch, step, stage, *rest):
                if rank == 1 and (stage.objective, step) == ("cross_entropy", stopped_at):
                    os.kill(os.getpid(), signal.SIGUSR1)
                return real(objective, batch, step, stage, *rest)

            monkeypatch.setattr(loop, "take_step", signalled)
            try:
                loop.train(resumable(out, stages=[s | {"batch_size": 4} for s in TWO_STAGES]))
            except SpeechLLMError as error:
                return str(error)
            return "done"

        return together(run)

    assert train(tmp_path / "whole") == ["done"] * 2
    told = train(tmp_path / "stopped", stopped_at=1)
    assert "a signal to another process received: stopped after step 1 of stage 1" in told[0]
    assert "SIGUSR1 received: stopped after step 1 of stage 1" in told[1]
    assert train(tmp_path / "stopped") == ["done"] * 2
    files = [tmp_path / name / "checkpoint" / "adapter.safetensors" for name in ("whole", "stopped")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_batch_that_cannot_be_shared_is_an_error():
    ranks = Ranks()
    ranks.count, ranks.index = 3, 1
    assert ranks.share(range(9)) == range(1, 9, 3)
    with pytest.raises(SpeechLLMError, match="batch_size 8 cannot be shared among 3 processes; give a multiple"):
        ranks.share(range(8))


def test_a_gradient_that_only_one_rank_has_is_summed_and_one_that_none_has_stays_none():
    def summed(rank):
        ranks = Ranks()
        parameters = [torch.zeros(2), torch.zeros(3), torch.zeros(1)]
        parameters[0].grad = torch.full((2,), 1.0 + rank)
        if rank == 1:
            parameters[2].grad = torch.full((1,), 5.0)
        ranks.sum_gradients(parameters)
        return [None if p.grad is None else p.grad.tolist() for p in parameters]

    assert together(summed) == [[[3.0, 3.0], None, [5.0]]] * 2


def test_ranks_that_stand_at_different_steps_are_told_to_share_the_folder(resumable, corpus, tmp_path):
    def train(rank):
        here = tmp_path / str(rank)  # as on two nodes without a common disk
        if rank == 0:
            one = resumable(here, stages=[s | {"batch_size": 4} for s in TWO_STAGES])
            run = run_of(one, corpus)
            run.ranks.main = True
            save_state(run.state_file, run.identity, Position(0, 2), run.model, None)
        try:
            loop.train(resumable(here, stages=[s | {"batch_size": 4} for s in TWO_STAGES]))
        except SpeechLLMError as error:
            return str(error)
        return "done"

    assert all("put `out` on a disk that all nodes share" in told for told in together(train))


@pytest.mark.parametrize("task", [0, 3])
def test_tasks_of_slurm_are_ranks(task, monkeypatch):
    """Of srun without torchrun: two nodes with two tasks each."""
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    values = {"STEP_NUM_TASKS": 4, "PROCID": task, "LOCALID": task % 2, "STEP_NODELIST": "gpu[07-08,11]", "JOB_ID": 5}
    for name, value in values.items():
        monkeypatch.setenv(f"SLURM_{name}", str(value))
    as_torchrun_does()
    assert [os.environ[n] for n in ("WORLD_SIZE", "RANK", "LOCAL_RANK")] == ["4", str(task), str(task % 2)]
    assert (os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"]) == ("gpu07", "20005")
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "9")
    as_torchrun_does()
    assert os.environ["WORLD_SIZE"] == "4", "what torchrun says goes before"


def test_one_task_of_slurm_is_no_rank(monkeypatch):
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "1")
    as_torchrun_does()
    assert "WORLD_SIZE" not in os.environ


def test_a_teacher_cache_does_not_go_with_a_sharded_llm(train_config, tmp_path):
    config = train_config(tmp_path, data={"teacher_cache": "teacher"})
    config = dataclasses.replace(config, model=dataclasses.replace(config.model, shard=True))
    with pytest.raises(SpeechLLMError, match=r"data\.teacher_cache does not go with model\.shard"):
        loop.train(config)
