"""VCTK: newspaper sentences in the accents of English (Yamagishi, Veaux and MacDonald, version 0.92)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from speechllm.data.download import Archive, fetch
from speechllm.data.recipe import Clip, audio_files, gender, read_lines, require, write_corpus
from speechllm.errors import SpeechLLMError

MICROPHONE = "mic1"  # mic2 has every recording once more, but for two speakers

URL = "https://datashare.ed.ac.uk/bitstream/handle/10283/3443/VCTK-Corpus-0.92.zip"
SHA256 = "f96258be9fdc2cbff6559541aae7ea4f59df3fcaf5cf963aae5ca647357e359c"  # as torchaudio's reader has it
ROOT = "VCTK-Corpus-0.92"
ARCHIVES = {"0.92": Archive(URL, f"sha256:{SHA256}", into=ROOT)}


def download(folder: Path, parts: Sequence[str] = ()) -> Path:
    """Fetches the archives into `folder`; returns the folder that `prepare` reads.

    Args:
        folder: where to.
        parts: there is one.
    """
    fetch(ARCHIVES, folder, parts)
    return folder / ROOT


def prepare(corpus_dir: Path, output_dir: Path) -> dict[str, Path]:
    """Reads `wav48_silence_trimmed/<speaker>/*_mic1.flac`, `txt/` and `speaker-info.txt`; one split, `all`."""
    require(corpus_dir, "wav48_silence_trimmed", "txt", "speaker-info.txt")
    return write_corpus("vctk", _clips(corpus_dir, _speakers(corpus_dir / "speaker-info.txt")), output_dir)


def _clips(corpus_dir: Path, speakers: dict[str, dict[str, str | int | None]]) -> Iterator[Clip]:
    for path in audio_files(corpus_dir / "wav48_silence_trimmed", ".flac"):
        name, _, microphone = path.stem.rpartition("_")
        if microphone != MICROPHONE:
            continue
        speaker = path.parent.name
        text = corpus_dir / "txt" / speaker / f"{name}.txt"
        yield Clip(
            id=name,
            audio=path,
            text=" ".join(read_lines(text)) if text.is_file() else None,  # the texts of p315 were lost
            language="en",
            speaker=speaker,
            attributes=speakers.get(speaker, {}),
        )


def _speakers(path: Path) -> dict[str, dict[str, str | int | None]]:
    """`p225  23  F    English    Southern  England  (comment)`: columns in spaces, the first line their names."""
    speakers: dict[str, dict[str, str | int | None]] = {}
    for line in read_lines(path)[1:]:
        match = re.match(r"(\w+)\s+(?:([0-9-]+)\s+)?([FM])\b\s*(\S*)", line)
        if match is None:
            raise SpeechLLMError(f"{path}: {line!r} is not a speaker, age, sex and accent; download it again")
        speaker, age, sex, accent = match.groups()
        speakers[speaker] = {
            "gender": gender(sex),
            "age": int(age) if age and age.isdigit() else None,
            "accent": re.sub(r"(?<=[a-z])(?=[A-Z])", " ", accent),  # NorthernIrish
        }
    return speakers
