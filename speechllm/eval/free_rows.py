"""Rows of the user's own, in a JSON-lines file or a dataset that `datasets` reads, with columns under any names."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from speechllm.audio.io import audio_info
from speechllm.data.hugging_face import DatasetSource, audio_file, load_splits, named_rows
from speechllm.data.jsonl import numbered_lines
from speechllm.data.manifest import Attribute, Utterance, opened_from
from speechllm.errors import SpeechLLMError, did_you_mean
from speechllm.hub import cache_folder
from speechllm.progress import track


class FreeRow:
    """One row, and all that a message about it needs.

    Args:
        cells: by column.
        where: file and line, or dataset, split and row.
        number: of the line or row.
        folder: that the audio's path is relative to.
    """

    def __init__(self, cells: Mapping[str, Any], where: str, number: int, folder: Path) -> None:
        self.cells = cells
        self.where = where
        self._number = number
        self._folder = folder

    def value(self, key: str, column: str) -> Any:
        """What the column holds that `key` of the task names.

        Raises:
            SpeechLLMError: there is no such column, or nothing in it.
        """
        if column not in self.cells:
            raise SpeechLLMError(
                f"{self.where}: {key}: has no column {column!r}{did_you_mean(column, list(self.cells))}"
                f" (there: {', '.join(self.cells)})"
            )
        if self.cells[column] is None:
            raise SpeechLLMError(f"{self.where}: {key}: the column {column!r} is empty here; fill it, or drop the row")
        return self.cells[column]

    def text(self, key: str, column: str) -> str:
        """As `value`, of text."""
        value = self.value(key, column)
        if not isinstance(value, str):
            raise SpeechLLMError(f"{self.where}: {key}: the column {column!r} holds {value!r}, where text is to stand")
        return value

    def texts(self, key: str, column: str) -> tuple[str, ...]:
        """As `value`, of a list of texts or numbers."""
        value = self.value(key, column)
        if not isinstance(value, list) or not value or not all(isinstance(one, str | int | float) for one in value):
            raise SpeechLLMError(
                f"{self.where}: {key}: the column {column!r} holds {value!r}, where a list of answers is"
            )
        return tuple(map(str, value))

    def utterance(self, audio: str, text: str | None, language: str | None, attributes: Mapping[str, str]) -> Utterance:
        """The clip in column `audio`, and what is known of it in others; its id is the row's `id`, or its number."""
        path = self._audio(audio)
        try:
            duration, rate = audio_info(path)
        except SpeechLLMError as error:
            raise SpeechLLMError(f"{self.where}: {audio}: {error}") from error
        return Utterance(
            id=str(self._number if self.cells.get("id") in (None, "") else self.cells["id"]),
            audio=path,
            duration=duration,
            sampling_rate=rate,
            text=None if text is None else self.text("text", text),
            language=language,
            attributes={name: self._attribute(name, column) for name, column in attributes.items()},
        )

    def _attribute(self, name: str, column: str) -> Attribute:
        value = self.value(f"attributes.{name}", column)
        return value if isinstance(value, str | int | float) and not isinstance(value, bool) else str(value)

    def _audio(self, column: str) -> str:
        """A path, or address, that can be opened; sound that lies in the row goes to the cache, by its content."""
        value = self.value("audio", column)
        cell = value if isinstance(value, dict) else {"path": value}
        data, path = cell.get("bytes"), cell.get("path")
        if isinstance(data, bytes) or (isinstance(path, str) and isinstance(value, dict) and "://" in path):
            told = data if isinstance(data, bytes) else str(path).encode()
            return str(audio_file(cell, cache_folder() / "rows" / hashlib.sha256(told).hexdigest()))
        if not isinstance(path, str) or not path:
            raise SpeechLLMError(f"{self.where}: audio: the column {column!r} holds {value!r}, which is no audio")
        return opened_from(self._folder, path)


def free_rows(rows: str, folder: Path, config: str | None = None, split: str | None = None) -> Iterator[FreeRow]:
    """The rows of a JSON-lines file or a folder, relative to `folder`, or else of a dataset on the Hugging Face Hub.

    Raises:
        SpeechLLMError: there are none, a line is no JSON object, or the dataset cannot be loaded or lacks the split.
    """
    at = folder / rows
    if at.is_file() or at.suffix in {".jsonl", ".json"}:
        if config is not None or split is not None:
            raise SpeechLLMError(f"{at}: is a JSON-lines file, which has neither config nor split; leave them out")
        return _lines(at)
    name = str(at) if at.is_dir() else rows
    return _dataset(DatasetSource(dataset=name, config=config, splits=None if split is None else [split]), at)


def _lines(path: Path) -> Iterator[FreeRow]:
    for number, line in numbered_lines(path):
        where = f"{path}:{number}"
        try:
            cells = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise SpeechLLMError(
                f"{where}: cannot be read as JSON ({error}); give rows as JSON lines, or put other files into a folder"
            ) from error
        if not isinstance(cells, dict):
            raise SpeechLLMError(f"{where}: is no JSON object; write one a line, with a key a column")
        yield FreeRow(cells, where, number, path.parent)


def _dataset(source: DatasetSource, folder: Path) -> Iterator[FreeRow]:
    splits = load_splits(source)
    if len(splits) > 1:
        raise SpeechLLMError(f"{source.dataset}: split: has {', '.join(splits)}; say which one")
    ((name, dataset),) = splits.items()
    where = f"{source.dataset}: {name}"
    try:
        for number, cells in enumerate(track(named_rows(dataset), f"read {name}")):
            yield FreeRow(cells, f"{where}: row {number}", number, folder)
    except SpeechLLMError:
        raise
    except Exception as error:  # whatever `datasets`, the network and pyarrow raise
        raise SpeechLLMError(f"{where}: cannot be read ({error}); check the dataset") from error
