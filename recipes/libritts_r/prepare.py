"""LibriTTS-R: the English audiobooks of LibriTTS with their sound restored (Koizumi et al., 2023)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from speechllm.data.recipe import Clip, audio_files, gender, read_lines, read_table, require, write_corpus


def prepare(corpus_dir: Path, output_dir: Path) -> dict[str, Path]:
    """Reads `<split>/<speaker>/<chapter>/*.wav`, each with its `.normalized.txt`, and `speakers.tsv`.

    Every official split that is there becomes one manifest.
    """
    require(corpus_dir, "speakers.tsv")
    readers = read_table(corpus_dir / "speakers.tsv", "READER", "GENDER", delimiter="\t")
    return write_corpus(
        "libritts_r", _clips(corpus_dir, {r["READER"]: gender(r["GENDER"]) for r in readers}), output_dir
    )


def _clips(corpus_dir: Path, genders: dict[str, str | None]) -> Iterator[Clip]:
    for path in audio_files(corpus_dir, ".wav"):
        speaker = path.stem.split("_")[0]
        text = path.with_suffix(".normalized.txt")
        yield Clip(
            id=path.stem,
            audio=path,
            split=path.relative_to(corpus_dir).parts[0],
            text=" ".join(read_lines(text)) if text.is_file() else None,
            language="en",
            speaker=speaker,
            attributes={"gender": genders.get(speaker)},
        )
