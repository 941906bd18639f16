"""The target record: one JSON line for each reply that the model is to learn, with its provenance."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from speechllm.data.jsonl import read_jsonl
from speechllm.data.manifest import Utterance, read_manifest
from speechllm.errors import SpeechLLMError
from speechllm.models.reply import FinishReason


class TargetRecord(BaseModel):
    """A conversation about one utterance and the reply to it; text-only ones have empty `utterance_id` and `audio`.

    `weight` scales the record's share of the loss (None counts as 1). `token_mask` has one entry for each token of
    `response` as the LLM's tokenizer cuts it on its own (no special tokens, no end of turn): 1 is learnt, 0 is masked
    (selective token masking, arXiv 2501.14315); None learns all. The end of a complete turn is always learnt.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    id: str = Field(min_length=1)
    utterance_id: str
    audio: str = Field(description="path of the audio file, relative to the targets file")
    seed_description: str
    prompt: str
    messages: list[dict[str, Any]] = Field(
        description="chat messages; the audio part stands where the text LLM read the description"
    )
    response: str
    finish_reason: FinishReason
    strategy: str
    generator: str
    generator_revision: str
    prompt_id: str
    prompt_kind: str = Field(default="", description="what the prompt asks for; empty where it is not told")
    description_style: str
    sampling: dict[str, float | int]
    seed: int
    weight: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    token_mask: list[int] | None = None


def read_targets(path: Path) -> list[TargetRecord]:
    """Reads and validates a targets file.

    Raises:
        SpeechLLMError: missing, empty, or a line is not a target record; names the file and the line.
    """
    records = read_jsonl(Path(path), TargetRecord)
    if not records:
        raise SpeechLLMError(f"{path}: holds no target records; generate some with `speechllm targets generate`")
    return records


def read_about(manifest: Path | None, targets: Path | None) -> tuple[list[Utterance], list[TargetRecord]] | None:
    """Utterances and the usable records about them; None without targets.

    Raises:
        SpeechLLMError: targets without the manifest that they are about, or a file is not as it should be.
    """
    if targets is None:
        return None
    if manifest is None:
        raise SpeechLLMError("--targets are about a manifest; give it with --manifest")
    return read_manifest(manifest), usable(read_targets(targets))


def usable(records: Sequence[TargetRecord]) -> list[TargetRecord]:
    """Records whose reply says anything at all."""
    return [record for record in records if record.response.strip()]
