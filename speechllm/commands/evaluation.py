"""Evaluation."""

from __future__ import annotations

from pathlib import Path

from speechllm.commands.arguments import Checkpoint
from speechllm.config import EvaluationConfig

DEFAULTS = EvaluationConfig()


def evaluate(
    checkpoint: Checkpoint,
    out: Path,
    tasks: tuple[str, ...] = (),
    data: Path | None = None,
    manifest: Path | None = None,
    prompts: Path | None = None,
    config: EvaluationConfig = DEFAULTS,
) -> None:
    """Measures what a checkpoint hears, beside ceiling, cascade and chance, and what is left of the text LLM.

    Every reply is kept in OUT/responses; stopped and started again, it goes on where it was.

    Args:
        checkpoint: Adapter checkpoint: local folder or Hugging Face id.
        out: Folder for the replies and results.json.
        tasks: Tasks by name, such as `sakura` or `sakura.emotion.open`, or TOML files of your own.
        data: Folder of the benchmarks that the tasks need.
        manifest: Labelled utterances that were not trained on: a task for each prompt.
        prompts: Prompts file; the first prompt of each kind is asked. Without it, the package's own.
        config: How to ask.
    """
    from speechllm.data.prompts import read_prompts
    from speechllm.errors import SpeechLLMError
    from speechllm.eval.evaluation import evaluate as run
    from speechllm.eval.sources import find_tasks, manifest_tasks, with_prompts
    from speechllm.eval.table import print_table

    found = find_tasks(tasks, data)
    if prompts is not None:
        found = with_prompts(found, read_prompts(prompts))
    if manifest is not None:
        found += manifest_tasks(manifest, prompts)
    if not found:
        raise SpeechLLMError("nothing to ask; give --manifest, or --tasks with --data")
    print_table(run(checkpoint, found, out, config).results)
