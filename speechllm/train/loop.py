"""The one training loop: stages of objectives over the trainable parameters, logged live and to a file, resumable."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from speechllm import progress
from speechllm.config import StageConfig, TrainConfig, save_config
from speechllm.data.jsonl import written_aside
from speechllm.data.manifest import Utterance, read_manifest
from speechllm.errors import SpeechLLMError
from speechllm.export import TrainingFacts, write_checkpoint
from speechllm.models.adapters import Adapter
from speechllm.models.modeling import SpeechLLM
from speechllm.models.processing import SpeechLLMProcessor
from speechllm.models.reply import compute_device, compute_dtype
from speechllm.targets.records import TargetRecord, read_targets, usable
from speechllm.train.data import AudioStore, Example, order, pair_up
from speechllm.train.identity import Identity, identity
from speechllm.train.keeping import keep_checkpoint
from speechllm.train.objectives import OBJECTIVES, Context, Objective
from speechllm.train.state import Position, load_state, save_state
from speechllm.train.steps import Outcome, learning_rate, take_step
from speechllm.train.stopping import StoppedError, StopRequest, listen

CALIBRATION_CLIPS = 256
CHECKPOINT, LOG, STATE, CONFIG = "checkpoint", "log.jsonl", "state.pt", "config.json"


@dataclass
class Run:
    """A run under way: what the steps share."""

    config: TrainConfig
    model: SpeechLLM
    context: Context
    examples: dict[str, list[Example]]
    state_file: Path
    log_file: Path
    config_file: Path
    identity: Identity
    facts: TrainingFacts
    started: float = field(default_factory=time.monotonic)


def train(config: TrainConfig, allowed: Sequence[str] = ()) -> Path:
    """Runs all stages, or goes on where a killed run stopped; returns the checkpoint folder.

    A run goes on only under the config and data it began with, but for the keys (or beginnings of keys) in `allowed`.

    Writes into `config.out`: `config.json`, `log.jsonl` (a line a step), `state.pt`, and `checkpoint/` at the end.
    """
    utterances, records = read_manifest(config.data.manifest), usable(read_targets(config.data.targets))
    pair_up(utterances, records)  # complain before the models are loaded
    model, processor = build(config)
    records = _teachable(records, processor)
    device = compute_device(config.model.device)
    model.to(device)
    context = Context(
        model,
        processor,
        AudioStore(model, processor),
        config.data.attributes,
        config.data.transcript_dropout,
        config.seed,
    )
    run = prepare(config, context, utterances, pair_up(utterances, records))
    fit(run, allowed)
    return write_checkpoint(model, processor, config.out / CHECKPOINT, run.facts)


def build(config: TrainConfig) -> tuple[SpeechLLM, SpeechLLMProcessor]:
    """The model with a fresh adapter drawn from the seed, and its processor."""
    torch.manual_seed(config.seed)
    model = SpeechLLM.from_references(
        config.model.encoder,
        config.model.llm,
        dict(config.model.adapter),
        dtype=compute_dtype(config.model.dtype),
        audio_layers=config.model.audio_layers,
        transcript=config.model.transcript,
    )
    return model, SpeechLLMProcessor.for_config(model.config)


def _teachable(records: Sequence[TargetRecord], processor: SpeechLLMProcessor) -> list[TargetRecord]:
    """Leaves out the replies that hold a control token of the LLM (HTML's `<s>`, say), and tells so."""
    kept, reason = [], "all replies are empty"
    for record in records:
        try:
            processor.check_reply(record.response)
            kept.append(record)
        except SpeechLLMError as error:
            reason = f"{record.id!r}: {error}"
    if not kept:
        raise SpeechLLMError(f"no target can be learned; {reason}")
    if len(kept) < len(records):
        progress.console.print(
            f"left out {len(records) - len(kept)} of {len(records)} targets, the last {reason}", markup=False
        )
    return kept


def prepare(config: TrainConfig, context: Context, utterances: Sequence[Utterance], examples: Sequence[Example]) -> Run:
    """Encodes the audio once and lays out the run's folder."""
    context.model.config.system_prompt = _common_system_prompt(examples)
    context.audio.fill(utterances)
    projector = context.model.multi_modal_projector
    if type(projector).calibrate is not Adapter.calibrate:  # unreduced states of so many clips would fill the memory
        projector.calibrate(*context.audio.get(utterances[:: max(1, -(-len(utterances) // CALIBRATION_CLIPS))]))
    return Run(
        config=config,
        model=context.model,
        context=context,
        examples={
            name: [Example(u) for u in utterances] if name == "embedding_alignment" else list(examples)
            for name in OBJECTIVES
        },
        state_file=config.out / STATE,
        log_file=config.out / LOG,
        config_file=config.out / CONFIG,
        identity=identity(config),
        facts=_facts(config, utterances, examples),
    )


def _facts(config: TrainConfig, utterances: Sequence[Utterance], examples: Sequence[Example]) -> TrainingFacts:
    """What the model card tells of the run."""
    datasets = {u.dataset or str(config.data.manifest) for u in utterances}
    records = [example.target for example in examples if example.target is not None]
    return TrainingFacts.of(records, sorted(datasets), sum(u.duration for u in utterances), config)


def _common_system_prompt(examples: Sequence[Example]) -> str | None:
    """The system prompt of the targets if they share one: what the model should be asked under."""
    first = [example.target.messages[0] for example in examples if example.target is not None]
    systems = {str(message["content"]) if message["role"] == "system" else None for message in first}
    return systems.pop() if len(systems) == 1 else None


def fit(run: Run, allowed: Sequence[str] = ()) -> None:
    """All stages from where the run stands; see `train` for `allowed`.

    Raises:
        StoppedError: the system asked for it; the state is saved.
    """
    with listen() as request:
        _fit_stages(run, allowed, request)


def _fit_stages(run: Run, allowed: Sequence[str], request: StopRequest) -> None:
    position, optimizer_state = load_state(run.state_file, run.identity, run.model, allowed)
    save_config(run.config, run.config_file)  # not before: the state may be refused as another config's
    if position == Position():
        run.log_file.unlink(missing_ok=True)
    else:
        _cut_log(run.log_file, position)
    for number in range(position.stage, len(run.config.stages)):
        stage = run.config.stages[number]
        optimizer = torch.optim.AdamW(
            run.model.adapter_state().values(),
            lr=stage.learning_rate,
            betas=(0.9, 0.98),
            weight_decay=stage.weight_decay,
        )
        if optimizer_state is not None:
            optimizer.load_state_dict(optimizer_state)
        _fit_stage(run, number, position.step, optimizer, request)
        position, optimizer_state = Position(number + 1), None
        save_state(run.state_file, run.identity, position, run.model, None)


def _fit_stage(run: Run, number: int, first: int, optimizer: torch.optim.Optimizer, request: StopRequest) -> None:
    stage = run.config.stages[number]
    kind: Callable[[Context, StageConfig], Objective] = OBJECTIVES[stage.objective]
    objective = kind(run.context, stage)
    examples = run.examples[stage.objective]
    in_a_row = 0
    run.model.train()
    with progress.task(f"train {stage.objective}", stage.steps) as bar, run.log_file.open("a", encoding="utf-8") as log:
        bar.advance(first)
        for step in range(first, stage.steps):
            started = time.monotonic()
            batch = [examples[i] for i in order(len(examples), stage.batch_size, step, run.config.seed)]
            outcome = take_step(objective, batch, step, stage, optimizer)
            in_a_row = 0 if outcome.taken else in_a_row + 1
            if in_a_row > run.config.max_skipped_steps:
                raise _not_finite(stage, step, batch, in_a_row)
            entry = _entry(run, number, step, outcome, len(batch), time.monotonic() - started)
            log.write(json.dumps(entry) + "\n")
            log.flush()
            bar.advance(1, _note(entry))
            if request.name or ((step + 1) % run.config.save_every == 0 and step + 1 < stage.steps):
                save_state(run.state_file, run.identity, Position(number, step + 1), run.model, optimizer)
                keep_checkpoint(run.context, run.config, f"stage-{number}-step-{step + 1:06d}", run.facts)
            if request.name:
                raise StoppedError(
                    f"{request.name} received: stopped after step {step} of stage {number} and saved {run.state_file};"
                    " run the command again to go on"
                )


def _entry(run: Run, number: int, step: int, outcome: Outcome, examples: int, seconds: float) -> dict[str, Any]:
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
        "examples_per_second": examples / seconds,
        "seconds": round(time.monotonic() - run.started, 2),
        "seconds_left": round(seconds * (stage.steps - step - 1), 1),
    }


def _note(entry: dict[str, Any]) -> str:
    if entry["skipped"]:
        return "skipped: the loss is not a finite number"
    return f"loss {entry['loss']:.3f}  lr {entry['learning_rate']:.1e}  {entry['examples_per_second']:.1f} examples/s"


def _not_finite(stage: StageConfig, step: int, batch: Sequence[Example], in_a_row: int) -> SpeechLLMError:
    ids = ", ".join(example.utterance.id for example in batch)
    return SpeechLLMError(
        f"step {step}: the loss or its gradient was not a finite number in {in_a_row} steps in a row (last with the"
        f" utterances {ids}); lower learning_rate ({stage.learning_rate}) or look at that audio"
    )


def _cut_log(path: Path, position: Position) -> None:
    """Drops the lines of steps that were taken after the state was saved: they are taken again."""
    if not path.exists():
        return
    entries = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.endswith("}")]
    kept = [e for e in entries if (e["stage"], e["step"]) < (position.stage, position.step)]
    with written_aside(path) as out:
        out.writelines(json.dumps(entry) + "\n" for entry in kept)
