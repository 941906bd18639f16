"""MELD: the dialogues of the television series Friends, with an emotion for each utterance (Poria et al., 2019)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from speechllm.data.recipe import Clip, read_table, require, write_corpus
from speechllm.errors import SpeechLLMError

FOLDERS = {"train": "train_splits", "dev": "dev_splits_complete", "test": "output_repeated_splits_test"}
EMOTIONS = {
    "anger": "angry",
    "disgust": "disgusted",
    "fear": "fearful",
    "joy": "happy",
    "neutral": "neutral",
    "sadness": "sad",
    "surprise": "surprised",
}
# Of the six whose names stand for one person; the tables say nothing of gender.
GENDERS = dict.fromkeys(("Monica", "Phoebe", "Rachel"), "female") | dict.fromkeys(("Chandler", "Joey", "Ross"), "male")
WINDOWS_PUNCTUATION = str.maketrans(
    {"\x85": "...", "\x91": "'", "\x92": "'", "\x93": '"', "\x94": '"', "\x96": "-", "\x97": "-"}
)
"""The tables hold bytes of Windows-1252 as if they were Unicode's control characters."""


def prepare(corpus_dir: Path, output_dir: Path) -> dict[str, Path]:
    """Reads `<split>_sent_emo.csv` and, from each split's folder, `dia<n>_utt<n>.wav`.

    The corpus holds videos: take their sound out first, as the README says.
    """
    tables = {split: corpus_dir / f"{split}_sent_emo.csv" for split in FOLDERS}
    require(corpus_dir, *(path.name for path in tables.values()))
    if not any((corpus_dir / folder).glob("dia*_utt*.wav") for folder in FOLDERS.values()):
        raise SpeechLLMError(f"{corpus_dir}: its folders hold no .wav files; take the sound out of the videos first")
    clips = (clip for split, table in tables.items() for clip in _clips(corpus_dir / FOLDERS[split], split, table))
    return write_corpus("meld", clips, output_dir)


def _clips(folder: Path, split: str, table: Path) -> Iterator[Clip]:
    for row in read_table(table, "Utterance", "Speaker", "Emotion", "Dialogue_ID", "Utterance_ID"):
        name = f"dia{row['Dialogue_ID']}_utt{row['Utterance_ID']}"
        yield Clip(
            id=f"{split}/{name}",
            audio=folder / f"{name}.wav",
            split=split,
            text=row["Utterance"].translate(WINDOWS_PUNCTUATION),
            language="en",
            speaker=row["Speaker"],
            attributes={"gender": GENDERS.get(row["Speaker"]), "emotion": EMOTIONS.get(row["Emotion"])},
        )
