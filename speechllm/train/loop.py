"""The one training loop: stages of objectives over the trainable parameters, logged live and to a file, resumable."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from speechllm import progress
from speechllm.config import StageConfig, TrainConfig, save_config
from speechllm.data.mixture import Mixture
from speechllm.errors import SpeechLLMError
from speechllm.export import write_checkpoint
from speechllm.train.data import Example, pair_up
from speechllm.train.keeping import keep_checkpoint
from speechllm.train.llm import set_up, training_mode
from speechllm.train.log import Log, cut_log, open_log
from speechllm.train.meter import Meter
from speechllm.train.objectives import OBJECTIVES, Context, Objective
from speechllm.train.order import BatchOrder, length, mixture_of
from speechllm.train.ranks import Ranks, shard
from speechllm.train.run import BEST, CHECKPOINT, Run, build, make_context, prepare
from speechllm.train.sources import leave_out_broken, read_sources, teachable, utterances_of
from speechllm.train.state import Position, load_state, save_state
from speechllm.train.steps import Outcome, learning_rate, passes, set_rate, step_seed, take_step
from speechllm.train.stopping import StoppedError, StopRequest, listen
from speechllm.train.validation import Validation


def train(config: TrainConfig, allowed: Sequence[str] = ()) -> Path:
    """Runs all stages, or goes on where a killed run stopped; returns the checkpoint folder.

    A run goes on only under the config and data it began with, but for the keys (or beginnings of keys) in `allowed`.

    Writes into `config.out`: `config.json`, `log.jsonl` (a line a step), `state.pt`, and `checkpoint/` at the end;
    with validation also `best/`, the best adapter so far.
    """
    run = load(config)
    fit(run, allowed)
    if run.ranks.main:
        write_checkpoint(run.model, run.context.processor, config.out / CHECKPOINT, run.facts)
    run.ranks.wait()
    return config.out / CHECKPOINT


def load(config: TrainConfig) -> Run:
    """The run that a config describes, its models and data loaded, before its first step."""
    sources = read_sources(config.data)
    lora = config.model.lora
    learns_text = config.model.train_llm or (lora is not None and lora.where == "everywhere")
    for source in sources:  # complain before the models are loaded
        pair_up(source.utterances, source.records, learns_text)
    ranks = Ranks(config.model.device)
    progress.console.quiet = not ranks.main
    listed = utterances_of(sources)
    sources = leave_out_broken(sources, config.data.max_broken)
    model, processor = build(config)
    sources = teachable(sources, processor)
    set_up(model.language_model, config.model, model.lora_gate)
    if config.model.shard:
        shard(model.language_model)  # before it moves: whole it may not fit on one device
    model.to(ranks.device)
    context = make_context(config, model, processor)
    return prepare(config, context, sources, ranks, skipped=len(listed) - len(utterances_of(sources)))


def fit(run: Run, allowed: Sequence[str] = ()) -> None:
    """All stages from where the run stands; see `train` for `allowed`.

    Raises:
        StoppedError: the system asked for it; the state is saved.
    """
    with listen() as request:
        _fit_stages(run, allowed, request)


def _fit_stages(run: Run, allowed: Sequence[str], request: StopRequest) -> None:
    position, optimizer_state = load_state(run.state_file, run.identity, run.model, allowed)
    if run.ranks.sum(position.stage, position.step) != [run.ranks.count * k for k in (position.stage, position.step)]:
        raise SpeechLLMError(
            f"{run.state_file}: is not what the other processes find there; put `out` on a disk that all nodes share"
        )
    if run.ranks.main:
        save_config(run.config, run.config_file)  # not before: the state may be refused as another config's
        cut_log(run.log_file, position)
    validation = Validation(run.config.validation, run.context) if run.config.validation else None
    with open_log(run) as log:
        while position.stage < len(run.config.stages):
            stage = run.config.stages[position.stage]
            optimizer = torch.optim.AdamW(
                run.model.adapter_state().values(),
                lr=stage.learning_rate,
                betas=(0.9, 0.98),
                weight_decay=stage.weight_decay,
            )
            if optimizer_state is not None:
                optimizer.load_state_dict(optimizer_state)
            position = _fit_stage(run, position, optimizer, validation, request, log)
            position, optimizer_state = Position(position.stage + 1, best=position.best), None
            _save(run, position, None)


def _fit_stage(
    run: Run,
    position: Position,
    optimizer: torch.optim.Optimizer,
    validation: Validation | None,
    request: StopRequest,
    log: Log,
) -> Position:
    """The steps of one stage, from `position` on; returns where it ended, which may be early."""
    number, stage = position.stage, run.config.stages[position.stage]
    kind: Callable[[Context, StageConfig], Objective] = OBJECTIVES[stage.objective]
    objective = kind(run.context, stage)
    examples = run.examples[stage.objective]
    mixture = mixture_of(examples, run.config.data, run.config.seed)
    if len(mixture.sources) > 1:
        _tell(mixture)
    lengths = [length(example) for example in examples] if run.config.data.bucket else None
    order = BatchOrder(mixture, lengths, stage.batch_size, run.config.seed)
    in_a_row = 0
    training_mode(run.model)
    meter = Meter(run.config.model, run.ranks, run.model.language_model.dtype)
    if position.step < stage.steps:
        share = run.ranks.share(_batch(run, examples, order, position.step))
        meter.count(objective, passes(share, stage)[0], position.step)
        optimizer.zero_grad(set_to_none=True)
    with progress.task(f"train {stage.objective}", stage.steps) as bar:
        bar.advance(position.step)
        while position.step < stage.steps:
            step = position.step
            torch.manual_seed(step_seed(run.config.seed, number, step, run.ranks.index))
            batch = _batch(run, examples, order, step)
            set_rate(optimizer, learning_rate(stage, step))
            take = functools.partial(take_step, objective, batch, step, stage, optimizer, run.ranks)
            outcome, measured = meter.measure(take, batch, stage.steps - step - 1)
            in_a_row = 0 if outcome.taken else in_a_row + 1
            if in_a_row > run.config.max_skipped_steps:
                raise _not_finite(stage, step, batch, in_a_row)
            entry = _entry(run, number, step, outcome, measured)
            log.write(entry)
            bar.advance(1, _note(entry))
            position = replace(position, step=step + 1)
            if validation is not None and validation.is_due(position.step, stage.steps):
                position = _validate(run, validation, position, log)
                if validation.is_over(position):
                    break
            stop = any(run.ranks.sum(bool(request.name)))
            due = position.step % run.config.save_every == 0 and position.step < stage.steps
            # Before the state: a run that is killed in between goes on from earlier and keeps it anew.
            if due and run.ranks.main:
                keep_checkpoint(run.context, run.config, f"stage-{number}-step-{position.step:06d}", run.facts)
            if stop or due:
                _save(run, position, optimizer)
            if stop:
                run.ranks.wait()  # until all is written: a launcher ends the others when the first is gone
                raise _stopped(request, position, run.state_file)
    return position


def _batch(run: Run, examples: Sequence[Example], order: BatchOrder, step: int) -> list[Example]:
    """The batch of a step; what this process hears of it can be decoded, and what it hears next is being read."""
    batch, following = ([examples[i] for i in order[at]] for at in (step, step + 1))
    mine = slice(run.ranks.index, None, run.ranks.count)
    batch[mine] = run.context.audio.sound(batch[mine], following[mine], run.tally)
    return batch


def _tell(mixture: Mixture) -> None:
    for source, share in zip(mixture.sources, mixture.shares(), strict=True):
        progress.console.print(f"{share:.1%} from {source.name}: {source.size} examples", markup=False)


def _save(run: Run, position: Position, optimizer: torch.optim.Optimizer | None) -> None:
    """The state to go on from; one process writes it."""
    if run.ranks.main:
        save_state(run.state_file, run.identity, position, run.model, optimizer)


def _validate(run: Run, validation: Validation, position: Position, log: Log) -> Position:
    """Measures, logs, and keeps the adapter in best/ where it is the best so far."""
    found = validation.measure()
    step = {"stage": position.stage, "step": position.step - 1}
    log.write({**step, "validation": found})
    value = run.ranks.of_main(found[validation.config.measure])
    if position.best is not None and not value < position.best:
        return replace(position, waited=position.waited + 1)
    if run.ranks.main:
        write_checkpoint(run.model, run.context.processor, run.config.out / BEST, run.facts)
    return replace(position, best=value, waited=0)


def _stopped(request: StopRequest, position: Position, state: Path) -> StoppedError:
    return StoppedError(
        f"{request.name or 'a signal to another process'} received: stopped after step {position.step - 1} of stage"
        f" {position.stage} and saved {state}; run the command again to go on"
    )


def _entry(run: Run, number: int, step: int, outcome: Outcome, measured: dict[str, Any]) -> dict[str, Any]:
    """What the log says about a step; JSON has no word for what is not finite, so a skipped step has no loss."""
    stage = run.config.stages[number]
    return {
        "stage": number,
        "objective": stage.objective,
        "step": step,
        "loss": outcome.loss if outcome.taken else None,
        "learning_rate": learning_rate(stage, step),
        "grad_norm": outcome.grad_norm if outcome.taken else None,
        "items": outcome.items,
        "skipped": not outcome.taken,
        "seconds": round(time.monotonic() - run.started, 2),
        **measured,
    }


def _note(entry: dict[str, Any]) -> str:
    if entry["skipped"]:
        return "skipped: the loss is not a finite number"
    share = "" if entry["share_of_peak"] is None else f"  {entry['share_of_peak']:.0%} of peak"
    return (
        f"loss {entry['loss']:.3f}  lr {entry['learning_rate']:.1e}"
        f"  {entry['audio_seconds_per_second']:.1f} s of audio/s  {entry['items_per_second']:.0f} items/s"
        f"{share}  {entry['memory_gb']:.1f} GB"
    )


def _not_finite(stage: StageConfig, step: int, batch: Sequence[Example], in_a_row: int) -> SpeechLLMError:
    ids = ", ".join(example.utterance.id for example in batch)
    return SpeechLLMError(
        f"step {step}: the loss or its gradient was not a finite number in {in_a_row} steps in a row (last with the"
        f" utterances {ids}); lower learning_rate ({stage.learning_rate}) or look at that audio"
    )
