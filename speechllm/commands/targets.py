"""Targets: generate, inspect, and rows of DeSTA's form."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from speechllm.commands.arguments import Manifest, Out, Positional
from speechllm.config import TargetsConfig

DEFAULTS = TargetsConfig()

Targets = Annotated[Path, Positional, tyro.conf.arg(metavar="TARGETS")]


def targets_generate(
    manifest: Manifest,
    out: Out,
    prompts: Path,
    config: TargetsConfig = DEFAULTS,
    dry_run: bool = False,
) -> None:
    """Writes targets: what the LLM itself, the corpus, or both together reply to prompts about the described audio.

    Killed and started again, it goes on where it was. What became of every reply is in OUT.report.json.

    Args:
        manifest: Utterance manifest (JSON Lines).
        out: Targets file to write (JSON Lines).
        prompts: Prompts file, such as `speechllm prompts search` writes.
        config: Who writes the replies, and how.
        dry_run: Write nothing; show three prompts as the LLM would read them, and what the job costs.
    """
    from speechllm.data.manifest import read_manifest
    from speechllm.data.prompts import read_prompts
    from speechllm.targets import generation

    job = generation.Job(read_manifest(manifest), read_prompts(prompts), config)
    if dry_run:
        print(generation.preview(job))
        return
    records = generation.run(job, out)
    print(f"{out}: {len(records)} targets, {sum(r.finish_reason == 'length' for r in records)} cut short")


def targets_inspect(
    targets: Annotated[tuple[Path, ...], Positional, tyro.conf.arg(metavar="TARGETS...")],
    html: Path | None = None,
    llm: str | None = None,
) -> None:
    """Shows targets: what became of the replies, by prompt too, lengths, finish reasons, filter verdicts, records.

    Args:
        targets: Targets files (JSON Lines), shown together.
        html: Page to write, with all counts and the first records.
        llm: Model reference of an LLM that reads the replies: how much does each strategy's surprise it?
    """
    from rich.console import Console

    from speechllm import stages
    from speechllm.errors import SpeechLLMError
    from speechllm.targets.inspection import (
        dropped_by_prompt,
        fates_by_strategy,
        inspect_targets,
        surprisal_by_strategy,
        write_page,
    )
    from speechllm.targets.records import read_targets
    from speechllm.targets.report import read_report

    if not targets:
        raise SpeechLLMError("give at least one targets file")
    records = [record for path in targets for record in read_targets(path)]
    reports = [report for path in targets if (report := read_report(path)) is not None]
    if reports:
        Console().print(fates_by_strategy(reports).rich())
        if (by_prompt := dropped_by_prompt(reports)).rows:
            Console().print(by_prompt.rich())
    if llm is not None:
        Console().print(surprisal_by_strategy(records, stages.load_surprisal(llm)).rich())
    for table in inspect_targets(records):
        Console().print(table.rich())
    if html is not None:
        write_page(html, records, ", ".join(path.name for path in targets))
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
