"""Free Spoken Digit Dataset: English digits by a handful of speakers (Jackson, 2016)."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from pathlib import Path

from speechllm.data.download import Archive, fetch
from speechllm.data.recipe import Clip, audio_files, gender, read_lines, require, write_corpus
from speechllm.errors import SpeechLLMError

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
TEST_TAKES = 5  # the first takes of each digit by each speaker, as the corpus's README says

URL = "https://github.com/Jakobovski/free-spoken-digit-dataset/archive/refs/heads/master.zip"
ARCHIVES = {"master": Archive(URL)}


def download(folder: Path, parts: Sequence[str] = ()) -> Path:
    """Fetches the archives into `folder`; returns the folder that `prepare` reads.

    Args:
        folder: where to.
        parts: there is one.
    """
    fetch(ARCHIVES, folder, parts)
    return folder / "free-spoken-digit-dataset-master"


def prepare(corpus_dir: Path, output_dir: Path) -> dict[str, Path]:
    """Reads `recordings/<digit>_<speaker>_<take>.wav` and, where it is there, the speakers in `metadata.py`."""
    require(corpus_dir, "recordings")
    speakers = _speakers(corpus_dir / "metadata.py")
    files = audio_files(corpus_dir / "recordings", ".wav")
    return write_corpus("free_spoken_digit", (_clip(path, speakers) for path in files), output_dir)


def _clip(path: Path, speakers: dict[str, dict[str, str]]) -> Clip:
    try:
        digit, speaker, take = path.stem.split("_")
        facts = speakers.get(speaker, {})
        return Clip(
            id=path.stem,
            audio=path,
            split="test" if int(take) < TEST_TAKES else "train",
            text=DIGITS[int(digit)],
            language="en",
            speaker=speaker,
            attributes={"gender": gender(facts.get("gender", "")), "accent": facts.get("accent")},
        )
    except (IndexError, ValueError) as error:
        raise SpeechLLMError(f"{path}: is not named <digit>_<speaker>_<take>.wav; remove it") from error


def _speakers(path: Path) -> dict[str, dict[str, str]]:
    """The one dictionary literal of `metadata.py`, read without running the file."""
    if not path.is_file():
        return {}
    try:
        tree = ast.parse("\n".join(read_lines(path)))
        literal = next(node.value for node in tree.body if isinstance(node, ast.Assign))
        speakers: dict[str, dict[str, str]] = ast.literal_eval(literal)
    except (SyntaxError, StopIteration, ValueError) as error:
        raise SpeechLLMError(f"{path}: holds no dictionary of speakers; download it again") from error
    return speakers
