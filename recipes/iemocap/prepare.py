"""IEMOCAP: ten actors improvise and act dialogues in pairs (Busso et al., 2008)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from speechllm.data.recipe import Clip, audio_files, gender, read_lines, require, write_corpus
from speechllm.errors import SpeechLLMError

# What most of the annotators chose; `xxx` (they did not agree) and `oth` (none of these) give no attribute.
EMOTIONS = {
    "ang": "angry",
    "dis": "disgusted",
    "exc": "excited",
    "fea": "fearful",
    "fru": "frustrated",
    "hap": "happy",
    "neu": "neutral",
    "sad": "sad",
    "sur": "surprised",
}
EVALUATION = re.compile(r"\[\d+\.\d+ - \d+\.\d+\]\s+(\w+)\s+(\w+)\s+\[")
TEXT = re.compile(r"(\w+) \[\d+\.\d+-\d+\.\d+\]:\s*(.+)")
NAME = re.compile(r"Ses(0[1-5])[FM]_(impro|script)\w+_([FM])\w+")


def prepare(corpus_dir: Path, output_dir: Path) -> dict[str, Path]:
    """Reads `Session<n>/sentences/wav/<dialogue>/*.wav` and the evaluations and transcriptions of `dialog/`.

    One split a session, for the usual five-fold test that leaves out a session and with it two speakers.
    """
    require(corpus_dir, "Session1")
    emotions = _found(corpus_dir.glob("Session*/dialog/EmoEvaluation/*.txt"), EVALUATION)
    texts = _found(corpus_dir.glob("Session*/dialog/transcriptions/*.txt"), TEXT)
    files = [path for session in sorted(corpus_dir.glob("Session?")) for path in _sentences(session)]
    return write_corpus("iemocap", (_clip(path, emotions, texts) for path in files), output_dir)


def _sentences(session: Path) -> list[Path]:
    require(session, "sentences/wav", "dialog/EmoEvaluation")
    return audio_files(session / "sentences" / "wav", ".wav")


def _clip(path: Path, emotions: dict[str, str], texts: dict[str, str]) -> Clip:
    name = NAME.fullmatch(path.stem)
    if name is None:
        raise SpeechLLMError(f"{path}: is not named like Ses01F_impro01_F000.wav; remove it")
    session, kind, sex = name.groups()
    return Clip(
        id=path.stem,
        audio=path,
        split=f"session{int(session)}",
        text=texts.get(path.stem),
        language="en",
        speaker=f"Ses{session}{sex}",
        attributes={
            "gender": gender(sex),
            "emotion": EMOTIONS.get(emotions.get(path.stem, "")),
            "speaking_style": "improvised" if kind == "impro" else "scripted",
        },
    )


def _found(files: Iterator[Path], pattern: re.Pattern[str]) -> dict[str, str]:
    """The name of a turn and what the pattern finds with it; other lines (single annotators, heads) are passed."""
    matches = (
        pattern.match(line) for path in files if not path.name.startswith(".") for line in read_lines(path, "latin-1")
    )
    return {match[1]: match[2].strip() for match in matches if match}
