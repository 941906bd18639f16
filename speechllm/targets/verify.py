"""Verifiers: is a reply right? By label, word error rate, JSON schema, regular expression, or an LLM's judgement."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, Protocol

from speechllm.data.attributes import ATTRIBUTES, extract_value
from speechllm.data.bins import values_among
from speechllm.data.prompts import TRANSCRIBE
from speechllm.data.render import ask
from speechllm.data.score import word_error_rate
from speechllm.targets.strategies.base import Item, Writer
from speechllm.targets.strategies.gold import VALUES_ZH, gold_answer

Verdict = bool | None
"""None: this verifier has nothing to say about the item."""

MAX_WER = 0.1
"""A transcript with more errors a word than this is wrong."""

_FENCE = re.compile(r"^```(?:json)?\s*|\s*```$")

JUDGE = (
    "Question: {question}\nCorrect answer: {gold}\nGiven answer: {reply}\n\n"
    "Does the given answer agree with the correct one? Explain briefly and end with Result: YES or Result: NO."
)


class Verifier(Protocol):
    """Judges replies to items, in order."""

    def __call__(self, items: Sequence[Item], replies: Sequence[str], writer: Writer) -> list[Verdict]:
        """One verdict an item."""
        ...


def label_matches(items: Sequence[Item], replies: Sequence[str], writer: Writer) -> list[Verdict]:
    """The reply names the attribute's true value and no other."""
    return [_label(item, reply) for item, reply in zip(items, replies, strict=True)]


def _label(item: Item, reply: str) -> Verdict:
    kind = item.prompt.kind
    if item.utterance is None or item.utterance.value(kind) is None:
        return None
    known = ATTRIBUTES[kind].values if kind in ATTRIBUTES else {}
    value = str(item.utterance.value(kind))
    if item.prompt.language == "zh" and known:
        named = [v for v in known if VALUES_ZH.get(v, v) in reply]
        return named == [value]
    return extract_value(kind, reply, values_among(kind, [value])) == value if known else None


def words_match(items: Sequence[Item], replies: Sequence[str], writer: Writer) -> list[Verdict]:
    """The reply to a transcription prompt has a WER of at most `MAX_WER`, where the corpus has the words."""
    return [
        word_error_rate([item.utterance.text], [reply], item.utterance.language) <= MAX_WER
        if item.prompt.kind == TRANSCRIBE and item.utterance is not None and item.utterance.text
        else None
        for item, reply in zip(items, replies, strict=True)
    ]


def form_holds(items: Sequence[Item], replies: Sequence[str], writer: Writer) -> list[Verdict]:
    """The reply has the form that its prompt `expects`: a JSON schema, or a regular expression for all of it."""
    return [has_form(item.prompt.expects, reply) for item, reply in zip(items, replies, strict=True)]


def has_form(expects: dict[str, Any] | None, reply: str) -> Verdict:
    """Whether a reply is what a prompt `expects`; None where it expects nothing."""
    if not expects:
        return None
    if "regex" in expects:
        return re.fullmatch(expects["regex"], reply.strip(), re.DOTALL) is not None
    import jsonschema

    try:
        jsonschema.validate(json.loads(_FENCE.sub("", reply.strip())), expects["json_schema"])
    except (json.JSONDecodeError, jsonschema.ValidationError):
        return False
    return True


class Judge:
    """The LLM (or another, given as `writer`) decides whether the reply agrees with the gold reply.

    Dynamic-SUPERB phase 2's form: an explanation, then `Result: YES` or `Result: NO`; anything else is no.
    """

    def __init__(self, writer: Writer | None = None) -> None:
        self._writer = writer

    def __call__(self, items: Sequence[Item], replies: Sequence[str], writer: Writer) -> list[Verdict]:
        """See `Verifier`."""
        golds = [gold_answer(item) for item in items]
        asked = [k for k, gold in enumerate(golds) if gold is not None]
        questions = [ask(JUDGE.format(question=items[k].prompt.text, gold=golds[k], reply=replies[k])) for k in asked]
        found = dict(zip(asked, (self._writer or writer).ask(questions), strict=True))
        return [_yes(found[k].text) if k in found else None for k in range(len(items))]


def _yes(text: str) -> bool:
    results = re.findall(r"result:\s*(yes|no)", text.lower())
    return bool(results) and results[-1] == "yes"


VERIFIERS: tuple[Verifier, ...] = (label_matches, words_match, form_holds)
"""Those that ask no LLM."""


def verify(
    items: Sequence[Item], replies: Sequence[str], writer: Writer, verifiers: Sequence[Verifier] = VERIFIERS
) -> list[Verdict]:
    """All verifiers that have a say must agree; None where none has."""
    columns = [verifier(items, replies, writer) for verifier in verifiers]
    said = [[v for v in row if v is not None] for row in zip(*columns, strict=True)]
    return [all(row) if row else None for row in said]
