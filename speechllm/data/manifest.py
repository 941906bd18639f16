"""The utterance manifest: one JSON line for each piece of audio."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from speechllm.audio.stored import is_remote
from speechllm.data.attributes import LANGUAGES
from speechllm.data.jsonl import numbered_jsonl, write_jsonl
from speechllm.errors import SpeechLLMError

Attribute = str | int | float

SEGMENT_SLACK_S = 0.1
"""A segment may end this much after its utterance does: annotations are rounded."""


class Segment(BaseModel):
    """A stretch of an utterance in which one speaker talks or one thing sounds."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    start: float = Field(ge=0, description="seconds into the utterance")
    end: float = Field(ge=0, description="seconds into the utterance")
    text: str | None = None
    speaker: str | None = None
    attributes: dict[str, Attribute] = Field(default_factory=dict, description="gender, emotion, pitch, ...")

    @model_validator(mode="after")
    def _end_after_start(self) -> Segment:
        if self.end <= self.start:
            raise ValueError(f"end: {self.end:g} s is not after start, {self.start:g} s")
        return self


class Utterance(BaseModel):
    """One piece of audio and what is known about it."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    id: str = Field(min_length=1)
    audio: str = Field(
        min_length=1, description="path of the audio file, relative to the manifest; or a file in a shard"
    )
    duration: float = Field(ge=0, description="seconds")
    sampling_rate: int = Field(gt=0, description="Hz")
    text: str | None = None
    recognised_text: str | None = Field(default=None, description="what a recogniser heard, beside the corpus's text")
    language: str | None = None
    speaker: str | None = None
    attributes: dict[str, Attribute] = Field(default_factory=dict, description="gender, emotion, pitch, ...")
    dataset: str | None = None
    split: str | None = None
    start: float | None = Field(default=None, ge=0, description="seconds into the file")
    end: float | None = Field(default=None, ge=0, description="seconds into the file")
    segments: list[Segment] | None = Field(default=None, description="who says what when, where several do")

    def value(self, attribute: str) -> Attribute | None:
        """What is known of an attribute; the language's name from its code, where that is all there is."""
        if attribute == "language" and "language" not in self.attributes and self.language:
            return LANGUAGES.get(re.split("[-_]", self.language.lower())[0])
        return self.attributes.get(attribute)

    @model_validator(mode="after")
    def _end_after_start(self) -> Utterance:
        if self.end is not None and self.end <= (self.start or 0.0):
            raise ValueError(f"end: {self.end:g} s is not after start, {self.start or 0.0:g} s")
        return self

    @model_validator(mode="after")
    def _segments_inside(self) -> Utterance:
        for number, segment in enumerate(self.segments or ()):
            if segment.end > self.duration + SEGMENT_SLACK_S:
                raise ValueError(
                    f"segments.{number}: ends at {segment.end:g} s, the utterance lasts {self.duration:g} s"
                )
        return self


def read_manifest(path: Path) -> list[Utterance]:
    """Reads a manifest; `audio` comes back as a path that can be opened from here.

    Raises:
        SpeechLLMError: a line breaks the schema or repeats an id; names the file and the line.
    """
    path = Path(path)
    utterances, seen = [], dict[str, int]()
    for number, utterance in numbered_jsonl(path, Utterance):
        if utterance.id in seen:
            raise SpeechLLMError(
                f"{path}:{number}: id {utterance.id!r} stands on line {seen[utterance.id]} already; give each its own"
            )
        seen[utterance.id] = number
        utterances.append(utterance.model_copy(update={"audio": opened_from(path.parent, utterance.audio)}))
    if not utterances:
        raise SpeechLLMError(f"{path}: holds no utterances; expected one JSON object a line")
    return utterances


def write_manifest(path: Path, utterances: Iterable[Utterance]) -> int:
    """Writes a manifest (`audio` relative to it, as given); returns the number of utterances."""
    return write_jsonl(path, utterances)


def relocated(utterances: Iterable[Utterance], folder: Path) -> list[Utterance]:
    """Utterances as `read_manifest` returns them, with `audio` relative to `folder`: ready to be written there."""
    return [u.model_copy(update={"audio": told_from(folder, u.audio)}) for u in utterances]


def opened_from(folder: Path, audio: str) -> str:
    """The path, or address, under which what a file in `folder` calls `audio` can be opened from here."""
    return audio if is_remote(audio) else str(folder / audio)


def told_from(folder: Path, audio: str) -> str:
    """What a file in `folder` calls a path or address that can be opened from here."""
    return audio if is_remote(audio) else Path(os.path.relpath(audio, folder)).as_posix()


def attribute_values(utterances: Iterable[Utterance], name: str) -> list[Any]:
    """The distinct values of one attribute, sorted."""
    return sorted({u.attributes[name] for u in utterances if name in u.attributes}, key=str)
