"""Seed descriptions: what the text LLM reads in place of the audio. Pure functions of an utterance and a style."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, get_args

from speechllm.data.attributes import ATTRIBUTES, display_name
from speechllm.data.manifest import Utterance
from speechllm.errors import SpeechLLMError, did_you_mean

DescriptionStyle = Literal["desta", "tags", "natural"]
STYLES: tuple[DescriptionStyle, ...] = get_args(DescriptionStyle)


def describe(utterance: Utterance, style: DescriptionStyle, attributes: Sequence[str] | None = None) -> str:
    """The seed description of an utterance.

    Args:
        utterance: what is known; an attribute that it lacks is not mentioned.
        style: `desta` as DeSTA2 publishes its descriptions (`[00:00:00 - 00:00:03] text (Gender: Female)`), `tags`
            (`<gender>female</gender><text>...</text>`) or `natural` (sentences).
        attributes: which attributes to mention, in this order; None for all. Leaving some out withholds them.
    """
    if style not in _WRITERS:
        raise SpeechLLMError(f"description style {style!r} is not known{did_you_mean(style, STYLES)}")
    return _WRITERS[style](utterance, _facts(utterance, attributes))


def describe_attributes(utterance: Utterance, style: DescriptionStyle, attributes: Sequence[str] | None = None) -> str:
    """The description without the words spoken and without times: what an adapter has to hear beyond the transcript."""
    return (
        describe(utterance.model_copy(update={"text": None}), style, attributes).removeprefix(_times(utterance)).strip()
    )


def _facts(utterance: Utterance, attributes: Sequence[str] | None) -> list[tuple[str, str]]:
    if attributes is None:
        known = [name for name in ATTRIBUTES if name in utterance.attributes]
        attributes = known + [name for name in utterance.attributes if name not in ATTRIBUTES]
    values = ((name, utterance.value(name)) for name in attributes)
    return [(display_name(name), str(value)) for name, value in values if value is not None]


def _times(utterance: Utterance) -> str:
    seconds = max(1, round(utterance.duration))
    return f"[00:00:00 - {seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}]"


def _desta(utterance: Utterance, facts: list[tuple[str, str]]) -> str:
    told = ", ".join(f"{name}: {value[:1].upper()}{value[1:]}" for name, value in facts)
    parts = (_times(utterance), utterance.text, f"({told})" if told else "")
    return " ".join(part for part in parts if part)


def _tags(utterance: Utterance, facts: list[tuple[str, str]]) -> str:
    pairs = [(name.lower(), value) for name, value in facts]
    if utterance.text:
        pairs.append(("text", utterance.text))
    return "".join(f"<{name}>{value}</{name}>" for name, value in pairs)


def _natural(utterance: Utterance, facts: list[tuple[str, str]]) -> str:
    clauses = [f"the {name.lower()} of the speaker is {value}" for name, value in facts]
    told = ", ".join(clauses[:-1]) + (" and " if len(clauses) > 1 else "") + clauses[-1] if clauses else ""
    sentences = [f"{told[0].upper()}{told[1:]}." if told else ""]
    if utterance.text:
        sentences.append(f'The speaker says: "{utterance.text}"')
    return " ".join(sentence for sentence in sentences if sentence)


_WRITERS: dict[str, Callable[[Utterance, list[tuple[str, str]]], str]] = {
    "desta": _desta,
    "tags": _tags,
    "natural": _natural,
}
