"""The attribute vocabulary: how an attribute is called in a description, and which words of a reply name its value."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class AttributeName:
    """One attribute: its display name, and for each value the words that count as naming it."""

    display: str
    values: dict[str, tuple[str, ...]] = field(default_factory=dict)
    unit: str = ""
    """Behind a number."""


LANGUAGES = {
    "zh": "Chinese",
    "cmn": "Chinese",
    "nl": "Dutch",
    "en": "English",
    "fr": "French",
    "de": "German",
    "it": "Italian",
    "ja": "Japanese",
    "ko": "Korean",
    "pl": "Polish",
    "pt": "Portuguese",
    "ru": "Russian",
    "es": "Spanish",
}
"""Names of languages by ISO 639-1 code, and by the code that FLEURS has for Mandarin."""

ATTRIBUTES: dict[str, AttributeName] = {
    "gender": AttributeName(
        "Gender",
        {"female": ("female", "woman", "girl", "lady"), "male": ("male", "man", "boy", "gentleman")},
    ),
    "age": AttributeName("Age"),
    "language": AttributeName("Language", {name: (name.lower(),) for name in LANGUAGES.values()}),
    "accent": AttributeName("Accent"),
    "emotion": AttributeName(
        "Emotion",
        {
            "neutral": ("neutral",),
            "calm": ("calm", "calmly"),
            "happy": ("happy", "happiness", "joy", "joyful"),
            "sad": ("sad", "sadness"),
            "angry": ("angry", "anger"),
            "fearful": ("fearful", "fear", "afraid", "scared"),
            "disgusted": ("disgusted", "disgust"),
            "surprised": ("surprised", "surprise"),
        },
    ),
    "pitch": AttributeName("Pitch", {"low": ("low", "lower", "deep"), "high": ("high", "higher")}),
    "volume": AttributeName("Volume", {"low": ("low", "quiet", "soft"), "high": ("high", "loud")}),
    "speaking_rate": AttributeName(
        "Speaking speed",
        {"slow": ("slow", "slowly", "slower"), "fast": ("fast", "faster", "quick", "quickly", "rapid", "rapidly")},
    ),
    "snr_db": AttributeName("Signal-to-Noise Ratio", unit="dB"),
}
"""In the order in which descriptions mention them. Attributes outside it are described too, after these."""

_MEASURES = {
    "pitch_hz": "Pitch in Hertz",
    "syllables_per_second": "Syllables per second",
    "nuclei_per_second": "Syllables heard per second",
    "volume_dbfs": "Volume in dBFS",
    "loudness_lufs": "Loudness in LUFS",
    "rt60_s": "Reverberation time in seconds",
    "silence_share": "Share of silence",
    "bandwidth_hz": "Bandwidth in Hertz",
    "clipped_share": "Share of clipped samples",
}
"""Measured numbers, with their units; no prompt asks for them."""


def display_name(attribute: str) -> str:
    """What a description calls an attribute: `speaking_rate` -> `Speaking speed`."""
    known = ATTRIBUTES.get(attribute)
    return known.display if known else _MEASURES.get(attribute) or attribute.replace("_", " ").capitalize()


def unit(attribute: str) -> str:
    """What stands behind the number in a description; nothing where the name tells, or the value is a word."""
    known = ATTRIBUTES.get(attribute)
    return known.unit if known else ""


def extract_value(attribute: str, reply: str, more: Iterable[str] = ()) -> str | None:
    """The one value of `attribute` that `reply` names in whole words, or None where it names none or several.

    Args:
        attribute: one that has a closed set of values.
        reply: in English.
        more: values that occur beside that set. Long names go first: `very low` does not name `low` as well.

    Raises:
        KeyError: the attribute has no closed set of values.
    """
    values = ATTRIBUTES[attribute].values
    if not values:
        raise KeyError(attribute)
    said = {value: (_words(value),) for value in more if value not in values} | values
    names = [(name, value) for value, ways in said.items() for name in ways]
    rest, named = f" {_words(reply)} ", set()
    for name, value in sorted(names, key=lambda pair: -len(pair[0])):
        if f" {name} " in rest:
            named.add(value)
            rest = rest.replace(f" {name} ", "  ")
    return named.pop() if len(named) == 1 else None


def _words(text: str) -> str:
    return " ".join(re.findall("[a-z]+", text.lower()))
