"""What the LLM could do before, kept alive by text alone: real instructions mixed in, or ones that it writes itself."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from whisper_normalizer.basic import BasicTextNormalizer

from speechllm.data.jsonl import text_lines
from speechllm.data.prompts import Prompt
from speechllm.data.render import PromptRenderer, ask
from speechllm.errors import SpeechLLMError
from speechllm.models.reply import Sampling
from speechllm.targets.strategies.base import Item, Writer, Written
from speechllm.targets.strategies.gold import CORPUS

INSTRUCTION_TOKENS = 64
"""Longest instruction that the LLM may write for itself."""

SHORTEST = 3
"""Words of an instruction; fewer ask for nothing."""


class ExperienceReplay:
    """Real text instructions with their own replies; the items carry both (`read_instructions`)."""

    name = "experience_replay"

    @property
    def settings(self) -> dict[str, Any]:
        """See `Strategy`."""
        return {}

    def write(self, items: Sequence[Item], writer: Writer) -> list[Written]:
        """See `Strategy`; no LLM is asked."""
        return [
            Written(item.gold, generator=CORPUS) if item.gold else Written("", outcome="dropped", reason="no reply")
            for item in items
        ]


class PseudoReplay:
    """The LLM writes instructions, then replies to them.

    Args:
        before_user: the template up to where a user begins to write. Given it alone, the LLM writes what users ask
            (Magpie, arXiv 2406.08464; temperature 1). Not needed with `shots`.
        shots: instructions shown to the LLM, which writes one more (self-synthesised rehearsal, arXiv 2403.01244;
            temperature .9, top_p .6), two at a time.
        seen: instructions that must not come again.
    """

    name = "pseudo_replay"

    def __init__(self, before_user: str = "", shots: Sequence[str] = (), seen: Sequence[str] = ()) -> None:
        if not before_user and len(shots) < 2:
            raise SpeechLLMError("pseudo_replay: give the LLM's template or at least two example instructions")
        self._before_user = before_user
        self._shots = list(shots)
        self._seen = {normalised(text) for text in seen}

    @property
    def settings(self) -> dict[str, Any]:
        """See `Strategy`."""
        return {"before_user": self._before_user, "shots": self._shots, "seen": sorted(self._seen)}

    def write(self, items: Sequence[Item], writer: Writer) -> list[Written]:
        """See `Strategy`. Instructions that repeat another of the same call, or are cut short or empty, are dropped."""
        asked = self._instructions(len(items), writer)
        known = set(self._seen)
        reasons: list[str] = []
        for text, complete in asked:
            words = normalised(text)
            short = len(words.split()) < SHORTEST and len(text) < 2 * SHORTEST
            reasons.append(
                "the instruction is cut short"
                if not complete
                else "the instruction is empty"
                if short
                else "the instruction stands there already"
                if words in known
                else ""
            )
            known.add(words)
        good = [k for k, reason in enumerate(reasons) if not reason]
        replies = dict(zip(good, writer.ask([ask(asked[k][0]) for k in good]), strict=True))
        return [
            Written(replies[k].text, replies[k].finish_reason, messages=ask(asked[k][0]))
            if k in replies
            else Written(asked[k][0], outcome="dropped", reason=reasons[k])
            for k in range(len(items))
        ]

    def _instructions(self, n: int, writer: Writer) -> list[tuple[str, bool]]:
        """Instructions, each with whether the LLM ended it itself."""
        seed = writer.sampling.seed
        if self._shots:
            sampling = Sampling(INSTRUCTION_TOKENS, temperature=0.9, top_p=0.6, seed=seed)
            pairs = [
                (self._shots[(2 * k) % len(self._shots)], self._shots[(2 * k + 1) % len(self._shots)]) for k in range(n)
            ]
            told = [
                f"Instruction: {a}\nInstruction: {b}\nWrite one more instruction, of another kind." for a, b in pairs
            ]
            replies = writer.ask([ask(text) for text in told], sampling)
        else:
            sampling = Sampling(INSTRUCTION_TOKENS, temperature=1.0, seed=seed)
            replies = writer.complete([self._before_user] * n, sampling)
        return [(r.text.strip().removeprefix("Instruction:").strip(), r.finish_reason == "stop") for r in replies]


_normalise = BasicTextNormalizer()


def normalised(text: str) -> str:
    """Lower case without punctuation: two instructions that agree in it are the same."""
    return str(_normalise(text)).strip()


def before_user(renderer: PromptRenderer) -> str:
    """What an LLM's template writes before a user's words: the prefix that Magpie lets it go on from."""
    mark = "speechllmuser"
    return renderer.prompt(ask(mark)).partition(mark)[0]


def read_instructions(path: Path) -> list[Item]:
    """Text instructions with replies: JSON Lines with `prompt` (or `instruction`) and `response`.

    Raises:
        SpeechLLMError: names the file and the line.
    """
    items = []
    try:
        lines = text_lines(Path(path))
    except (OSError, UnicodeDecodeError) as error:
        raise SpeechLLMError(f"{path}: cannot be read ({error})") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            prompt, response = row.get("prompt") or row["instruction"], row["response"]
            kept = Prompt(id=str(row.get("id", number)), kind="text", text=prompt, system=row.get("system"))
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise SpeechLLMError(
                f'{path}:{number}: expected {{"prompt": ..., "response": ...}} with text in both ({error})'
            ) from error
        items.append(Item(id=f"text/{kept.id}", prompt=kept, gold=str(response)))
    return items


def cycled(items: Sequence[Item], n: int) -> list[Item]:
    """`n` items; from the start again, with an id of their own, where there are fewer."""
    turns = [(items[k % len(items)], k // len(items)) for k in range(n)] if items else []
    return [item if not turn else replace(item, id=f"{item.id}/{turn}") for item, turn in turns]


def blank_items(n: int) -> list[Item]:
    """Places for `n` instructions that the LLM has yet to write."""
    prompt = Prompt(id="own", kind="text", text="(written by the LLM)")
    return [Item(id=f"pseudo/{k}", prompt=prompt) for k in range(n)]
