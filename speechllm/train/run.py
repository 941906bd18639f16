"""A run: the model, the data and the files that the steps share."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

from speechllm.config import DataConfig, TrainConfig
from speechllm.data.augmentation import read_recipe
from speechllm.data.manifest import Utterance
from speechllm.data.readable import Tally
from speechllm.errors import SpeechLLMError
from speechllm.export import TrainingFacts
from speechllm.models.adapters import Adapter
from speechllm.models.modeling import SpeechLLM
from speechllm.models.processing import SpeechLLMProcessor
from speechllm.models.reply import compute_dtype
from speechllm.train.data import MAX_CACHE_BYTES, AudioStore, Example, pair_up
from speechllm.train.features import feature_cache
from speechllm.train.identity import Identity, identity
from speechllm.train.objectives import OBJECTIVES, Context
from speechllm.train.ranks import Ranks
from speechllm.train.sources import TrainingSource, utterances_of
from speechllm.train.teacher import teacher_cache

CALIBRATION_CLIPS = 256
CHECKPOINT, BEST, LOG, STATE, CONFIG = "checkpoint", "best", "log.jsonl", "state.pt", "config.json"


FROM_TEXT = {"cross_entropy", "distillation"}
"""Objectives that replay, which is text only, takes part in."""


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
    ranks: Ranks
    tally: Tally
    started: float = field(default_factory=time.monotonic)


def build(config: TrainConfig) -> tuple[SpeechLLM, SpeechLLMProcessor]:
    """The model with an adapter drawn from the seed or begun with a checkpoint's, and its processor."""
    if (config.model.lora or config.model.train_llm) and (config.model.shard or config.model.compile):
        raise SpeechLLMError(
            "model.lora and model.train_llm do not go with model.shard and model.compile: leave one out"
        )
    if config.model.shard and any(stage.micro_batch_seconds for stage in config.stages):
        raise SpeechLLMError(
            "stages.micro_batch_seconds does not go with model.shard, which needs as many passes on every process; give"
            " micro_batch_size"
        )
    if config.model.shard and config.data.teacher_cache:
        raise SpeechLLMError(
            "data.teacher_cache does not go with model.shard, which needs as many passes on every process, and what is"
            " kept needs none: leave one out"
        )
    if config.model.quantization and config.model.train_llm:
        raise SpeechLLMError("model.quantization and model.train_llm: whole numbers cannot be trained; leave one out")
    if config.model.encoder_lora and config.data.feature_cache:
        raise SpeechLLMError(
            "data.feature_cache keeps what a frozen encoder writes; with model.encoder_lora it learns: leave one out"
        )
    torch.manual_seed(config.seed)
    model = SpeechLLM.from_references(
        config.model.encoder,
        config.model.llm,
        dict(config.model.adapter),
        dtype=compute_dtype(config.model.dtype),
        audio_layers=config.model.audio_layers,
        paralinguistic_encoder=config.model.paralinguistic_encoder,
        transcript=config.model.transcript,
        lora=asdict(config.model.lora) if config.model.lora else None,
        encoder_lora=asdict(config.model.encoder_lora) if config.model.encoder_lora else None,
        train_llm=config.model.train_llm,
    )
    if config.model.start is not None:
        model.begin_with(config.model.start)
    return model, SpeechLLMProcessor.for_config(model.config)


def make_context(
    config: TrainConfig, model: SpeechLLM, processor: SpeechLLMProcessor, max_bytes: int = MAX_CACHE_BYTES
) -> Context:
    """What all objectives work with; at most `max_bytes` of encoded audio stay in memory."""
    recipe = None if config.data.augmentation is None else read_recipe(config.data.augmentation)
    store = AudioStore(model, processor, max_bytes, feature_cache(config.data, model), recipe)
    teacher = teacher_cache(config, model)
    return Context(
        model, processor, store, config.data.attributes, config.data.transcript_dropout, config.seed, teacher
    )


def prepare(
    config: TrainConfig,
    context: Context,
    sources: Sequence[TrainingSource],
    ranks: Ranks,
    skipped: int = 0,
) -> Run:
    """Encodes the audio once and lays out the run's folder.

    Of the audio that memory holds, what cannot be decoded is reported and left out before anything is drawn or put in
    order; of the rest it is when its step comes. Both are functions of the data, so a resumed run sees the same
    batches. `skipped` were left out before.

    Raises:
        SpeechLLMError: with those that were skipped, more than the share `data.max_broken` is broken.
    """
    listed = utterances_of(sources)
    broken = context.audio.fill(listed)
    tally = Tally(skipped + len(listed), config.data.max_broken, skipped)
    tally.add(list(broken.values()))
    sources = [source.without(broken) for source in sources]
    utterances = utterances_of(sources)
    check_true(config.data, utterances)
    learns_text = context.model.learns_text
    examples = [
        example
        for number, source in enumerate(sources)
        for example in pair_up(source.utterances, source.records, learns_text, number)
    ]
    context.model.config.system_prompt = common_system_prompt(examples)
    projector = context.model.multi_modal_projector
    if config.model.start is None and type(projector).calibrate is not Adapter.calibrate:
        # Of some clips: the unreduced states of all would fill the memory.
        some = [Example(u) for u in utterances[:: max(1, -(-len(utterances) // CALIBRATION_CLIPS))]]
        with torch.no_grad():
            projector.calibrate(*context.audio.get([e.utterance for e in context.audio.sound(some, [], tally)]))
    return Run(
        config=config,
        model=context.model,
        context=context,
        examples={
            name: [Example(u, source=number) for number, source in enumerate(sources) for u in source.utterances]
            if name == "embedding_alignment"
            else [example for example in examples if example.hears or name in FROM_TEXT]
            for name in OBJECTIVES
        },
        state_file=config.out / STATE,
        log_file=config.out / LOG,
        config_file=config.out / CONFIG,
        identity=identity(config),
        facts=_facts(config, utterances, examples),
        ranks=ranks,
        tally=tally,
    )


def check_true(config: DataConfig, utterances: Sequence[Utterance]) -> None:
    """Whether the descriptions, from which the targets were written, stay true of what is heard.

    Raises:
        SpeechLLMError: they do not; names the change and the attributes.
    """
    if config.augmentation is None:
        return
    told = config.attributes if config.attributes is not None else {name for u in utterances for name in u.attributes}
    untrue = read_recipe(config.augmentation).makes_untrue({*told, "duration"})
    for change, attributes in untrue.items():
        raise SpeechLLMError(
            f"{config.augmentation}: {change} would make {', '.join(attributes)} untrue, which the targets were written"
            " with; take it out of the recipe, or name the attributes without it in data.attributes, or write the clips"
            " out with `speechllm augment` and generate targets for them"
        )


def _facts(config: TrainConfig, utterances: Sequence[Utterance], examples: Sequence[Example]) -> TrainingFacts:
    """What the model card tells of the run."""
    unnamed = ", ".join(str(source.manifest) for source in config.data.mixed() if source.manifest is not None)
    datasets = {u.dataset or unnamed for u in utterances}
    records = [example.target for example in examples if example.target is not None]
    return TrainingFacts.of(records, sorted(datasets), sum(u.duration for u in utterances), config)


def common_system_prompt(examples: Sequence[Example]) -> str | None:
    """The system prompt of the targets if they share one: what the model should be asked under."""
    first = [example.target.messages[0] for example in examples if example.target is not None]
    systems = {str(message["content"]) if message["role"] == "system" else None for message in first}
    return systems.pop() if len(systems) == 1 else None
