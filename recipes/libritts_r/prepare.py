"""LibriTTS-R: the English audiobooks of LibriTTS with their sound restored (Koizumi et al., 2023)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from speechllm.data.download import Archive, fetch
from speechllm.data.recipe import Clip, audio_files, gender, read_lines, read_table, require, write_corpus

SERVER = "https://www.openslr.org/resources/141"
CHECKSUMS = {  # MD5
    "dev-clean": "2c1f5312914890634cc2d15783032ff3",
    "dev-other": "62d3a80ad8a282b6f31b3904f0507e4f",
    "test-clean": "4d373d453eb96c0691e598061bbafab7",
    "test-other": "dbc0959d8bdb6d52200595cabc9995ae",
    "train-clean-100": "6df668d8f5f33e70876bfa33862ad02b",
    "train-clean-360": "382eb3e64394b3da6a559f864339b22c",
    "train-other-500": "a37a8e9f4fe79d20601639bf23d1add8",
}
DOCUMENTATION = {"doc": Archive(f"{SERVER}/doc.tar.gz")}
ARCHIVES = {
    split: Archive(f"{SERVER}/{split.replace('-', '_')}.tar.gz", f"md5:{sum_}") for split, sum_ in CHECKSUMS.items()
}


def download(folder: Path, parts: Sequence[str] = ()) -> Path:
    """Fetches the archives into `folder`; returns the folder that `prepare` reads.

    Args:
        folder: where to.
        parts: the official splits that are wanted; none for all.
    """
    fetch(DOCUMENTATION, folder)
    fetch(ARCHIVES, folder, parts)
    return folder / "LibriTTS_R"


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
