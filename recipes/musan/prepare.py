"""MUSAN: music, speech and noise (Snyder, Chen and Povey, 2015)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from speechllm.data.download import Archive, fetch
from speechllm.data.recipe import Clip, audio_files, gender, read_lines, require, write_corpus

SPLITS = ("music", "noise", "speech")
VOCALS = {"Y": "yes", "N": "no"}

URL = "https://www.openslr.org/resources/17/musan.tar.gz"
ARCHIVES = {"musan": Archive(URL, "md5:0c472d4fc0c5141eca47ad1ffeb2a7df")}


def download(folder: Path, parts: Sequence[str] = ()) -> Path:
    """Fetches the archives into `folder`; returns the folder that `prepare` reads.

    Args:
        folder: where to.
        parts: there is one.
    """
    fetch(ARCHIVES, folder, parts)
    return folder / "musan"


def prepare(corpus_dir: Path, output_dir: Path) -> dict[str, Path]:
    """Reads `<kind>/<source>/*.wav` and the `ANNOTATIONS` beside them; the splits are music, noise and speech."""
    require(corpus_dir, *SPLITS)
    sources = [folder for split in SPLITS for folder in sorted((corpus_dir / split).iterdir()) if folder.is_dir()]
    return write_corpus("musan", (clip for folder in sources for clip in _clips(folder)), output_dir)


def _clips(folder: Path) -> Iterator[Clip]:
    kind, table = folder.parent.name, folder / "ANNOTATIONS"
    lines = [line.split() for line in read_lines(table)] if table.is_file() else []
    annotations = {fields[0]: fields[1:] for fields in lines}
    for path in audio_files(folder, ".wav"):
        yield Clip(
            id=path.stem,
            audio=path,
            split=kind,
            attributes={"sound": kind, **_facts(kind, annotations.get(path.stem, []))},
        )


def _facts(kind: str, fields: list[str]) -> dict[str, str | None]:
    """Music: genres and whether there is singing (Y, N). Speech: the speaker's sex, m or f, where it is noted."""
    if kind == "music" and len(fields) > 1:
        return {"genre": fields[0].replace(",", ", "), "vocals": VOCALS.get(fields[1])}
    if kind == "speech":
        return {"gender": next((known for word in fields if (known := gender(word))), None)}
    return {}
