"""Common Voice: sentences read aloud by volunteers (Ardila et al., 2020), one folder a language."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from speechllm.data.recipe import Clip, gender, read_table, require, write_corpus
from speechllm.errors import SpeechLLMError

SPLITS = ("train", "dev", "test")


def prepare(corpus_dir: Path, output_dir: Path) -> dict[str, Path]:
    """Reads `clips/` and the official `train.tsv`, `dev.tsv`, `test.tsv` of one language, those that are there.

    Or else, for a selection of clips, every `*.csv` with a column `path` and further columns that are attributes.
    """
    require(corpus_dir, "clips")
    tables = {split: path for split in SPLITS if (path := corpus_dir / f"{split}.tsv").is_file()}
    selections = sorted(corpus_dir.glob("*.csv"))
    if not tables and not selections:
        raise SpeechLLMError(f"{corpus_dir}: has no train.tsv, dev.tsv or test.tsv; give the folder of one language")
    if tables:
        clips = (clip for split, table in tables.items() for clip in _clips(corpus_dir, table, split))
    else:
        clips = _selected(corpus_dir, selections)
    return write_corpus("common_voice", clips, output_dir)


def _selected(corpus_dir: Path, tables: list[Path]) -> Iterator[Clip]:
    """What several tables know of a clip is put together."""
    known: dict[str, dict[str, str]] = {}
    for table in tables:
        for row in read_table(table, "path"):
            known.setdefault(row.pop("path"), {}).update(row)
    for path, facts in known.items():
        locale = re.search(r"common_voice_([a-z]{2,3}(?:-[A-Z]+)?)_\d+", path)
        yield Clip(
            id=Path(path).stem,
            audio=corpus_dir / "clips" / path,
            split="all",
            language=locale[1] if locale else None,
            attributes={name: gender(value) if name == "gender" else value for name, value in facts.items()},
        )


def _clips(corpus_dir: Path, table: Path, split: str) -> Iterator[Clip]:
    for row in read_table(table, "client_id", "path", "sentence", "age", "gender", delimiter="\t"):
        yield Clip(
            id=Path(row["path"]).stem,
            audio=corpus_dir / "clips" / row["path"],
            split=split,
            text=row["sentence"],
            language=row.get("locale") or corpus_dir.resolve().name,
            speaker=row["client_id"],
            attributes={
                "gender": gender(row["gender"]),
                "age": row["age"].replace("fourties", "forties"),  # so spelt in the tables
                "accent": row.get("accents") or row.get("accent"),  # the column's name until Common Voice 7
            },
        )
