"""FLEURS: sentences of Wikipedia read in 102 languages (Conneau et al., 2022), one folder a language."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from speechllm.data.recipe import Clip, gender, read_lines, require, write_corpus
from speechllm.errors import SpeechLLMError

SPLITS = ("train", "dev", "test")
COLUMNS = 7  # id, file name, text as written, text normalised, its characters, number of samples, gender


def prepare(corpus_dir: Path, output_dir: Path) -> dict[str, Path]:
    """Reads `<split>.tsv` (no header) and `audio/<split>/*.wav` of one language, those splits that are there."""
    require(corpus_dir, "audio")
    tables = {split: path for split in SPLITS if (path := corpus_dir / f"{split}.tsv").is_file()}
    if not tables:
        raise SpeechLLMError(f"{corpus_dir}: has no train.tsv, dev.tsv or test.tsv; give the folder of one language")
    clips = (clip for split, table in tables.items() for clip in _clips(corpus_dir, table, split))
    return write_corpus("fleurs", clips, output_dir)


def _clips(corpus_dir: Path, table: Path, split: str) -> Iterator[Clip]:
    for line in read_lines(table):
        fields = line.split("\t")
        if len(fields) != COLUMNS:
            raise SpeechLLMError(f"{table}: {line[:40]!r} has {len(fields)} fields, not {COLUMNS}; download it again")
        _, name, text, _, _, _, sex = fields
        yield Clip(
            id=Path(name).stem,
            audio=corpus_dir / "audio" / split / name,
            split=split,
            text=text,
            language=corpus_dir.resolve().name.partition("_")[0],  # af_za, cmn_hans_cn
            attributes={"gender": gender(sex)},
        )
