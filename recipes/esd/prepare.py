"""ESD: ten speakers of English and ten of Mandarin say 350 sentences each in five emotions (Zhou et al., 2021)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from speechllm.data.recipe import Clip, audio_files, read_lines, require, write_corpus
from speechllm.errors import SpeechLLMError

# ReadMe.txt of the corpus lists the speakers; 0001 to 0010 speak Mandarin.
WOMEN = {"0001", "0002", "0003", "0007", "0009", "0015", "0016", "0017", "0018", "0019"}
LAST_MANDARIN = "0010"
EMOTIONS = {"Angry": "angry", "Happy": "happy", "Neutral": "neutral", "Sad": "sad", "Surprise": "surprised"}

SENTENCES = 350  # of each speaker and emotion, numbered through
EVALUATION, TEST = 20, 50  # the first 20 of the 350 are for evaluation, the next 30 for testing


def prepare(corpus_dir: Path, output_dir: Path) -> dict[str, Path]:
    """Reads `<speaker>/<emotion>/[<split>/]<speaker>_<number>.wav` and `<speaker>/<speaker>.txt`.

    The archive comes with and without a folder for each split; the numbers tell the same in both.
    """
    require(corpus_dir)
    return write_corpus("esd", _clips(corpus_dir), output_dir)


def _clips(corpus_dir: Path) -> Iterator[Clip]:
    texts: dict[str, dict[str, str]] = {}
    for path in audio_files(corpus_dir, ".wav"):
        speaker, *_ = folders = path.relative_to(corpus_dir).parts
        if speaker not in texts:
            texts[speaker] = _texts(corpus_dir / speaker / f"{speaker}.txt", speaker)
        try:
            number = int(path.stem.removeprefix(f"{speaker}_"))
            yield Clip(
                id=path.stem,
                audio=path,
                split=_split(number),
                text=texts[speaker].get(path.stem),
                language="zh" if speaker <= LAST_MANDARIN else "en",
                speaker=speaker,
                attributes={
                    "gender": "female" if speaker in WOMEN else "male",
                    "emotion": EMOTIONS[folders[1]],
                },
            )
        except (KeyError, ValueError) as error:
            raise SpeechLLMError(f"{path}: is not <speaker>/<emotion>/<speaker>_<number>.wav; remove it") from error


def _split(number: int) -> str:
    place = (number - 1) % SENTENCES
    return "evaluation" if place < EVALUATION else "test" if place < TEST else "train"


def _texts(path: Path, speaker: str) -> dict[str, str]:
    """`0011_000001<tab>The nine the eggs, I keep.<tab>Neutral`; the files are in several encodings."""
    if not path.is_file():
        return {}
    lines = (line.split("\t") for line in read_lines(path, "gb18030" if speaker <= LAST_MANDARIN else "latin-1"))
    return {fields[0].strip(): fields[1].strip() for fields in lines if len(fields) == 3}  # some lines lack their tabs
