"""Between gold and self-output: the right answer in the LLM's own words, or its own answer where that is right."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from typing import Any

from speechllm.data.attributes import ATTRIBUTES
from speechllm.data.prompts import TRANSCRIBE
from speechllm.data.render import ask
from speechllm.targets.strategies.base import Item, Writer, Written
from speechllm.targets.strategies.gold import gold_answer, replaced_by_gold
from speechllm.targets.verify import VERIFIERS, Judge, Verifier, verify

REWRITE = (
    "Below are a question and its reference answer. Write the answer to the question in your own words, true to the"
    " reference answer. Write only the answer.\n\nQuestion: {question}\nReference answer: {gold}"
)
"""After SDFT (arXiv 2402.13669), which shows the model instruction and reference and has it answer in its own words."""


class _Checked:
    def __init__(self, *, judge: bool = False) -> None:
        self._judge = judge
        self._verifiers: tuple[Verifier, ...] = (*VERIFIERS, Judge()) if judge else VERIFIERS

    @property
    def settings(self) -> dict[str, Any]:
        """See `Strategy`."""
        return {"judge": self._judge}


class Paraphrase(_Checked):
    """The LLM rewrites the gold answer (SDFT); kept if the answer still agrees with gold, else gold."""

    name = "paraphrase"

    def write(self, items: Sequence[Item], writer: Writer) -> list[Written]:
        """See `Strategy`."""
        golds = [gold_answer(item) for item in items]
        able = [k for k, gold in enumerate(golds) if gold is not None]
        replies = writer.ask([ask(REWRITE.format(question=items[k].prompt.text, gold=golds[k])) for k in able])
        verdicts = verify([items[k] for k in able], [r.text for r in replies], writer, self._verifiers)
        written = {
            k: Written(reply.text, reply.finish_reason)
            if verdict and reply.finish_reason == "stop"
            else replaced_by_gold(items[k], "the rewritten answer no longer agrees" if verdict is False else _UNSURE)
            for k, reply, verdict in zip(able, replies, verdicts, strict=True)
        }
        return [written.get(k) or replaced_by_gold(item, "nothing to rewrite") for k, item in enumerate(items)]


_UNSURE = "the answer cannot be checked, or was cut short"


class Selective(_Checked):
    """The LLM's own answer where the verifiers accept it, else gold (selective self-rehearsal, arXiv 2409.11383)."""

    name = "selective"

    def write(self, items: Sequence[Item], writer: Writer) -> list[Written]:
        """See `Strategy`."""
        replies = writer.ask([item.described for item in items])
        verdicts = verify(items, [reply.text for reply in replies], writer, self._verifiers)
        return [
            Written(reply.text, reply.finish_reason)
            if verdict
            else replaced_by_gold(item, "wrong" if verdict is False else "cannot be checked")
            for item, reply, verdict in zip(items, replies, verdicts, strict=True)
        ]


class MinimalEdit:
    """The LLM's own answer with only its errors corrected, word by word; gold where that cannot be done."""

    name = "minimal_edit"

    @property
    def settings(self) -> dict[str, Any]:
        """See `Strategy`."""
        return {}

    def write(self, items: Sequence[Item], writer: Writer) -> list[Written]:
        """See `Strategy`."""
        replies = writer.ask([item.described for item in items])
        right = verify(items, [reply.text for reply in replies], writer)
        edited = [_edit(item, reply.text) for item, reply in zip(items, replies, strict=True)]
        mended = verify(items, [text or "" for text in edited], writer)
        written = []
        for k, (item, reply) in enumerate(zip(items, replies, strict=True)):
            text = edited[k]
            if right[k]:
                written.append(Written(reply.text, reply.finish_reason))
            elif text is not None and mended[k]:
                written.append(Written(text, reply.finish_reason, "replaced", "wrong words replaced"))
            else:
                written.append(replaced_by_gold(item, "cannot be mended" if right[k] is False else "cannot be checked"))
        return written


def _edit(item: Item, reply: str) -> str | None:
    """The reply with the words that name wrong values replaced, or with the right words in its quotation marks."""
    if item.utterance is None:
        return None
    kind = item.prompt.kind
    if kind == TRANSCRIBE:
        quoted = re.search(r'(["“])(.*)(["”])', reply, re.DOTALL)
        if quoted is None or not item.utterance.text:
            return None
        return reply[: quoted.start(2)] + item.utterance.text + reply[quoted.end(2) :]
    values = ATTRIBUTES[kind].values if kind in ATTRIBUTES else {}
    true = str(item.utterance.value(kind))
    if true not in values:
        return None
    for value, names in values.items():
        for place, name in enumerate(names if value != true else ()):
            right = values[true][min(place, len(values[true]) - 1)]
            reply = re.sub(rf"\b{name}\b", partial(_cased, right), reply, flags=re.IGNORECASE)
    return reply


def _cased(word: str, match: re.Match[str]) -> str:
    like = match[0]
    if like.isupper():
        return word.upper()
    return word.capitalize() if like[0].isupper() else word
