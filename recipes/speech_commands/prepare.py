"""Speech Commands: single English words by thousands of volunteers (Warden, 2018)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from speechllm.data.download import Archive, fetch
from speechllm.data.recipe import Clip, audio_files, read_lines, require, write_corpus

LISTS = {"dev": "validation_list.txt", "test": "testing_list.txt"}
NOISE = "_background_noise_"

URL = "https://storage.googleapis.com/download.tensorflow.org/data/speech_commands_v0.02.tar.gz"
SHA256 = "af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58"  # as torchaudio's reader has it
ROOT = "speech_commands_v0.02"
ARCHIVES = {"0.02": Archive(URL, f"sha256:{SHA256}", into=ROOT)}


def download(folder: Path, parts: Sequence[str] = ()) -> Path:
    """Fetches the archives into `folder`; returns the folder that `prepare` reads.

    Args:
        folder: where to.
        parts: there is one.
    """
    fetch(ARCHIVES, folder, parts)
    return folder / ROOT


def prepare(corpus_dir: Path, output_dir: Path) -> dict[str, Path]:
    """Reads `<word>/<speaker>_nohash_<take>.wav`; the two lists of the archive make the splits, the rest is `train`."""
    require(corpus_dir, *LISTS.values())
    splits = {name: split for split, table in LISTS.items() for name in read_lines(corpus_dir / table)}
    files = [path for path in audio_files(corpus_dir, ".wav") if path.parent.name != NOISE]
    return write_corpus("speech_commands", (_clip(path, splits) for path in files), output_dir)


def _clip(path: Path, splits: dict[str, str]) -> Clip:
    word = path.parent.name
    return Clip(
        id=f"{word}/{path.stem}",
        audio=path,
        split=splits.get(f"{word}/{path.name}", "train"),
        text=word,
        language="en",
        speaker=path.stem.partition("_nohash_")[0],
    )
