"""Evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from speechllm.commands.arguments import Checkpoint, Positional
from speechllm.config import EvaluationConfig

DEFAULTS = EvaluationConfig()

BenchmarkName = Annotated[str, Positional, tyro.conf.arg(metavar="BENCHMARK")]
Responses = Annotated[tuple[Path, ...], Positional, tyro.conf.arg(metavar="RESPONSES...")]
EvaluationFolders = Annotated[tuple[Path, ...], Positional, tyro.conf.arg(metavar="DIR...")]


def evaluate(
    checkpoint: Checkpoint,
    out: Path,
    tasks: tuple[str, ...] = (),
    data: Path | None = None,
    manifest: Path | None = None,
    prompts: Path | None = None,
    targets: Path | None = None,
    server: str | None = None,
    llm: str | None = None,
    encoder: str | None = None,
    config: EvaluationConfig = DEFAULTS,
) -> None:
    """Measures what a checkpoint hears, beside ceiling, cascade and chance, and what is left of the text LLM.

    Every reply is kept in OUT/responses; stopped and started again, it goes on where it was.

    Args:
        checkpoint: Adapter checkpoint: local folder or Hugging Face id.
        out: Folder for the replies and results.json.
        tasks: Tasks by name, or TOML files of your own, about a manifest, a JSON-lines file or a dataset. sakura, mmau,
            dynamic_superb, dynamic_superb_phase2, speech_ifeval, ifeval (text alone), air_bench (its foundation part)
            and voicebench (what rules score) are benchmarks; `sakura.emotion.open` is one of the tasks of one.
            superb_style asks about a manifest, given with --data, in the manner of Dynamic-SUPERB.
        data: Folder of the benchmarks that the tasks need.
        manifest: Labelled utterances that were not trained on: a task for each prompt.
        prompts: Prompts file; the first prompt of each kind is asked. Without it, the package's own.
        targets: Targets about the manifest: how far is what the LLM predicts after hearing from what it does reading?
        server: Base URL of an OpenAI-compatible server that takes audio; CHECKPOINT is the model's name there.
        llm: With --server, model reference of the text LLM that reads descriptions (ceiling) and the recogniser's words
            (cascade). Without it the server itself is asked, without audio.
        encoder: With --server, model reference of the Whisper that the cascade hears with, where the manifest has no
            recognised text; pypi:whisper-tiny.en if left out.
        config: How to ask.
    """
    from speechllm.errors import SpeechLLMError
    from speechllm.eval.evaluation import RECOGNISER, Served, evaluate_served
    from speechllm.eval.evaluation import evaluate as run
    from speechllm.eval.official_table import print_official
    from speechllm.eval.sources import asked_for
    from speechllm.eval.table import print_table
    from speechllm.targets.records import read_about

    if server is None and (llm or encoder):
        raise SpeechLLMError("--llm and --encoder stand beside a served model; give --server, or leave them out")
    if server is not None and targets is not None:
        raise SpeechLLMError("--targets needs the model's predictions, which no server tells; leave it out")
    if server is not None and config.retention == "full":
        raise SpeechLLMError("--retention full compares weights at hand on text, which no server has; leave it out")
    found = asked_for(tasks, data, manifest, prompts)
    if server is not None:
        evaluated = evaluate_served(Served(checkpoint, server, llm, encoder or RECOGNISER), found, out, config)
    else:
        evaluated = run(checkpoint, found, out, config, read_about(manifest, targets))
    print_table(evaluated.results)
    print_official(evaluated.results)


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


def report(folders: EvaluationFolders, out: Path) -> None:
    """Shows evaluations side by side, such as several runs or the checkpoints of one, and the course of training.

    A page with audio players that needs nothing else.

    Args:
        folders: What `speechllm eval --out` wrote, in the order to show: each is compared with the first on the same
            questions (McNemar), and from three on, values are drawn over the order. And folders of `speechllm train`,
            under way or done: curves of loss and validation, and what was said.
        out: The HTML page (FILE.html); FILE.md and FILE.json beside it say the same.
    """
    from speechllm.eval.comparison_report import write_comparison

    for path in write_comparison(folders, out):
        print(path)
