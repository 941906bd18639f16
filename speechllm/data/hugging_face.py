"""Any dataset that `datasets` reads, on the Hugging Face Hub or in a folder, as the clips of a recipe."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import field
from itertools import islice
from pathlib import Path
from typing import Any

import soundfile
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from speechllm.config import Count
from speechllm.data.recipe import AUDIO_ENDINGS, Clip, gender
from speechllm.errors import SpeechLLMError, did_you_mean
from speechllm.progress import track

ROWS_AT_ONCE = 16
"""Rows that are held in memory; a row of audio may be megabytes."""

_STRICT = ConfigDict(extra="forbid", strict=True)


@dataclass(frozen=True, config=_STRICT, kw_only=True)
class Columns:
    """Which columns hold what; those that are None are not there."""

    audio: str = "audio"
    id: str | None = None
    text: str | None = None
    language: str | None = None
    speaker: str | None = None


@dataclass(frozen=True, config=_STRICT, kw_only=True)
class DatasetSource:
    """A dataset, and what its columns mean."""

    dataset: str
    """Name on the Hub, or a folder of Parquet, audio or other files that `datasets` recognises."""
    config: str | None = None
    """The dataset's configuration (subset), where it has several."""
    revision: str | None = None
    """Commit or tag on the Hub."""
    splits: list[str] | None = None
    """Splits to read; None for all."""
    limit: Count | None = None
    """Rows to read of each split; None for all. The rest is not downloaded."""
    language: str | None = None
    """Language of every row, where no column tells it."""
    columns: Columns = field(default_factory=Columns)
    attributes: dict[str, str] = field(default_factory=dict)
    """Attribute -> column. Numbered classes become their names."""


def read_dataset(source: DatasetSource, audio_dir: Path) -> Iterator[Clip]:
    """Streams the rows of a dataset; audio that is not a file already is written to `audio_dir/<split>/<row>.<format>`.

    Bytes are written as they are, never decoded. What was written before is not written again.

    Raises:
        SpeechLLMError: the dataset cannot be loaded, or lacks a split or a column.
    """
    for split, rows in load_splits(source).items():
        chosen = track(islice(named_rows(rows), source.limit), f"read {split}", source.limit)
        for number, row in enumerate(chosen):
            yield _clip(source, split, row, audio_dir / split / f"{number:08d}")


def named_rows(dataset: Any) -> Iterator[dict[str, Any]]:
    """The rows of a dataset of `datasets`, streamed: numbered classes as words, audio as `{"bytes", "path"}`."""
    rows = dataset.with_format("arrow")  # plain Arrow: anything else wants a decoder of audio installed
    named = _class_names(rows.features or {})
    return (_named(row, named) for row in _rows(rows))


def load_splits(source: DatasetSource) -> dict[str, Any]:
    """The splits of a dataset that are asked for, streamed, for `named_rows`.

    Raises:
        SpeechLLMError: the dataset cannot be loaded, or lacks a split.
    """
    import datasets

    try:
        loaded = datasets.load_dataset(source.dataset, source.config, revision=source.revision, streaming=True)
    except Exception as error:  # whatever the Hub, the network and the file formats raise
        raise SpeechLLMError(
            f"{source.dataset}: cannot be loaded ({error}); check its name and configuration"
        ) from error
    for split in source.splits or ():
        if split not in loaded:
            raise SpeechLLMError(f"{source.dataset}: has no split {split!r}{did_you_mean(split, list(loaded))}")
    return {split: loaded[split] for split in source.splits or loaded}


def _rows(dataset: Any) -> Iterator[dict[str, Any]]:
    for table in dataset.iter(batch_size=ROWS_AT_ONCE):
        yield from table.to_pylist()


def _class_names(features: Mapping[str, Any]) -> dict[str, list[str]]:
    return {name: list(feature.names) for name, feature in features.items() if hasattr(feature, "names")}


def _named(row: dict[str, Any], names: Mapping[str, list[str]]) -> dict[str, Any]:
    """The row with its numbered classes as words; a negative number is a class that is not known."""
    words = {name: names[name][row[name]] if (row[name] or 0) >= 0 else None for name in names if row[name] is not None}
    return row | words


def _clip(source: DatasetSource, split: str, row: dict[str, Any], target: Path) -> Clip:
    def value(column: str | None) -> Any:
        if column is None:
            return None
        if column not in row:
            raise SpeechLLMError(f"{source.dataset}: has no column {column!r}{did_you_mean(column, row)}")
        return row[column]

    def text(column: str | None) -> str | None:
        found = value(column)
        return None if found is None else str(found)

    columns = source.columns
    attributes = {name: _attribute(name, value(column)) for name, column in source.attributes.items()}
    return Clip(
        id=f"{split}/{text(columns.id) or target.stem}",  # ids are often unique in their split alone
        audio=audio_file(value(columns.audio), target),
        split=split,
        text=text(columns.text),
        language=text(columns.language) or source.language,
        speaker=text(columns.speaker),
        attributes=attributes,
    )


def _attribute(name: str, value: Any) -> str | int | float | None:
    if name == "gender":
        return gender(str(value))
    return value if isinstance(value, str | int | float | None) and not isinstance(value, bool) else str(value)


def audio_file(value: Any, target: Path) -> Path:
    """The file of an audio cell: a local one as it is, anything else written as `target` with the ending of its format.

    A cell without audio gives a path where nothing lies, which `write_corpus` reports and counts.
    """
    cell = value if isinstance(value, dict) else {"path": value}
    data, path = cell.get("bytes"), cell.get("path") or ""
    if data is None and "://" in path:
        import fsspec

        with fsspec.open(path, "rb") as remote:
            data = remote.read()
    if data is None:
        return Path(path) if path else target
    suffix = Path(path).suffix.lower()
    file = target.with_suffix(suffix if suffix in AUDIO_ENDINGS else _format(data))
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        aside = file.with_suffix(file.suffix + ".part")
        aside.write_bytes(data)
        aside.replace(file)
    return file


def _format(data: bytes) -> str:
    try:
        return f".{soundfile.info(io.BytesIO(data)).format.lower()}"
    except soundfile.SoundFileError:
        return ".unknown"  # no audio: `write_corpus` reports the file
