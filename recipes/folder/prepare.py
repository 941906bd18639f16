"""Any folder of audio: what is known stands in `metadata.csv`, or as text beside each file."""

from __future__ import annotations

import re
from pathlib import Path

from speechllm.data.recipe import Clip, audio_files, read_lines, read_table, require, write_corpus
from speechllm.errors import SpeechLLMError

TABLE = "metadata.csv"
TEXT_ENDINGS = (".txt", ".lab")
NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?")
OWN_COLUMNS = ("file_name", "id", "split", "text", "language", "speaker")


def prepare(corpus_dir: Path, output_dir: Path) -> dict[str, Path]:
    """Reads `metadata.csv` if it is there; else every audio file, each with the text of `<name>.txt` or `.lab`.

    The table has a column `file_name` (relative to the folder) and any of id, split, text, language and speaker; every
    other column is an attribute. `datasets` calls such a folder an AudioFolder.
    """
    require(corpus_dir)
    table = corpus_dir / TABLE
    rows = list(read_table(table, "file_name")) if table.is_file() else _sidecars(corpus_dir)
    return write_corpus(corpus_dir.resolve().name, (_clip(corpus_dir, row) for row in rows), output_dir)


def _clip(corpus_dir: Path, row: dict[str, str]) -> Clip:
    if not row["file_name"]:
        raise SpeechLLMError(f"{corpus_dir / TABLE}: a line names no file in the column 'file_name'; fill or remove it")
    return Clip(
        id=row.get("id") or Path(row["file_name"]).with_suffix("").as_posix(),
        audio=corpus_dir / row["file_name"],
        split=row.get("split") or "all",
        text=row.get("text"),
        language=row.get("language"),
        speaker=row.get("speaker"),
        attributes={name: _number(value) for name, value in row.items() if name not in OWN_COLUMNS},
    )


def _number(value: str) -> str | int | float:
    """A value that is written as a plain decimal number becomes one; `007` and `1e5` stay text."""
    if not NUMBER.fullmatch(value):
        return value
    return float(value) if "." in value else int(value)


def _sidecars(corpus_dir: Path) -> list[dict[str, str]]:
    rows = []
    for path in audio_files(corpus_dir):
        text = next((t for ending in TEXT_ENDINGS if (t := path.with_suffix(ending)).is_file()), None)
        row = {"file_name": path.relative_to(corpus_dir).as_posix()}
        rows.append(row | ({"text": " ".join(read_lines(text))} if text else {}))
    return rows
