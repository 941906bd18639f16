"""LibriSpeech: English audiobooks of LibriVox, cut into sentences (Panayotov et al., 2015)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from speechllm.data.recipe import Clip, gender, read_lines, require, write_corpus
from speechllm.errors import SpeechLLMError


def prepare(corpus_dir: Path, output_dir: Path) -> dict[str, Path]:
    """Reads `<split>/<speaker>/<chapter>/` and `SPEAKERS.TXT` of every official split that is there."""
    require(corpus_dir, "SPEAKERS.TXT")
    genders = _genders(corpus_dir / "SPEAKERS.TXT")
    transcripts = sorted(corpus_dir.glob("*/*/*/*.trans.txt"))
    clips = (clip for path in transcripts for clip in _chapter(path, genders))
    return write_corpus("librispeech", clips, output_dir)


def _chapter(transcripts: Path, genders: dict[str, str | None]) -> Iterator[Clip]:
    folder = transcripts.parent
    for line in read_lines(transcripts):
        name, _, text = line.partition(" ")
        yield Clip(
            id=name,
            audio=folder / f"{name}.flac",
            split=folder.parent.parent.name,
            text=text,
            language="en",
            speaker=folder.parent.name,
            attributes={"gender": genders.get(folder.parent.name)},
        )


def _genders(path: Path) -> dict[str, str | None]:
    """`14 | F | train-clean-360 | 25.03 | Name`; lines that begin with a semicolon are comments."""
    genders = {}
    for line in read_lines(path):
        if line.startswith(";"):
            continue
        fields = [part.strip() for part in line.split("|")]
        if len(fields) < 5:
            raise SpeechLLMError(f"{path}: {line!r} has fewer than five fields; download it again")
        genders[fields[0]] = gender(fields[1])
    return genders
