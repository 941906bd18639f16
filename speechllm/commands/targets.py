"""Targets: generate, inspect, and rows of DeSTA's form."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from speechllm.commands.arguments import Manifest, Out, Positional

Targets = Annotated[Path, Positional, tyro.conf.arg(metavar="TARGETS")]


def targets_generate(
    manifest: Manifest,
    out: Out,
    prompts: Path,
    llm: str = "pypi:smollm2-135m-instruct",
    strategies: tuple[str, ...] = ("self_output",),
    attributes: tuple[str, ...] = ("gender", "pitch", "speaking_rate"),
    per_utterance: int = 1,
    max_new_tokens: int = 64,
    temperature: float = 0.0,
    top_p: float = 1.0,
    batch_size: int = 64,
    seed: int = 0,
    server: str | None = None,
    vllm: bool = False,
    other_llm: str | None = None,
    instructions: Path | None = None,
    judge: bool = False,
    mask_above: float | None = None,
    dry_run: bool = False,
) -> None:
    """Writes targets: what the LLM itself, the corpus, or both together reply to prompts about the described audio.

    Killed and started again, it goes on where it was. What became of every reply is in OUT.report.json.

    Args:
        manifest: Utterance manifest (JSON Lines).
        out: Targets file to write (JSON Lines).
        prompts: Prompts file, such as `speechllm prompts search` writes.
        llm: Model reference of the LLM; the one that the adapter will be trained for. With --server, its name there.
        strategies: Who writes the replies, mixed by weight: NAME or NAME=WEIGHT each. Over audio: self_output,
            self_output_bare, self_output_continuation, gold, paraphrase, selective, minimal_edit, cross_model; on top,
            as a share of those: experience_replay, pseudo_replay.
        attributes: Attributes that the descriptions mention.
        per_utterance: Prompts for each utterance.
        max_new_tokens: Longest reply; one that is cut there does not teach an end of turn.
        temperature: 0 is greedy.
        top_p: Nucleus sampling.
        batch_size: Replies written at once; requests under way at once with --server.
        seed: Of the choice of prompts and of sampling.
        server: Base URL of an OpenAI-compatible server that runs the LLM.
        vllm: Run the LLM in vLLM.
        other_llm: Model reference of the LLM that `cross_model` asks.
        instructions: Text instructions with replies (JSON Lines: prompt, response): what `experience_replay` mixes in
            and, where given, what `pseudo_replay` shows to the LLM.
        judge: `paraphrase` and `selective` ask the LLM too whether an answer is right.
        mask_above: Mask reply tokens whose perplexity under the LLM is higher; 2.5 is usual.
        dry_run: Write nothing; show three prompts as the LLM would read them, and what the job costs.
    """
    from speechllm.data.manifest import read_manifest
    from speechllm.data.prompts import read_prompts
    from speechllm.models.reply import Sampling
    from speechllm.targets import generation

    job = generation.Job(
        utterances=read_manifest(manifest),
        prompts=read_prompts(prompts),
        llm=llm,
        strategies=strategies,
        sampling=Sampling(max_new_tokens, temperature, top_p, seed),
        attributes=attributes,
        per_utterance=per_utterance,
        batch_size=batch_size,
        server=server,
        vllm=vllm,
        other_llm=other_llm,
        instructions=instructions,
        judge=judge,
        mask_above=mask_above,
    )
    if dry_run:
        print(generation.preview(job))
        return
    records = generation.run(job, out)
    print(f"{out}: {len(records)} targets, {sum(r.finish_reason == 'length' for r in records)} cut short")


def targets_inspect(targets: Targets, html: Path | None = None) -> None:
    """Shows a targets file: prompts, lengths, finish reasons, filter verdicts, and a few records.

    Args:
        targets: Targets file (JSON Lines).
        html: Page to write, with all counts and the first records.
    """
    from rich.console import Console

    from speechllm.targets.inspection import inspect_targets, write_page
    from speechllm.targets.records import read_targets

    records = read_targets(targets)
    for table in inspect_targets(records):
        Console().print(table.rich())
    if html is not None:
        write_page(html, records, str(targets.name))
        print(f"{html}: the page")


def targets_to_desta(targets: Targets, out: Out) -> None:
    """Writes targets as rows of DeSTA-AQA5M's form.

    Args:
        targets: Targets file (JSON Lines).
        out: Rows to write (JSON Lines).
    """
    from speechllm.targets.desta import write_desta
    from speechllm.targets.records import read_targets

    print(f"{out}: {write_desta(out, read_targets(targets))} rows")


def targets_from_desta(rows: Targets, out: Out) -> None:
    """Writes rows of DeSTA-AQA5M's form as targets.

    Args:
        rows: Rows (JSON Lines) with id, dataset, seed_description, prompt, response and messages.
        out: Targets file to write (JSON Lines).
    """
    from speechllm.data.jsonl import write_jsonl
    from speechllm.targets.desta import read_desta

    print(f"{out}: {write_jsonl(out, read_desta(rows))} targets")
