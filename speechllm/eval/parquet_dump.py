"""Benchmarks as the Hugging Face Hub has them (Parquet), brought into a folder of clips with one JSON beside them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from speechllm import progress
from speechllm.data.hugging_face import named_rows
from speechllm.data.jsonl import written_aside
from speechllm.errors import SpeechLLMError
from speechllm.hub import cache_folder

METADATA = "metadata.json"
"""An object by name of a row; the clips lie beside it."""

WriteRow = Callable[[dict[str, Any], Path, str, str], tuple[str, dict[str, Any]]]
"""From a row, the folder for its clips, where it stands (for errors) and a name for it that no other row of the files
has, to what it is called in `METADATA` and what is told of it there."""


def dumped(benchmark: str, name: str, files: list[Path], write: WriteRow) -> Path:
    """Dumps rows of Parquet into this package's cache, a folder for each state of the files; returns its `METADATA`.

    Raises:
        SpeechLLMError: a file cannot be read, `write` refuses a row, or two rows are called the same.
    """
    state = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    place = hashlib.sha256(json.dumps([name, state]).encode()).hexdigest()[:16]
    metadata = cache_folder() / benchmark / place / name / METADATA
    if not metadata.is_file():  # written last: what a kill left unfinished is begun again
        found: dict[str, dict[str, Any]] = {}
        for path in files:
            for number, row in enumerate(progress.track(_rows(path), f"read {name}")):
                where = f"{path}: row {number}"
                key, told = write(row, metadata.parent, where, f"{path.parent.name}-{path.stem}-{number}")
                if key in found:
                    raise SpeechLLMError(f"{where}: another row is called {key!r}, too")
                found[key] = told
        with written_aside(metadata) as out:
            json.dump(found, out, ensure_ascii=False, indent=1)
    return metadata


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    import datasets

    try:
        yield from named_rows(
            datasets.load_dataset("parquet", data_files={"test": [str(path)]}, split="test", streaming=True)
        )
    except Exception as error:  # whatever `datasets` and pyarrow raise
        raise SpeechLLMError(f"{path}: cannot be read as Parquet ({error}); download it again") from error
