"""Several utterances in one recording: one after another, or over one another, each with its times."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from speechllm.audio.io import SAMPLING_RATE
from speechllm.audio.measure.levels import Signal
from speechllm.data.manifest import Segment, Utterance


def join(signals: Sequence[Signal], utterances: Sequence[Utterance], gaps: Sequence[float]) -> tuple[Signal, Utterance]:
    """Puts utterances one after another into one, with a segment for each.

    What all of them share (speaker, language, attributes) is said of the whole; the rest of its segment only.

    Args:
        signals: mono samples at `SAMPLING_RATE`, one array an utterance.
        utterances: what is known of each.
        gaps: seconds of silence before each but the first; negative ones let it begin before the last one ends, so
            that both are heard. None begins before the one before it does.
    """
    starts = [0]
    for signal, gap in zip(signals, gaps, strict=False):
        starts.append(max(starts[-1], starts[-1] + len(signal) + round(gap * SAMPLING_RATE)))
    wave = np.zeros(max(start + len(signal) for start, signal in zip(starts, signals)), np.float32)
    for start, signal in zip(starts, signals):
        wave[start : start + len(signal)] += signal
    seconds = [(start / SAMPLING_RATE, len(signal) / SAMPLING_RATE) for start, signal in zip(starts, signals)]
    segments = [s for u, (start, length) in zip(utterances, seconds) for s in _segments(u, start, length)]
    shared = {
        name: value
        for name, value in utterances[0].attributes.items()
        if all(u.attributes.get(name) == value for u in utterances)
    }
    facts = {field: _same([getattr(u, field) for u in utterances]) for field in _SHARED_FIELDS}
    return wave, Utterance(
        id="+".join(u.id for u in utterances),
        audio=utterances[0].audio,
        duration=len(wave) / SAMPLING_RATE,
        sampling_rate=SAMPLING_RATE,
        text=" ".join(u.text for u in utterances if u.text) or None,
        attributes=shared,
        segments=sorted(segments, key=lambda segment: segment.start),
        **{field: value for field, value in facts.items() if value is not None},  # type: ignore[arg-type]
    )


_SHARED_FIELDS = ("language", "speaker", "dataset", "split")


def _same(values: Sequence[str | None]) -> str | None:
    return values[0] if len(set(values)) == 1 else None


def _segments(utterance: Utterance, start: float, length: float) -> list[Segment]:
    """An utterance as segments of a longer one that it begins in at `start`: its own, or one that is all of it."""
    if utterance.segments:
        return [
            segment.model_copy(update={"start": start + segment.start, "end": start + segment.end})
            for segment in utterance.segments
        ]
    return [
        Segment(
            start=start,
            end=start + length,
            text=utterance.text,
            speaker=utterance.speaker,
            attributes=utterance.attributes,
        )
    ]
