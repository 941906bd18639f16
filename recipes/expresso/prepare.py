"""Expresso: four actors of English read in eight styles and improvise dialogues in 26 (Nguyen et al., 2023)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from speechllm.data.recipe import Clip, audio_files, read_lines, require, write_corpus
from speechllm.errors import SpeechLLMError

SPLITS = ("train", "dev", "test")
GENDERS = {"ex01": "male", "ex02": "female", "ex03": "male", "ex04": "female"}
EMOTIONS = ("angry", "calm", "disgusted", "fearful", "happy", "sad")
STYLES = {"animaldir": "speaking to an animal", "childdir": "speaking to a child", "nonverbal": "non-verbal"}
MIN_S, MAX_S = 0.5, 30.0
"""Of the dialogues' stretches of speech; longer ones are cut off, shorter ones left out."""

Part = tuple[float, float]
"""Start and end in seconds; the end may be infinite."""
WHOLE: Part = (0.0, float("inf"))


def prepare(corpus_dir: Path, output_dir: Path) -> dict[str, Path]:
    """Reads `splits/<split>.txt`, `read_transcriptions.txt`, `VAD_segments.txt` and `audio_48khz/`.

    A dialogue has a speaker on each channel. Of it come the stretches in which one speaks and the other is silent, so
    that both channels mixed are that speaker alone.
    """
    require(corpus_dir, "splits", "read_transcriptions.txt", "VAD_segments.txt", "audio_48khz")
    return write_corpus("expresso", _clips(corpus_dir), output_dir)


def _clips(corpus_dir: Path) -> Iterator[Clip]:
    files = {path.stem: path for path in audio_files(corpus_dir / "audio_48khz", ".wav")}
    texts = dict(line.partition("\t")[::2] for line in read_lines(corpus_dir / "read_transcriptions.txt"))
    speech = _speech(corpus_dir / "VAD_segments.txt")
    for split in SPLITS:
        listing = corpus_dir / "splits" / f"{split}.txt"
        for line in read_lines(listing):
            if line.startswith("#"):
                continue
            name, _, part = line.partition("\t")
            if name not in files:
                raise SpeechLLMError(f"{listing}: lists {name}, which audio_48khz has not; unpack the corpus again")
            if "-" in name.split("_")[0]:
                yield from _turns(files[name], split, _part(part), speech)
            else:
                yield _reading(files[name], split, _part(part), texts)


def _reading(path: Path, split: str, part: Part, texts: dict[str, str]) -> Clip:
    speaker, style, *_ = path.stem.split("_")
    whole = part == WHOLE
    return Clip(
        id=path.stem if whole else f"{path.stem}_{part[0]:.2f}",
        audio=path,
        split=split,
        text=texts.get(path.stem, "").replace("*", "") if whole else None,  # *emphasised*
        language="en",
        speaker=speaker,
        attributes=_attributes(speaker, style),
        start=part[0] or None,
        end=None if part[1] == WHOLE[1] else part[1],
    )


def _turns(path: Path, split: str, part: Part, speech: dict[str, list[Part]]) -> Iterator[Clip]:
    speakers, style, *_ = path.stem.split("_")
    styles = style.split("-") * (2 if "-" not in style else 1)
    channels = [speech.get(f"{path.stem}/channel{channel}", []) for channel in (1, 2)]
    for channel, speaker in enumerate(speakers.split("-")):
        for first, last in channels[channel]:
            start, end = max(first, part[0]), min(last, part[1])
            end = min(end, start + MAX_S)
            alone = all(b <= start or a >= end for a, b in channels[1 - channel])
            if alone and end - start >= MIN_S:
                yield Clip(
                    id=f"{path.stem}_{speaker}_{start:.2f}",
                    audio=path,
                    split=split,
                    language="en",
                    speaker=speaker,
                    attributes=_attributes(speaker, styles[channel]),
                    start=start,
                    end=end,
                )


def _attributes(speaker: str, style: str) -> dict[str, str | None]:
    emotional, default = style in EMOTIONS, style == "default"
    return {
        "gender": GENDERS.get(speaker),
        "emotion": style if emotional else None,
        "speaking_style": None if emotional or default else STYLES.get(style, style),
    }


def _part(text: str) -> Part:
    """`(13.87s,27.74s)`, either of which may be missing; nothing at all is the whole file."""
    if not text:
        return WHOLE
    start, _, end = text.strip("()").replace("s", "").partition(",")
    return float(start or WHOLE[0]), float(end or WHOLE[1])


def _speech(path: Path) -> dict[str, list[Part]]:
    """`ex01-ex02_awe_001/channel1<tab>(0.50, 2.25) (3.00, 4.75)`: where the speaker of a channel speaks, in seconds."""
    speech = {}
    for line in read_lines(path):
        name, _, parts = line.partition("\t")
        found = re.findall(r"\(\s*([\d.]+)\s*,\s*([\d.]+)\s*\)", parts)
        speech[name] = [(float(start), float(end)) for start, end in found]
    return speech
