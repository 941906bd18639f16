"""Built-in text instructions, to see whether a model that learns to hear still does what it did on text."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from importlib import resources
from typing import Literal

Size = Literal["quick", "full"]

QUICK = 16
"""Instructions of the quick form, of all kinds in turn."""


@dataclass(frozen=True)
class Instruction:
    """A text instruction; its kind is facts, arithmetic, rewriting, lists, json, harm or writing."""

    id: str
    kind: str
    text: str


def instructions(size: Size) -> list[Instruction]:
    """The built-in text instructions: all 210, or a few of every kind."""
    lines = resources.files("speechllm.data").joinpath("instructions.jsonl").read_text(encoding="utf-8").splitlines()
    everything = [Instruction(**json.loads(line)) for line in lines]
    if size == "full":
        return everything
    by_kind: dict[str, list[Instruction]] = defaultdict(list)
    for instruction in everything:
        by_kind[instruction.kind].append(instruction)
    turns = [group[k] for k in range(QUICK) for group in by_kind.values() if k < len(group)]
    return turns[:QUICK]
