"""AccentDB: nine accents of English, four of them of Indian languages (Ahamad, Anand and Bhargava, 2020)."""

from __future__ import annotations

from pathlib import Path

from speechllm.data.recipe import Clip, audio_files, require, write_corpus
from speechllm.errors import SpeechLLMError


def prepare(corpus_dir: Path, output_dir: Path) -> dict[str, Path]:
    """Reads `data/<accent>/speaker_<nn>/<accent>_s<nn>_<number>.wav`; one split, `all`."""
    require(corpus_dir, "data")
    return write_corpus("accentdb", (_clip(p) for p in audio_files(corpus_dir / "data", ".wav")), output_dir)


def _clip(path: Path) -> Clip:
    accent, speaker = path.parent.parent.name, path.parent.name
    if not speaker.startswith("speaker_"):
        raise SpeechLLMError(f"{path}: is not <accent>/speaker_<nn>/<name>.wav; remove it")
    return Clip(
        id=path.stem,
        audio=path,
        language="en",
        speaker=f"{accent}/{speaker}",
        attributes={"accent": accent.capitalize()},
    )
