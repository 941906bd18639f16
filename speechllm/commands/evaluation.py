"""Evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from speechllm.commands.arguments import Checkpoint, Positional

BenchmarkName = Annotated[str, Positional, tyro.conf.arg(metavar="BENCHMARK")]
Responses = Annotated[tuple[Path, ...], Positional, tyro.conf.arg(metavar="RESPONSES...")]


def evaluate(
    checkpoint: Checkpoint,
    manifest: Path,
    prompts: Path,
    out: Path,
    attributes: tuple[str, ...] = ("gender", "pitch", "speaking_rate"),
    max_new_tokens: int = 32,
    device: str = "auto",
) -> None:
    """Measures what a checkpoint hears, beside ceiling, cascade and chance, and what is left of the text LLM.

    Args:
        checkpoint: Adapter checkpoint: local folder or Hugging Face id.
        manifest: Labelled utterances that were not trained on, with recognised text if the model takes it.
        prompts: Prompts file; the first prompt of each kind is asked.
        out: Folder for results.json and answers.jsonl.
        attributes: Attributes that the ceiling's descriptions mention.
        max_new_tokens: Longest reply.
        device: auto, cpu, cuda, ...
    """
    from speechllm import stages
    from speechllm.eval.table import print_table

    results, _ = stages.evaluate(
        checkpoint,
        manifest,
        prompts,
        out,
        attributes=attributes,
        device=device,
        max_new_tokens=max_new_tokens,
    )
    print_table(results)


def score(
    benchmark: BenchmarkName,
    responses: Responses,
    out: Path,
    questions: tuple[Path, ...] = (),
    judge: str = "none",
    server: str | None = None,
    reference: Path | None = None,
) -> None:
    """Scores stored responses by a benchmark's own rules: prints the official metrics as one JSON object.

    Args:
        benchmark: mmau, mmar, ifeval, speech_ifeval, dynamic_superb, dynamic_superb_phase2, sakura, air_bench (its
            foundation part) or voicebench.
        responses: The benchmark's own response files, as published.
        out: Folder for scores.json and rows.jsonl, each row with its verdict and the reason.
        questions: Files of questions, where a benchmark keeps them apart; they show which responses are missing.
        judge: Who decides where no rule does: none, rules (needs no LLM), or the reference of an LLM.
        server: Base URL of an OpenAI-compatible server that runs the judge, which then is the server's model name.
        reference: scores.json of the untouched text LLM, for Speech-IFEval's forgetting rate.
    """
    import json

    from speechllm.eval.benchmarks import registry
    from speechllm.eval.benchmarks.benchmark import Inputs
    from speechllm.eval.judges import load_judge

    registry.find(benchmark)
    inputs = Inputs(responses, questions, load_judge(judge, server), reference)
    print(json.dumps(registry.score(benchmark, inputs, out), indent=2, ensure_ascii=False))
