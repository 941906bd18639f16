"""AISHELL-1: Mandarin sentences read by 400 speakers (Bu et al., 2017)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from speechllm.data.download import Archive, fetch, unpack
from speechllm.data.recipe import Clip, audio_files, gender, read_lines, require, write_corpus

SPLITS = ("train", "dev", "test")
TRANSCRIPT = "data_aishell/transcript/aishell_transcript_v0.8.txt"
SPEAKERS = "resource_aishell/speaker.info"

SERVER = "https://www.openslr.org/resources/33"
ARCHIVES = {
    "data": Archive(f"{SERVER}/data_aishell.tgz", "md5:2f494334227864a8a8fec932999db9d8"),
    "resource": Archive(f"{SERVER}/resource_aishell.tgz", "md5:957d480a0fcac85fc18e550756f624e5"),
}


def download(folder: Path, parts: Sequence[str] = ()) -> Path:
    """Fetches the archives into `folder`; returns the folder that `prepare` reads.

    Args:
        folder: where to.
        parts: data, resource (who is of which gender); none for both.
    """
    fetch(ARCHIVES, folder, parts)
    for archive in sorted((folder / "data_aishell" / "wav").glob("*.tar.gz")):  # one a speaker
        unpack(archive, archive.parent)
        archive.unlink()
    return folder


def prepare(corpus_dir: Path, output_dir: Path) -> dict[str, Path]:
    """Reads `data_aishell/` and, where it is there, `resource_aishell/speaker.info` for the speakers' sex.

    The speakers' archives in `data_aishell/wav` must be unpacked there.
    """
    require(corpus_dir, TRANSCRIPT, *(f"data_aishell/wav/{split}" for split in SPLITS))
    texts = dict(line.split(maxsplit=1) for line in read_lines(corpus_dir / TRANSCRIPT) if " " in line)
    table = corpus_dir / SPEAKERS
    rows = [line.split() for line in read_lines(table)] if table.is_file() else []
    # `0002 M`: the speaker's number without the S of the folder, then the sex.
    genders = {f"S{row[0].removeprefix('S')}": gender(row[1]) for row in rows if len(row) > 1}
    clips = (clip for split in SPLITS for clip in _clips(corpus_dir, split, texts, genders))
    return write_corpus("aishell1", clips, output_dir)


def _clips(corpus_dir: Path, split: str, texts: dict[str, str], genders: dict[str, str | None]) -> Iterator[Clip]:
    for path in audio_files(corpus_dir / "data_aishell" / "wav" / split, ".wav"):
        if path.stem not in texts:  # a few recordings were dropped from the official transcript
            continue
        yield Clip(
            id=path.stem,
            audio=path,
            split=split,
            text=texts[path.stem].replace(" ", ""),  # the spaces stand between segmented words
            language="zh",
            speaker=path.parent.name,
            attributes={"gender": genders.get(path.parent.name)},
        )
