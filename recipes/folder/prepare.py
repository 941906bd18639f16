"""Any folder of audio: what is known stands in `metadata.csv`, or as text beside each file."""

from __future__ import annotations

import re
from pathlib import Path

from speechllm.data.recipe import Clip, audio_files, read_lines, read_table, require, write_corpus
from speechllm.errors import SpeechLLMError

TABLE = "metadata.csv"
FILE_COLUMNS = ("file_name", "path")
TEXT_ENDINGS = (".txt", ".lab")
NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?")
OWN_COLUMNS = (*FILE_COLUMNS, "id", "split", "text", "language", "speaker")


def prepare(corpus_dir: Path, output_dir: Path) -> dict[str, Path]:
    """Reads `metadata.csv` if it is there, else every `.csv`; without one, every audio file and the text beside it.

    A table has a column `file_name` or `path` (relative to the folder, or to `clips` in it) and any of id, split, text,
    language and speaker; every other column is an attribute. Tables that name the same file add to each other.
    `datasets` calls such a folder, with `metadata.csv`, an AudioFolder. Texts beside audio are `<name>.txt` or `.lab`.
    """
    require(corpus_dir)
    table = corpus_dir / TABLE
    rows = _rows([table] if table.is_file() else sorted(corpus_dir.glob("*.csv"))) or _sidecars(corpus_dir)
    return write_corpus(corpus_dir.resolve().name, (_clip(corpus_dir, row) for row in rows), output_dir)


def _rows(tables: list[Path]) -> list[dict[str, str]]:
    """The rows of the tables by file, in the order in which the files are first named; empty fields tell nothing."""
    rows: dict[str, dict[str, str]] = {}
    for table in tables:
        for row in read_table(table):
            column = next((name for name in FILE_COLUMNS if name in row), None)
            if column is None:
                raise SpeechLLMError(f"{table}: has no column 'file_name' or 'path'; add it, or move the table away")
            if not row[column]:
                raise SpeechLLMError(f"{table}: a line names no file in the column {column!r}; fill or remove it")
            said = {name: value for name, value in row.items() if value and name != column}
            rows.setdefault(row[column], {"file_name": row[column]}).update(said)
    return list(rows.values())


def _clip(corpus_dir: Path, row: dict[str, str]) -> Clip:
    places = [corpus_dir / row["file_name"], corpus_dir / "clips" / row["file_name"]]
    return Clip(
        id=row.get("id") or Path(row["file_name"]).with_suffix("").as_posix(),
        audio=next((path for path in places if path.is_file()), places[0]),
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
