"""Seed descriptions: what the text LLM reads in place of the audio. Pure functions of an utterance and a style."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from speechllm.data.attributes import ATTRIBUTES
from speechllm.data.manifest import Attribute, Utterance
from speechllm.data.translations import LANGUAGES, WORDINGS, DescriptionLanguage, Wording
from speechllm.errors import SpeechLLMError, did_you_mean

DescriptionStyle = Literal["desta", "tags", "natural"]
STYLES: tuple[DescriptionStyle, ...] = get_args(DescriptionStyle)


@dataclass(frozen=True)
class _Part:
    """A stretch of the audio and what is told of it; `times` are its first and last second, None to leave them out."""

    times: tuple[str, str] | None
    facts: list[tuple[str, str]]
    speaker: str | None = None
    text: str | None = None
    segment: bool = False


def describe(
    utterance: Utterance,
    style: DescriptionStyle,
    attributes: Sequence[str] | None = None,
    language: DescriptionLanguage = "en",
) -> str:
    """The seed description of an utterance.

    An utterance with segments is described segment by segment, in the order of their starts: a line each in `desta`
    and `natural`, a `<segment>` each in `tags`, headed by what holds of the whole clip where anything does.

    Args:
        utterance: what is known; an attribute that it lacks is not mentioned.
        style: `desta` as DeSTA2 publishes its descriptions (`[00:00:00 - 00:00:03] text (Gender: Female)`, and
            `[00:00:00 - 00:00:03] Ann: "text" (Gender: Female)` for a segment with a speaker), `tags`
            (`<gender>female</gender><text>...</text>`) or `natural` (sentences).
        attributes: which attributes to mention, in this order; None for all. Leaving some out withholds them.
        language: of the attributes' names and values: English or Mandarin. The words spoken stay as they are.

    Raises:
        SpeechLLMError: the style or the language is not known.
    """
    writer, wording = _look_up(style, language)
    return writer(_parts(utterance, wording, attributes), wording)


def describe_attributes(
    utterance: Utterance,
    style: DescriptionStyle,
    attributes: Sequence[str] | None = None,
    language: DescriptionLanguage = "en",
) -> str:
    """The description without words, speakers' names and times: what to hear beyond the transcript."""
    writer, wording = _look_up(style, language)
    bare = [_Part(None, p.facts, segment=p.segment) for p in _parts(utterance, wording, attributes) if p.facts]
    return writer(bare, wording)


def _look_up(style: str, language: str) -> tuple[Callable[[list[_Part], Wording], str], Wording]:
    if style not in _WRITERS:
        raise SpeechLLMError(f"description style {style!r} is not known{did_you_mean(style, STYLES)}")
    if language not in LANGUAGES:
        raise SpeechLLMError(f"description language {language!r} is not known{did_you_mean(language, LANGUAGES)}")
    return _WRITERS[style], WORDINGS[language]


def _parts(utterance: Utterance, wording: Wording, attributes: Sequence[str] | None) -> list[_Part]:
    known = dict(utterance.attributes)
    if attributes is not None and "language" in attributes and (language := utterance.value("language")):
        known["language"] = language  # where asked for, the language that the transcript is in
    facts = _facts(known, wording, attributes)
    times = (_stamp(0), _stamp(max(1, round(utterance.duration))))
    if not utterance.segments:
        return [_Part(times, facts, text=utterance.text)]
    whole = [_Part(times, facts)] if facts else []
    for one in sorted(utterance.segments, key=lambda segment: (segment.start, segment.end)):
        first = round(one.start)
        spans = (_stamp(first), _stamp(max(first + 1, round(one.end))))
        told = _facts(one.attributes, wording, attributes)
        whole.append(_Part(spans, told, one.speaker, one.text, segment=True))
    return whole


def _facts(known: Mapping[str, Attribute], wording: Wording, attributes: Sequence[str] | None) -> list[tuple[str, str]]:
    if attributes is None:
        named = [name for name in ATTRIBUTES if name in known]
        attributes = named + [name for name in known if name not in ATTRIBUTES]
    return [(wording.name(name), wording.value(name, known[name])) for name in attributes if name in known]


def _stamp(seconds: int) -> str:
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


def _desta(parts: list[_Part], wording: Wording) -> str:
    lines = []
    for part in parts:
        told = ", ".join(f"{name}: {_capital(value)}" for name, value in part.facts)
        text = f'{part.speaker}: "{part.text or ""}"' if part.speaker else part.text
        pieces = (f"[{' - '.join(part.times)}]" if part.times else "", text, f"({told})" if told else "")
        lines.append(" ".join(piece for piece in pieces if piece))
    return "\n".join(lines)


def _tags(parts: list[_Part], wording: Wording) -> str:
    written = []
    for part in parts:
        pairs = [(name.lower(), value) for name, value in part.facts]
        if part.segment and part.times:
            pairs.insert(0, (_tag("time", wording), " - ".join(part.times)))
        if part.speaker:
            pairs.insert(1, (_tag("speaker", wording), part.speaker))
        if part.text:
            pairs.append((_tag("text", wording), part.text))
        inner = "".join(f"<{name}>{value}</{name}>" for name, value in pairs)
        tag = _tag("segment", wording)
        written.append(f"<{tag}>{inner}</{tag}>" if part.segment else inner)
    return "".join(written)


def _natural(parts: list[_Part], wording: Wording) -> str:
    lines = []
    for part in parts:
        speaker = part.speaker or wording.someone
        clauses = [wording.fact.format(name=name.lower(), value=value, speaker=speaker) for name, value in part.facts]
        comma, last = wording.lists
        told = comma.join(clauses[:-1]) + (last if len(clauses) > 1 else "") + clauses[-1] if clauses else ""
        sentences = [f"{_capital(told)}{wording.stop}" if told else ""]
        if part.text:
            sentences.append(_capital(wording.says.format(speaker=speaker, text=part.text)))
        if part.segment and part.times:
            sentences.insert(0, wording.span.format(start=part.times[0], end=part.times[1]))
        lines.append(wording.between.join(sentence for sentence in sentences if sentence))
    return "\n".join(lines)


def _capital(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}"


def _tag(name: str, wording: Wording) -> str:
    return wording.markup.get(name, name)


_WRITERS: dict[str, Callable[[list[_Part], Wording], str]] = {"desta": _desta, "tags": _tags, "natural": _natural}
