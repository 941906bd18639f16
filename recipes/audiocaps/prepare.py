"""AudioCaps: sounds of AudioSet, described by listeners (Kim et al., 2019)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from speechllm.data.recipe import Clip, audio_files, read_table, require, write_corpus

SPLITS = ("train", "val", "test")


def prepare(corpus_dir: Path, output_dir: Path) -> dict[str, Path]:
    """Reads `<split>.csv` and the clips in `<split>/`, named `<youtube_id>_<start_time>` or `<audiocap_id>`.

    Many of the videos are gone: only the rows whose clip is there come out.
    """
    require(corpus_dir, *(f"{split}.csv" for split in SPLITS))
    return write_corpus("audiocaps", (clip for split in SPLITS for clip in _clips(corpus_dir, split)), output_dir)


def _clips(corpus_dir: Path, split: str) -> Iterator[Clip]:
    folder = corpus_dir / split
    files = {path.stem: path for path in audio_files(folder)} if folder.is_dir() else {}
    captions: dict[Path, list[str]] = {}
    for row in read_table(corpus_dir / f"{split}.csv", "audiocap_id", "youtube_id", "start_time", "caption"):
        name = f"{row['youtube_id']}_{row['start_time']}"
        path = files.get(name) or files.get(row["audiocap_id"])
        if path is not None:
            captions.setdefault(path, []).append(row["caption"])
    for path, said in captions.items():
        others = {f"caption_{number}": caption for number, caption in enumerate(said[1:], start=2)}
        yield Clip(id=f"{split}/{path.stem}", audio=path, split=split, attributes={"caption": said[0], **others})
