"""The one training loop: stages of objectives over the trainable parameters, logged live and to a file, resumable."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
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
from speechllm.train.objectives import OBJECTIVES, Context, Objective
from speechllm.train.state import Position, load_state, save_state

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
    config_hash: str
    started: float = field(default_factory=time.monotonic)


def train(config: TrainConfig) -> Path:
    """Runs all stages, or goes on where a killed run stopped; returns the checkpoint folder.

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
    fit(run)
    datasets = {u.dataset or str(config.data.manifest) for u in utterances}
    facts = TrainingFacts.of(records, sorted(datasets), sum(u.duration for u in utterances), config)
    return write_checkpoint(model, processor, config.out / CHECKPOINT, facts)


def build(config: TrainConfig) -> tuple[SpeechLLM, SpeechLLMProcessor]:
    """The model with a fresh adapter drawn from the seed, and its processor."""
    torch.manual_seed(config.seed)
    model = SpeechLLM.from_references(
        config.model.encoder,
        config.model.llm,
        dict(config.model.adapter),
        dtype=compute_dtype(config.model.dtype),
        audio_layers=config.model.audio_layers,
        paralinguistic_encoder=config.model.paralinguistic_encoder,
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
        config_hash=_identity(config),
    )


def _identity(config: TrainConfig) -> str:
    """Hash of the config and of the data it names: a state is only gone on from under the same.

    Where the run writes and how often it saves change nothing that is learned: a run may be moved off a full disk.
    """
    values = {key: value for key, value in asdict(config).items() if key not in {"out", "save_every"}}
    digest = hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode())
    for file in (config.data.manifest, config.data.targets):
        if file.exists():
            digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def _common_system_prompt(examples: Sequence[Example]) -> str | None:
    """The system prompt of the targets if they share one: what the model should be asked under."""
    first = [example.target.messages[0] for example in examples if example.target is not None]
    systems = {str(message["content"]) if message["role"] == "system" else None for message in first}
    return systems.pop() if len(systems) == 1 else None


def fit(run: Run) -> None:
    """All stages from where the run stands."""
    position, optimizer_state = load_state(run.state_file, run.config_hash, run.model)
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
        _fit_stage(run, number, position.step, optimizer)
        position, optimizer_state = Position(number + 1), None
        save_state(run.state_file, run.config_hash, position, run.model, None)


def _fit_stage(run: Run, number: int, first: int, optimizer: torch.optim.Optimizer) -> None:
    stage = run.config.stages[number]
    kind: Callable[[Context, StageConfig], Objective] = OBJECTIVES[stage.objective]
    objective = kind(run.context, stage)
    examples = run.examples[stage.objective]
    run.model.train()
    with progress.task(f"train {stage.objective}", stage.steps) as bar, run.log_file.open("a", encoding="utf-8") as log:
        bar.advance(first)
        for step in range(first, stage.steps):
            entry = _step(objective, examples, stage, step, optimizer, run)
            log.write(json.dumps({"stage": number, "objective": stage.objective, "step": step, **entry}) + "\n")
            log.flush()
            bar.advance(
                1,
                f"loss {entry['loss']:.3f}  lr {entry['learning_rate']:.1e}"
                f"  {entry['examples_per_second']:.1f} examples/s",
            )
            if (step + 1) % run.config.save_every == 0 and step + 1 < stage.steps:
                save_state(run.state_file, run.config_hash, Position(number, step + 1), run.model, optimizer)


def _step(
    objective: Objective,
    examples: Sequence[Example],
    stage: StageConfig,
    step: int,
    optimizer: torch.optim.Optimizer,
    run: Run,
) -> dict[str, Any]:
    """One optimiser step over a whole batch, in micro-batches whose sums share one global count."""
    started = time.monotonic()
    rate = learning_rate(stage, step)
    for group in optimizer.param_groups:
        group["lr"] = rate
    batch = [examples[i] for i in order(len(examples), stage.batch_size, step, run.config.seed)]
    total, count = 0.0, 0
    for part in split(batch, stage.micro_batch_size or stage.batch_size):
        loss, items = objective(part, step)
        loss.backward()
        total, count = total + float(loss.detach()), count + items
    parameters = [p for p in run.model.adapter_state().values() if p.grad is not None]
    for parameter in parameters:
        parameter.grad.div_(max(count, 1))  # type: ignore[union-attr]
    norm = float(torch.nn.utils.clip_grad_norm_(parameters, stage.max_grad_norm))
    if not math.isfinite(total) or not math.isfinite(norm):
        ids = ", ".join(example.utterance.id for example in batch[:4])
        raise SpeechLLMError(
            f"step {step}: the loss is not a finite number (utterances {ids}, ...);"
            f" lower learning_rate ({stage.learning_rate}) or look at that audio"
        )
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    now = time.monotonic()
    return {
        "loss": total / max(count, 1),
        "learning_rate": rate,
        "grad_norm": norm,
        "items": count,
        "examples_per_second": len(batch) / (now - started),
        "seconds": round(now - run.started, 2),
        "seconds_left": round((now - started) * (stage.steps - step - 1), 1),
    }


def learning_rate(stage: StageConfig, step: int) -> float:
    """Linear warm-up, then a cosine to zero at the last step."""
    if step < stage.warmup_steps:
        return stage.learning_rate * (step + 1) / stage.warmup_steps
    done = (step - stage.warmup_steps) / max(stage.steps - stage.warmup_steps, 1)
    return stage.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


def split(batch: Sequence[Example], size: int) -> list[Sequence[Example]]:
    """Micro-batches of at most `size` examples."""
    return [batch[at : at + size] for at in range(0, len(batch), size)]


def _cut_log(path: Path, position: Position) -> None:
    """Drops the lines of steps that were taken after the state was saved: they are taken again."""
    if not path.exists():
        return
    entries = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.endswith("}")]
    kept = [e for e in entries if (e["stage"], e["step"]) < (position.stage, position.step)]
    with written_aside(path) as out:
        out.writelines(json.dumps(entry) + "\n" for entry in kept)
