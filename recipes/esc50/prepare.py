"""ESC-50: environmental sounds in fifty classes (Piczak, 2015)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from speechllm.data.download import Archive, fetch
from speechllm.data.recipe import Clip, read_table, require, write_corpus

ARCHIVES = {"master": Archive("https://github.com/karolpiczak/ESC-50/archive/master.zip")}


def download(folder: Path, parts: Sequence[str] = ()) -> Path:
    """Fetches the archives into `folder`; returns the folder that `prepare` reads.

    Args:
        folder: where to.
        parts: there is one.
    """
    fetch(ARCHIVES, folder, parts)
    return folder / "ESC-50-master"


def prepare(corpus_dir: Path, output_dir: Path) -> dict[str, Path]:
    """Reads `audio/` and `meta/esc50.csv`; the splits are the five official folds."""
    require(corpus_dir, "audio", "meta/esc50.csv")
    rows = read_table(corpus_dir / "meta" / "esc50.csv", "filename", "fold", "category")
    clips = (
        Clip(
            id=Path(row["filename"]).stem,
            audio=corpus_dir / "audio" / row["filename"],
            split=f"fold{row['fold']}",
            attributes={"sound": row["category"].replace("_", " ")},
        )
        for row in rows
    )
    return write_corpus("esc50", clips, output_dir)
