"""What is wrong with manifests: every line that breaks the schema, audio that is not as stated, shared speakers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Literal

from speechllm.audio.io import audio_info
from speechllm.data.jsonl import numbered_lines, parse_line
from speechllm.data.manifest import Utterance, opened_from
from speechllm.data.readable import undecodable
from speechllm.errors import SpeechLLMError
from speechllm.progress import track

DURATION_TOLERANCE_S = 0.05
"""Manifests round, and an MP3 header counts whole frames (26 ms at 44.1 kHz) with the encoder's padding."""

DURATION_TOLERANCE = 0.01
"""The same as a share, for long files: what counts is the larger of the two."""

NAMED_SPEAKERS = 5
"""Shared speakers that one line of the report names; the rest are counted."""

Kind = Literal["schema", "duplicate id", "audio", "duration", "sampling rate", "speaker overlap"]


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong; `text` opens with the file and, where there is one, the line."""

    kind: Kind
    text: str


@dataclass(frozen=True)
class Checked:
    """The lines of one manifest that can be used, by their number, and what is wrong with it."""

    lines: dict[int, Utterance]
    problems: list[Problem]


def check_lines(path: Path) -> Checked:
    """Reads a whole manifest and collects what breaks the schema or repeats an id, instead of ending at the first.

    `audio` comes back as a path that can be opened from here, as from `read_manifest`.

    Raises:
        SpeechLLMError: the file itself cannot be read.
    """
    path = Path(path)
    lines, problems, seen = dict[int, Utterance](), list[Problem](), dict[str, int]()
    for number, line in numbered_lines(path):
        try:
            utterance = parse_line(line, Utterance, f"{path}:{number}")
        except SpeechLLMError as error:
            problems.append(Problem("schema", str(error)))
            continue
        first = seen.setdefault(utterance.id, number)
        if first != number:
            problems.append(
                Problem("duplicate id", f"{path}:{number}: id {utterance.id!r} stands on line {first} already")
            )
        lines[number] = utterance.model_copy(update={"audio": opened_from(path.parent, utterance.audio)})
    if not lines and not problems:
        problems.append(Problem("schema", f"{path}: holds no utterances; expected one JSON object a line"))
    return Checked(lines, problems)


def check_audio(
    path: Path, lines: Mapping[int, Utterance], threads: int = 8, decode: bool = False
) -> Iterator[Problem]:
    """Opens the audio of every line, and yields what is missing, unreadable, or not as long as the line says.

    Only headers are read, of a file that several segments share once; with `decode` the sound of every line too.
    """
    broken = undecodable(list(lines.values())) if decode else {}
    files = list(dict.fromkeys(utterance.audio for utterance in lines.values()))
    with ThreadPoolExecutor(threads) as pool:  # waits for the disk, not for the processor
        found = dict(zip(files, track(pool.map(_info, files), "Opening audio", total=len(files))))
    for number, utterance in lines.items():
        info = found[utterance.audio]
        if isinstance(info, str):
            yield Problem("audio", f"{path}:{number}: {info}")
        elif utterance.id in broken:
            yield Problem("audio", f"{path}:{number}: {broken[utterance.id]}")
        else:
            yield from _disagreements(f"{path}:{number}: {utterance.audio}", utterance, *info)


def _info(audio: str) -> tuple[float, int] | str:
    try:
        return audio_info(audio)
    except SpeechLLMError as error:
        return str(error)


def _disagreements(where: str, utterance: Utterance, duration: float, rate: int) -> Iterator[Problem]:
    if rate != utterance.sampling_rate:
        yield Problem("sampling rate", f"{where} has {rate} Hz, not {utterance.sampling_rate}")
    start = utterance.start or 0.0
    end = duration if utterance.end is None else utterance.end
    tolerance = max(DURATION_TOLERANCE_S, DURATION_TOLERANCE * utterance.duration)
    if duration == 0:
        yield Problem("audio", f"{where} holds no samples")
    elif end > duration + tolerance or start >= duration:
        yield Problem("duration", f"{where} lasts {duration:.2f} s, the segment {start:g} to {end:g} s is not in it")
    elif abs(end - start - utterance.duration) > tolerance:
        yield Problem("duration", f"{where} gives {end - start:.2f} s, the line says {utterance.duration:g}")


def check_speakers(manifests: Mapping[Path, Sequence[Utterance]]) -> Iterator[Problem]:
    """Yields every pair of manifests that share speakers or ids. Speakers are told apart within a dataset only."""
    speakers = {
        path: Counter((u.dataset, u.speaker) for u in utterances if u.speaker is not None)
        for path, utterances in manifests.items()
    }
    ids = {path: {u.id for u in utterances} for path, utterances in manifests.items()}
    for one, other in combinations(manifests, 2):
        shared = sorted(str(speaker) for _, speaker in speakers[one].keys() & speakers[other].keys())
        if shared:
            yield Problem("speaker overlap", f"{one} and {other} share {len(shared)} speakers: {_named(shared)}")
        twice = sorted(ids[one] & ids[other])
        if twice:
            yield Problem("duplicate id", f"{one} and {other} share {len(twice)} ids: {_named(twice)}")


def _named(words: Sequence[str]) -> str:
    return ", ".join(words[:NAMED_SPEAKERS]) + (", ..." if len(words) > NAMED_SPEAKERS else "")
