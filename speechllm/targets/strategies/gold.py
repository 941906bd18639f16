"""The corpus's labels and transcripts as replies (supervised fine-tuning).

An attribute is answered with its bare value and speech with its bare transcript, as the labels of benchmarks and of
instruction-tuning corpora do (Dynamic-SUPERB, arXiv 2309.09510): the wording that a model is known to forget under.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from speechllm.data.prompts import TRANSCRIBE
from speechllm.targets.strategies.base import Item, Writer, Written

CORPUS = ("corpus", "")
"""Who wrote a gold reply."""

VALUES_ZH = {
    "female": "女性",
    "male": "男性",
    "low": "低",
    "high": "高",
    "slow": "慢",
    "fast": "快",
    "happy": "高兴",
    "sad": "悲伤",
    "angry": "生气",
    "neutral": "平静",
}


def gold_answer(item: Item) -> str | None:
    """The right reply: given with the item, the transcript, or the attribute's value; None if unknown."""
    if item.gold is not None:
        return item.gold
    if item.utterance is None:
        return None
    kind = item.prompt.kind
    if kind == TRANSCRIBE:
        return item.utterance.text
    known = item.utterance.value(kind)
    if known is None:
        return None
    value = str(known)
    return VALUES_ZH.get(value, value) if item.prompt.language == "zh" else value


def replaced_by_gold(item: Item, reason: str) -> Written:
    """The gold reply in place of one that failed; dropped where there is none."""
    gold = gold_answer(item)
    if gold is None:
        return Written("", outcome="dropped", reason=f"{reason}, and there is no gold reply")
    return Written(gold, outcome="replaced", reason=reason, generator=CORPUS)


class Gold:
    """The corpus's own answer; items that it has none for are dropped."""

    name = "gold"

    @property
    def settings(self) -> dict[str, Any]:
        """See `Strategy`."""
        return {}

    def write(self, items: Sequence[Item], writer: Writer) -> list[Written]:
        """See `Strategy`; no LLM is asked."""
        return [_kept(item) for item in items]


def _kept(item: Item) -> Written:
    gold = gold_answer(item)
    if gold is None:
        return Written("", outcome="dropped", reason=f"no gold reply to prompts of kind {item.prompt.kind}")
    return Written(gold, generator=CORPUS)
