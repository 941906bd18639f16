"""Augmentation that keeps the description true: what changes in the signal changes in the attributes."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Annotated, Literal, cast

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from speechllm.audio import augment
from speechllm.audio.io import SAMPLING_RATE
from speechllm.audio.measure.clip import measure_clip
from speechllm.audio.measure.levels import Signal
from speechllm.data.bins import WORDS, Limits, words_for
from speechllm.data.jsonl import explain
from speechllm.data.manifest import Attribute, Segment, Utterance
from speechllm.errors import SpeechLLMError
from speechllm.inheritance import read_toml


def _ascending(pair: tuple[float, float]) -> tuple[float, float]:
    if pair[0] > pair[1]:
        raise ValueError("the first number is greater than the second")
    return pair


Range = Annotated[tuple[float, float], AfterValidator(_ascending)]
"""From and to; a value is drawn evenly between them."""

OTHER_PERSON_SEMITONES = 2.0
"""A voice moved further than this may be taken for another gender or age, so that these are no longer told."""

Change = Literal["speed", "pitch", "reverberation", "noise", "gain", "clipping", "codec"]

Chance = Annotated[float, Field(gt=0, le=1)]

_CHANGED: dict[Change, tuple[str, ...]] = {
    "speed": (
        *("pitch_hz", "syllables_per_second", "nuclei_per_second", "words_per_minute"),
        *("rt60_s", "bandwidth_hz", "duration"),
    ),
    "pitch": ("pitch_hz", "bandwidth_hz"),
    "reverberation": ("rt60_s", "silence_share"),
    "noise": ("snr_db", "volume_dbfs", "loudness_lufs"),
    "gain": ("volume_dbfs", "loudness_lufs"),
    "clipping": ("volume_dbfs", "loudness_lufs"),
    "codec": ("bandwidth_hz", "volume_dbfs", "loudness_lufs"),
}
"""The measures that each change makes stale; they are measured again right after it, their words replaced."""


class Recipe(BaseModel):
    """What may happen to a clip, in this order; what is None does not happen."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    speed: Range | None = Field(default=None, description="factors")
    pitch: Range | None = Field(default=None, description="semitones")
    reverberation: Range | None = Field(default=None, description="RT60, s")
    noise: Range | None = Field(default=None, description="signal-to-noise ratio, dB")
    gain: Range | None = Field(default=None, description="dB")
    clipping: Range | None = Field(default=None, description="share of the samples")
    codecs: tuple[augment.Codec, ...] = Field(default=(), description="one of them is drawn")
    chance: float = Field(default=1.0, gt=0, le=1, description="of each change to happen to a clip")
    chances: dict[Change, Chance] = Field(default={}, description="of single changes, in place of `chance`")

    def of_the_voice(self) -> Recipe:
        """What happens to each speaker: speed and pitch."""
        return Recipe(speed=self.speed, pitch=self.pitch, chance=self.chance, chances=self.chances)

    def of_the_recording(self) -> Recipe:
        """What happens to all who are heard together."""
        return self.model_copy(update={"speed": None, "pitch": None})

    def changes(self) -> list[Change]:
        """What may happen, in this order."""
        asked = {**dict(self), "codec": self.codecs}
        return [change for change in _CHANGED if asked[change]]

    def makes_untrue(self, attributes: Collection[str]) -> dict[Change, list[str]]:
        """Which of these attributes each change may make untrue, measures and the words for them."""
        found: dict[Change, list[str]] = {}
        for change in self.changes():
            stale = set(_CHANGED[change])
            worded = {name for name, (measures, _) in WORDS.items() if set(measures) & stale}
            voice = {"gender", "age"} if change in ("speed", "pitch") else set()
            if hit := sorted(set(attributes) & (stale | worded | voice)):
                found[change] = hit
        return found


def read_recipe(path: Path) -> Recipe:
    """A recipe from a TOML file: `noise = [5, 30]`, `chances = { noise = 0.5 }`.

    Raises:
        SpeechLLMError: missing file, bad syntax, unknown or misspelt key, or a value that cannot be; names it.
    """
    values = read_toml(path)
    try:
        return Recipe.model_validate_json(json.dumps(values))
    except ValidationError as error:
        raise SpeechLLMError(f"{path}: {explain(error, Recipe)}") from error


def apply_recipe(
    signal: Signal,
    utterance: Utterance,
    recipe: Recipe,
    rng: np.random.Generator,
    noise: Signal | None = None,
    limits: Limits = Limits(),  # noqa: B008 - frozen
) -> tuple[Signal, Utterance]:
    """Changes a clip as the recipe says and its description with it; the same generator gives the same clip.

    Args:
        signal: mono samples at `SAMPLING_RATE`.
        utterance: what is known about it.
        recipe: what may happen.
        rng: draws what happens and how strongly.
        noise: samples to add as noise; None for pink noise.
        limits: between the words for what changed.
    """
    for change, strength in _drawn(recipe, rng):
        signal = _change(signal, change, strength, rng, noise)
        utterance = _describe(signal, utterance, change, strength, limits)
    peak = float(np.abs(signal).max(initial=0.0))
    if peak > 1.0:  # would clip when it is written
        quieter = -20 * math.log10(peak)
        signal = augment.amplify(signal, quieter)
        utterance = _describe(signal, utterance, "gain", quieter, limits)
    return signal, utterance


def change_signal(signal: Signal, recipe: Recipe, rng: np.random.Generator) -> Signal:
    """Changes a clip as the recipe says, with pink noise, where what is told of it stays true (`makes_untrue`)."""
    for change, strength in _drawn(recipe, rng):
        signal = _change(signal, change, strength, rng, None)
    peak = float(np.abs(signal).max(initial=0.0))
    return signal if peak <= 1.0 else signal / peak


def _drawn(recipe: Recipe, rng: np.random.Generator) -> list[tuple[str, float | str]]:
    drawn: list[tuple[str, float | str]] = []
    for change in recipe.changes():
        if rng.random() >= recipe.chances.get(change, recipe.chance):
            continue
        if change == "codec":
            drawn.append((change, str(rng.choice(recipe.codecs))))
        else:
            drawn.append((change, float(rng.uniform(*getattr(recipe, change)))))
    return drawn


def _change(
    signal: Signal, change: str, strength: float | str, rng: np.random.Generator, noise: Signal | None
) -> Signal:
    if change == "codec":
        return augment.through_codec(signal, cast(augment.Codec, strength), rng)
    if change == "noise":
        noise = augment.pink_noise(len(signal), rng) if noise is None else noise
        return augment.add_noise(signal, noise, float(strength), rng)
    if change == "reverberation":
        return augment.reverberate(signal, float(strength), rng)
    plain: dict[str, Callable[[Signal, float], Signal]] = {
        "speed": augment.change_speed,
        "pitch": augment.shift_pitch,
        "gain": augment.amplify,
        "clipping": augment.clip,
    }
    return plain[change](signal, float(strength))


def _describe(signal: Signal, old: Utterance, change: str, strength: float | str, limits: Limits) -> Utterance:
    """The utterance after one change: stale numbers measured again, what is known exactly in their place, new words."""
    stale = _CHANGED[cast(Change, change)]
    worded = [name for name, (measures, _) in WORDS.items() if set(measures) & set(stale)]
    gone = {*stale, *worded, *(("gender", "age") if _semitones(change, strength) > OTHER_PERSON_SEMITONES else ())}
    attributes = {name: value for name, value in old.attributes.items() if name not in gone}
    measured = measure_clip(signal, old.text, old.language)
    attributes |= {name: value for name, value in measured.items() if name in stale}
    attributes |= _exact(old.attributes, change, strength)
    duration = len(signal) / SAMPLING_RATE
    words = words_for(duration, attributes, limits)
    attributes |= {name: words[name] for name in worded if name in words}
    new = old.model_copy(update={"duration": duration, "attributes": attributes})
    if old.segments is None:
        return new
    segments = [_segment(segment, duration / old.duration, gone) for segment in old.segments]
    return new.model_copy(update={"segments": segments})


def _segment(segment: Segment, stretched: float, gone: set[str]) -> Segment:
    """A part of the clip: its times follow, and what is no longer known of the whole is not of it."""
    told = {name: value for name, value in segment.attributes.items() if name not in gone}
    times = {"start": round(segment.start * stretched, 4), "end": round(segment.end * stretched, 4)}
    return segment.model_copy(update={**times, "attributes": told})


def _semitones(change: str, strength: float | str) -> float:
    """How far a change moves the voice, up or down."""
    if change == "pitch":
        return abs(float(strength))
    return abs(12 * math.log2(float(strength))) if change == "speed" else 0.0


def _exact(attributes: dict[str, Attribute], change: str, strength: float | str) -> dict[str, Attribute]:
    """What is known of a change without measuring."""
    before = attributes.get("snr_db")
    if change == "noise":
        floors = [float(strength)] + ([float(before)] if isinstance(before, int | float) else [])
        return {"snr_db": round(-10 * math.log10(sum(10 ** (-db / 10) for db in floors)), 1)}
    if change == "clipping":
        return {"clipped_share": round(float(strength), 3)}
    if change == "codec":
        return {"codec": strength}
    if change == "reverberation":
        room = attributes.get("rt60_s")
        return {"rt60_s": round(max(float(strength), room if isinstance(room, int | float) else 0.0), 2)}
    rate = attributes.get("words_per_minute")
    if change == "speed" and isinstance(rate, int | float):
        return {"words_per_minute": round(rate * float(strength))}
    return {}
