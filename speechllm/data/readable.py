"""What can be read of a manifest: broken files are reported and skipped within a limit, never silently."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from speechllm.audio.io import audio_info, load_audio
from speechllm.data.manifest import Utterance
from speechllm.data.recipe import MAX_BROKEN, report_skipped
from speechllm.errors import SpeechLLMError
from speechllm.progress import track

THREADS = 8
"""They wait for the disk, not for the processor."""


def readable(utterances: Sequence[Utterance], max_broken: float = MAX_BROKEN) -> list[Utterance]:
    """The utterances whose files are there, are audio, and hold the segment; the others are reported.

    Only headers are read, and a file that several segments share once.

    Args:
        utterances: with `audio` as `read_manifest` gives it.
        max_broken: the share of utterances that may be left out, rounded up, so that one never ends a run; 0 allows
            none.

    Raises:
        SpeechLLMError: more are broken, or all; names the first.
    """
    files = list(dict.fromkeys(utterance.audio for utterance in utterances))
    with ThreadPoolExecutor(THREADS) as pool:
        found = dict(zip(files, track(pool.map(_duration, files), "open audio", total=len(files)), strict=True))
    kept, broken = [], []
    for utterance in utterances:
        complaint = _complaint(utterance, found[utterance.audio])
        if complaint is None:
            kept.append(utterance)
        else:
            broken.append(complaint)
    Tally(len(utterances), max_broken).add(broken)
    return kept


@dataclass
class Tally:
    """Counts what is left out of `total` utterances and names it, within a limit."""

    total: int
    max_broken: float = MAX_BROKEN
    """The share that may be left out, rounded up, so that one never ends a run; 0 allows none."""
    count: int = 0
    """Utterances that were left out already."""

    def add(self, broken: Sequence[str]) -> None:
        """Reports what is wrong with each of those that are left out now.

        Raises:
            SpeechLLMError: more are broken than may be, or all; names one.
        """
        self.count += len(broken)
        if broken and (self.count > math.ceil(self.max_broken * self.total) or self.count == self.total):
            raise SpeechLLMError(
                f"{self.count} of {self.total} utterances cannot be read, more than the {self.max_broken:.3g} that may"
                f" be left out; one of them: {broken[0]}"
            )
        report_skipped(list(broken))


def undecodable(utterances: Sequence[Utterance]) -> dict[str, str]:
    """What is wrong with the sound behind a good header, by id, of those utterances that cannot be decoded."""
    with ThreadPoolExecutor() as pool:  # libsndfile and soxr work outside the interpreter's lock
        complaints = track(pool.map(decoding_complaint, utterances), "decode audio", total=len(utterances))
        return {u.id: complaint for u, complaint in zip(utterances, complaints, strict=True) if complaint is not None}


def decoding_complaint(utterance: Utterance) -> str | None:
    """What is wrong with the sound of an utterance, opened by its id; None where it can be decoded."""
    try:
        load_audio(utterance.audio, start=utterance.start, end=utterance.end)
    except SpeechLLMError as error:
        return f"{utterance.id!r}: {error}"
    return None


def _duration(audio: str) -> float | str:
    """Seconds, or what is wrong with the file."""
    try:
        return audio_info(audio)[0]
    except SpeechLLMError as error:
        return str(error)


def _complaint(utterance: Utterance, duration: float | str) -> str | None:
    if isinstance(duration, str):
        return duration
    if duration == 0:
        return f"{utterance.audio}: holds no samples; give a file with sound in it"
    if (utterance.start or 0.0) >= duration:
        return f"{utterance.audio}: lasts {duration:.2f} s, the segment of {utterance.id!r} begins after it"
    return None
