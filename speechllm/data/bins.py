"""Measured numbers -> words: five for each measure, between four limits that are stated here or calibrated."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from speechllm.data.attributes import ATTRIBUTES
from speechllm.data.jsonl import explain, written_aside
from speechllm.data.manifest import Attribute, Utterance
from speechllm.errors import SpeechLLMError

QUANTILES = (0.1, 0.3, 0.7, 0.9)
"""Where calibration puts the limits: a tenth of the corpus is very low, a fifth low, two fifths medium, and so on."""

FEWEST = 20
"""Utterances with a measure (and, for pitch, of a gender) from which limits are calibrated; with fewer they stay."""


def _ascending(limits: tuple[float, ...]) -> tuple[float, ...]:
    if list(limits) != sorted(limits):
        raise ValueError("limits must ascend")
    return limits


Four = Annotated[tuple[float, float, float, float], AfterValidator(_ascending)]


class Limits(BaseModel):
    """The four limits of each measure. A number at a limit gets the word above it.

    Pitch, syllables by signal and level: the percentiles 10, 30, 70 and 90, rounded, of 250 Common Voice clips (123
    men, 127 women); syllables by text: those of 187 CREMA-D clips. Noise: 15 dB is what a busy room leaves, from 40 dB
    on one has to listen for it. Reverberation: booth, furnished room, bare room, hall. Bandwidth: the telephone ends at
    3.4 kHz, 8 kHz recordings at 4, 11 kHz ones at 5.5.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    pitch_male: Four = Field(default=(100, 115, 135, 160), description="Hz")
    pitch_female: Four = Field(default=(150, 185, 225, 255), description="Hz")
    pitch: Four = Field(default=(105, 130, 200, 240), description="Hz, where the gender is not known")
    syllables_per_second: Four = (3.5, 4.3, 5.5, 6.5)
    nuclei_per_second: Four = (3.0, 3.4, 4.1, 4.6)
    volume_dbfs: Four = (-35, -27, -19, -14)
    snr_db: Four = (5, 15, 25, 40)
    rt60_s: Four = (0.15, 0.25, 0.45, 0.8)
    silence_share: Four = (0.1, 0.2, 0.35, 0.55)
    bandwidth_hz: Four = (3000, 4000, 5500, 7000)
    duration: Four = Field(default=(1, 3, 8, 20), description="seconds")


LEVELS = ("very low", "low", "medium", "high", "very high")

WORDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "pitch": (("pitch_hz",), LEVELS),
    "speaking_rate": (
        ("syllables_per_second", "nuclei_per_second"),
        ("very slow", "slow", "medium", "fast", "very fast"),
    ),
    "volume": (("volume_dbfs",), LEVELS),
    "noise": (("snr_db",), LEVELS[::-1]),
    "reverberation": (("rt60_s",), LEVELS),
    "silence": (("silence_share",), LEVELS),
    "bandwidth": (("bandwidth_hz",), LEVELS),
    "length": (("duration",), ("very short", "short", "medium", "long", "very long")),
}
"""The attribute a word goes to: the measures it is taken from, the first that there is, and the words by rising number.

The rate comes from the text where there is one, since that counts every syllable, and else from the signal.
"""


def values_among(attribute: str, occurring: Iterable[object]) -> tuple[str, ...]:
    """What an attribute may be where these values occur: the five words if one is theirs, else those that are known.

    Others that occur come after those that are known.
    """
    known = tuple(ATTRIBUTES[attribute].values) if attribute in ATTRIBUTES else ()
    others = {str(value) for value in occurring} - set(known)
    scale = WORDS[attribute][1] if attribute in WORDS else ()
    return scale if others and others <= set(scale) else (*known, *sorted(others))


def words_for(duration: float, attributes: dict[str, Attribute], limits: Limits) -> dict[str, str]:
    """The words for what was measured, by attribute.

    Args:
        duration: seconds.
        attributes: the measured numbers by their names, and `gender` where it is known.
        limits: what lies between the words.
    """
    numbers, words = _numbers(duration, attributes), {}
    for attribute, (measures, scale) in WORDS.items():
        measure = next((name for name in measures if name in numbers), None)
        if measure is not None:
            between = getattr(limits, _limit_name(measure, attributes.get("gender")))
            words[attribute] = scale[bisect_right(between, numbers[measure])]
    return words


def _numbers(duration: float, attributes: dict[str, Attribute]) -> dict[str, float]:
    return {name: value for name, value in attributes.items() if not isinstance(value, str)} | {"duration": duration}


def _limit_name(measure: str, gender: Attribute | None) -> str:
    if measure != "pitch_hz":
        return measure
    return f"pitch_{gender}" if gender in ("female", "male") else "pitch"


def calibrate(utterances: Sequence[Utterance]) -> Limits:
    """Limits at the `QUANTILES` of what was measured on a corpus; those of pitch for each gender apart."""
    found: dict[str, list[float]] = {}
    for utterance in utterances:
        numbers = _numbers(utterance.duration, utterance.attributes)
        for measure in (name for measures, _ in WORDS.values() for name in measures if name in numbers):
            # a pitch counts for its gender and for those whose gender is not known
            for limit in {_limit_name(measure, gender) for gender in (utterance.attributes.get("gender"), None)}:
                found.setdefault(limit, []).append(numbers[measure])
    enough = {name: values for name, values in found.items() if len(values) >= FEWEST}
    return Limits(
        **{name: tuple(round(float(q), 4) for q in np.quantile(values, QUANTILES)) for name, values in enough.items()}
    )


def read_limits(path: Path) -> Limits:
    """Reads limits as `write_limits` wrote them; measures that the file leaves out keep theirs.

    Raises:
        SpeechLLMError: the file is missing or not of that form.
    """
    try:
        return Limits.model_validate_json(Path(path).read_bytes())
    except OSError as error:
        raise SpeechLLMError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except ValidationError as error:
        raise SpeechLLMError(f"{path}: {explain(error, Limits)}") from error


def write_limits(path: Path, limits: Limits) -> None:
    """Writes limits as JSON, so that other manifests can be binned alike."""
    with written_aside(path) as out:
        out.write(limits.model_dump_json(indent=2) + "\n")
