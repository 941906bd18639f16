"""VoxCeleb1: celebrities interviewed in videos of YouTube (Nagrani, Chung and Zisserman, 2017)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from speechllm.data.recipe import Clip, audio_files, gender, read_table, require, write_corpus
from speechllm.errors import SpeechLLMError

TABLE = "vox1_meta.csv"  # its fields are parted by tabs
SPEAKER = "VoxCeleb1 ID"


def prepare(corpus_dir: Path, output_dir: Path) -> dict[str, Path]:
    """Reads every `<speaker>/<video>/<number>.wav` and `vox1_meta.csv`, which tells the splits: dev and test."""
    require(corpus_dir, TABLE)
    rows = read_table(corpus_dir / TABLE, SPEAKER, "Gender", "Nationality", "Set", delimiter="\t")
    return write_corpus("voxceleb1", _clips(corpus_dir, {row[SPEAKER]: row for row in rows}), output_dir)


def _clips(corpus_dir: Path, speakers: dict[str, dict[str, str]]) -> Iterator[Clip]:
    for path in audio_files(corpus_dir, ".wav"):
        *_, speaker, video, _ = path.parts
        if speaker not in speakers:
            raise SpeechLLMError(f"{path}: {speaker!r} is no speaker of {TABLE}; remove it")
        row = speakers[speaker]
        yield Clip(
            id=f"{speaker}/{video}/{path.stem}",
            audio=path,
            split=row["Set"],
            speaker=speaker,
            attributes={"gender": gender(row["Gender"]), "nationality": row["Nationality"]},
        )
