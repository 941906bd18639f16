"""Prompts and targets."""

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
    from rich.table import Table

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
    )
    table = Table("kind", "faithful", "n", "style", "prompt", "a reply")
    for s in scored:
        table.add_row(s.prompt.kind, f"{s.score:.0%}", str(s.n), s.prompt.style, s.prompt.text, s.example)
    Console().print(table)
    print(f"{out}: the prompts kept")


def targets(
    manifest: Manifest,
    out: Out,
    prompts: Path,
    llm: str = "pypi:smollm2-135m-instruct",
    attributes: tuple[str, ...] = ("gender", "pitch", "speaking_rate"),
    per_utterance: int = 1,
    max_new_tokens: int = 64,
    temperature: float = 0.0,
    top_p: float = 1.0,
    batch_size: int = 64,
    seed: int = 0,
) -> None:
    """Writes self-output targets: the LLM's own replies to prompts about the described audio.

    Args:
        manifest: Utterance manifest (JSON Lines).
        out: Targets file to write (JSON Lines).
        prompts: Prompts file, such as `speechllm prompts search` writes.
        llm: Model reference of the LLM; the one that the adapter will be trained for.
        attributes: Attributes that the descriptions mention.
        per_utterance: Prompts for each utterance.
        max_new_tokens: Longest reply; one that is cut there does not teach an end of turn.
        temperature: 0 is greedy.
        top_p: Nucleus sampling.
        batch_size: Replies written at once.
        seed: Of the choice of prompts and of sampling.
    """
    from speechllm import stages
    from speechllm.data.manifest import read_manifest
    from speechllm.data.prompts import read_prompts
    from speechllm.models.reply import Sampling

    records = stages.write_targets(
        read_manifest(manifest),
        read_prompts(prompts),
        stages.load_text_llm(llm, batch_size=batch_size),
        out,
        attributes=attributes,
        per_utterance=per_utterance,
        sampling=Sampling(max_new_tokens, temperature, top_p, seed),
        seed=seed,
    )
    print(f"{out}: {len(records)} targets, {sum(r.finish_reason == 'length' for r in records)} cut short")
