"""LibriSpeech: English audiobooks of LibriVox, cut into sentences (Panayotov et al., 2015)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from speechllm.data.download import Archive, fetch
from speechllm.data.recipe import Clip, gender, read_lines, require, write_corpus
from speechllm.errors import SpeechLLMError

SERVER = "https://www.openslr.org/resources/12"
CHECKSUMS = {  # SHA-256, as torchaudio's reader of the corpus has them
    "dev-clean": "76f87d090650617fca0cac8f88b9416e0ebf80350acb97b343a85fa903728ab3",
    "dev-other": "12661c48e8c3fe1de2c1caa4c3e135193bfb1811584f11f569dd12645aa84365",
    "test-clean": "39fde525e59672dc6d1551919b1478f724438a95aa55f874b576be21967e6c23",
    "test-other": "d09c181bba5cf717b3dee7d4d592af11a3ee3a09e08ae025c5506f6ebe961c29",
    "train-clean-100": "d4ddd1d5a6ab303066f14971d768ee43278a5f2a0aa43dc716b0e64ecbbbf6e2",
    "train-clean-360": "146a56496217e96c14334a160df97fffedd6e0a04e66b9c5af0d40be3c792ecf",
    "train-other-500": "ddb22f27f96ec163645d53215559df6aa36515f26e01dd70798188350adcb6d2",
}
ARCHIVES = {split: Archive(f"{SERVER}/{split}.tar.gz", f"sha256:{sum_}") for split, sum_ in CHECKSUMS.items()}


def download(folder: Path, parts: Sequence[str] = ()) -> Path:
    """Fetches the archives into `folder`; returns the folder that `prepare` reads.

    Args:
        folder: where to.
        parts: the official splits that are wanted; none for all, 60 GB.
    """
    fetch(ARCHIVES, folder, parts)
    return folder / "LibriSpeech"


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
