"""Common Voice: sentences read aloud by volunteers (Ardila et al., 2020), one folder a language."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from speechllm.data.recipe import Clip, gender, read_table, require, write_corpus
from speechllm.errors import SpeechLLMError

SPLITS = ("train", "dev", "test")


def prepare(corpus_dir: Path, output_dir: Path) -> dict[str, Path]:
    """Reads `clips/` and the official `train.tsv`, `dev.tsv`, `test.tsv` of one language, those that are there."""
    require(corpus_dir, "clips")
    tables = {split: path for split in SPLITS if (path := corpus_dir / f"{split}.tsv").is_file()}
    if not tables:
        raise SpeechLLMError(
            f"{corpus_dir}: has no train.tsv, dev.tsv or test.tsv; give the folder of one language, or read tables of"
            " another form with the recipe 'folder'"
        )
    clips = (clip for split, table in tables.items() for clip in _clips(corpus_dir, table, split))
    return write_corpus("common_voice", clips, output_dir)


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
