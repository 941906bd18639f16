"""EmoV-DB: four actors of English read CMU Arctic's sentences in five emotions (Adigwe et al., 2018)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from speechllm.data.recipe import Clip, audio_files, read_lines, require, write_corpus
from speechllm.errors import SpeechLLMError

GENDERS = {"bea": "female", "jenie": "female", "josh": "male", "sam": "male"}
EMOTIONS = {
    "amused": "amused",
    "anger": "angry",
    "disgust": "disgusted",
    "neutral": "neutral",
    "sleepiness": "sleepy",
}
SENTENCES = "cmuarctic.data"


def prepare(corpus_dir: Path, output_dir: Path) -> dict[str, Path]:
    """Reads `<speaker>/<emotion>/` or `<speaker>_<emotion>/` with `<emotion>_<range>_<sentence>.wav`; one split, `all`.

    The texts come from `cmuarctic.data`, CMU Arctic's list of sentences, if it lies in the folder.
    """
    require(corpus_dir)
    return write_corpus("emov_db", _clips(corpus_dir, _sentences(corpus_dir / SENTENCES)), output_dir)


def _clips(corpus_dir: Path, sentences: dict[str, str]) -> Iterator[Clip]:
    for path in audio_files(corpus_dir, ".wav"):
        speaker = path.relative_to(corpus_dir).parts[0].split("_")[0].lower()
        emotion, _, rest = path.stem.lower().partition("_")
        if speaker not in GENDERS or emotion not in EMOTIONS:
            raise SpeechLLMError(f"{path}: is not <speaker>/<emotion>/<emotion>_<range>_<sentence>.wav; remove it")
        yield Clip(
            id=f"{speaker}/{path.stem}",
            audio=path,
            text=sentences.get(rest.rpartition("_")[2]),
            language="en",
            speaker=speaker,
            attributes={"gender": GENDERS[speaker], "emotion": EMOTIONS[emotion]},
        )


def _sentences(path: Path) -> dict[str, str]:
    """`( arctic_a0001 "Author of the danger trail, Philip Steels, etc." )`; only list `a` was read."""
    lines = read_lines(path) if path.is_file() else []
    found = (re.fullmatch(r'\(\s*arctic_a(\d{4})\s+"(.*)"\s*\)', line) for line in lines)
    return {match[1]: match[2] for match in found if match}
