"""Evaluation."""

from __future__ import annotations

from pathlib import Path

from speechllm.commands.arguments import Checkpoint


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
