"""Prompts that an LLM answers faithfully."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from speechllm.commands.arguments import Manifest, Out


def prompts_search(
    manifest: Manifest,
    out: Out,
    llm: str = "pypi:smollm2-135m-instruct",
    pool: Path | None = None,
    attributes: tuple[str, ...] = ("gender", "pitch", "speaking_rate"),
    styles: tuple[Literal["desta", "tags", "natural"], ...] = ("desta", "tags", "natural"),
    systems: tuple[str, ...] = ("Focus on the audio and the instruction.",),
    first_round: int = 8,
    second_round: int = 32,
    seed: int = 0,
) -> None:
    """Scores prompt x description style x system prompt for an LLM and writes the prompts that it answers faithfully.

    Args:
        manifest: Utterance manifest with text and attributes.
        out: Prompts file to write (JSON Lines).
        llm: Model reference of the LLM.
        pool: Prompts file with candidates; the built-in prompts where left out.
        attributes: Attributes that descriptions mention and prompts ask for.
        styles: Description styles to try.
        systems: System prompts to try.
        first_round: Utterances on which every candidate is tried.
        second_round: Utterances on which the best are tried.
        seed: Of the sample.
    """
    from rich.console import Console
    from rich.table import Column, Table

    from speechllm import stages
    from speechllm.data.manifest import read_manifest
    from speechllm.data.prompts import read_prompts

    scored = stages.find_prompts(
        read_manifest(manifest),
        stages.load_text_llm(llm),
        out,
        attributes=attributes,
        pool=read_prompts(pool) if pool else None,
        styles=styles,
        systems=systems,
        first_round=first_round,
        second_round=second_round,
        seed=seed,
        surprisal=True,
    )
    shares = ("refusal", "echo", "copy", "truncated")
    columns = ("faithful", "n", "faults", "distinct-2", "surprisal", "style", "prompt", "a reply")
    table = Table(Column("kind", no_wrap=True), *columns)
    for s in scored:
        faults = ", ".join(f"{name} {getattr(s, name):.0%}" for name in shares if getattr(s, name))
        varied = [f"{s.distinct_2:.2f}", "-" if s.surprisal is None else f"{s.surprisal:.2f}"]
        told = [s.prompt.style, s.prompt.text, s.example]
        table.add_row(s.prompt.kind, f"{s.score:.0%}", str(s.n), faults, *varied, *told)
    Console().print(table)
    print(f"{out}: the prompts kept")
