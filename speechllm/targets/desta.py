"""Rows of DeSTA-AQA5M's form (`messages`, `response`, `seed_description`), read and written."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from speechllm.data.jsonl import numbered_jsonl, written_aside
from speechllm.data.render import flatten
from speechllm.errors import SpeechLLMError
from speechllm.targets.records import TargetRecord

AUDIO = "<|AUDIO|>"
"""Where the audio stands in the text of their messages."""


class DestaRow(BaseModel):
    """One published row; fields beside these are passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str = Field(min_length=1)
    dataset: str = ""
    seed_description: str = ""
    prompt: str
    response: str
    messages: list[dict[str, Any]]


def read_desta(path: Path) -> list[TargetRecord]:
    """Published rows as target records: their `id` names the utterance and the audio file.

    Raises:
        SpeechLLMError: a line is not such a row; names the file and the line.
    """
    records = []
    for number, row in numbered_jsonl(Path(path), DestaRow):
        messages = [
            _parted(message, f"{path}:{number}") for message in row.messages if message.get("role") != "assistant"
        ]
        records.append(
            TargetRecord(
                id=f"{row.id}/{number}",
                utterance_id=row.id,
                audio=next((p["audio"] for m in row.messages for p in m.get("audios") or []), row.id),
                seed_description=row.seed_description,
                prompt=row.prompt,
                messages=messages,
                response=row.response,
                finish_reason="stop",
                strategy="self_output",
                generator=row.dataset or "DeSTA-AQA5M",
                generator_revision="",
                prompt_id="",
                description_style="desta",
                sampling={},
                seed=0,
            )
        )
    return records


def _parted(message: dict[str, Any], where: str) -> dict[str, Any]:
    """The audio's mark, or the description in its place, becomes a part."""
    content = message.get("content")
    if not isinstance(content, str) or "role" not in message:
        raise SpeechLLMError(f"{where}: messages: content of role {message.get('role')!r} is not a string, or has none")
    if AUDIO not in content:
        return {"role": message["role"], "content": content}
    before, _, after = content.partition(AUDIO)
    parts = [{"type": "text", "text": before.strip()}] if before.strip() else []
    parts.append({"type": "audio"})
    parts += [{"type": "text", "text": after.strip()}] if after.strip() else []
    return {"role": message["role"], "content": parts}


def write_desta(path: Path, records: Iterable[TargetRecord]) -> int:
    """Writes records as such rows, the audio marked by `<|AUDIO|>`; returns how many."""
    count = 0
    with written_aside(Path(path)) as out:
        for record in records:
            row = {
                "id": record.utterance_id,
                "dataset": record.generator,
                "seed_description": record.seed_description,
                "prompt": record.prompt,
                "response": record.response,
                "messages": [_flat(message, record, Path(path)) for message in record.messages],
            }
            out.write(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
    return count


def _flat(message: dict[str, Any], record: TargetRecord, path: Path) -> dict[str, Any]:
    content = message["content"]
    if isinstance(content, str):
        return dict(message)
    marked = [{"type": "text", "text": AUDIO} if part["type"] == "audio" else part for part in content]
    flat: dict[str, Any] = {"role": message["role"], "content": flatten(marked)}
    if any(part["type"] == "audio" for part in content):
        flat["audios"] = [{"audio": os.fspath(record.audio), "text": None}]
    return flat
