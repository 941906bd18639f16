"""Dynamic-SUPERB's data sets as the Hugging Face Hub has them (Parquet), in the layout of its dumps."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from speechllm.data.hugging_face import audio_file
from speechllm.errors import SpeechLLMError
from speechllm.eval.parquet_dump import dumped


def dumped_datasets(folder: Path) -> list[Path]:
    """Dumps each instance under `folder` that is a data set, and returns the `metadata.json` of each.

    An instance is a folder with `test-*.parquet` in it or in its `data/`: a clone or download of the instance's
    repository, or its place in the Hub's own cache. Its name is the repository's. Rows hold `file` (`file1` where there
    is none), `instruction`, `label` and any number of columns of audio; clips come in the order of the columns. Dumps
    lie in this package's cache, a folder for each state of the files; audio is written as it is stored.

    Raises:
        SpeechLLMError: a file cannot be read, or a row lacks its name or its audio.
    """
    instances: dict[Path, list[Path]] = {}
    for path in sorted(Path(folder).rglob("test-*.parquet")):
        root = path.parent.parent if path.parent.name == "data" else path.parent
        instances.setdefault(root, []).append(path)
    named = [(instance_of(root), files) for root, files in instances.items()]
    return [dumped("dynamic_superb", name, files, partial(_row, name)) for name, files in named]


def instance_of(root: Path) -> str:
    """The repository's name from its folder; the Hub's cache calls it `datasets--OWNER--NAME/snapshots/COMMIT`."""
    found = root.absolute()
    if found.parent.name == "snapshots":
        found = found.parent.parent
    return found.name.rpartition("--")[2]


def _row(name: str, row: dict[str, Any], into: Path, where: str, _: str) -> tuple[str, dict[str, Any]]:
    audio = [column for column, value in row.items() if isinstance(value, dict) and "bytes" in value]
    file = row.get("file") or row.get("file1")
    if file is None or not audio:
        raise SpeechLLMError(f"{where}: lacks {'its file name' if file is None else 'audio'}; is it Dynamic-SUPERB's?")
    stem = f"{name}_{Path(str(file)).stem}"
    first = audio_file(row[audio[0]], into / f"{stem}.wav")
    for number, column in enumerate(audio[1:], 2):
        further = audio_file(row[column], into / f"{stem}_pair{number}.wav")
        if further.suffix != first.suffix:
            raise SpeechLLMError(
                f"{where}: its clips are {first.suffix} and {further.suffix}; store them in one format"
            )
    return first.name, {key: value for key, value in row.items() if key not in audio}
