"""The whole loop on real models in minutes: chains the stages and shows what came out."""

from __future__ import annotations

import json
import os
import platform
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers

from speechllm import __version__, hub, progress, stages
from speechllm.config import DataConfig, EvaluationConfig, ModelConfig, QuickstartConfig, StageConfig, TrainConfig
from speechllm.data.describe import DescriptionStyle
from speechllm.data.json_file import write_json
from speechllm.data.jsonl import text_lines
from speechllm.data.manifest import Utterance, read_manifest
from speechllm.data.prompts import TRANSCRIBE, Prompt, built_in_prompts, read_prompts
from speechllm.data.synthetic import make_corpus
from speechllm.eval.asking import CEILING, MODEL
from speechllm.eval.evaluation import evaluate
from speechllm.eval.hearing import Answers
from speechllm.eval.report import Answer, Clip, write_report
from speechllm.eval.sources import manifest_tasks
from speechllm.eval.table import print_table
from speechllm.models.reply import Sampling
from speechllm.targets.search import Scored
from speechllm.train.loop import train
from speechllm.train.run import LOG

ATTRIBUTES = ["gender", "pitch", "speaking_rate"]
STYLE: DescriptionStyle = "natural"
"""Of descriptions that are asked about attributes, and so of the warm-up: what the vectors learn to read like."""
TRANSCRIBE_STYLE: DescriptionStyle = "tags"
"""Of descriptions that are asked for their words, which this style sets apart best."""


def quickstart(out: Path, config: QuickstartConfig) -> dict[str, Any]:
    """Runs all stages into the folder `out`; returns what it writes to `results.json`."""
    seconds: dict[str, float] = {}
    with progress.display():
        with timed(seconds, "fetch models"):
            for reference in (config.encoder, config.llm):
                hub.resolve(reference)
        with timed(seconds, "make corpus"):
            made = make_corpus(
                out / "corpus", num_train=config.train_clips, num_test=config.test_clips, seed=config.seed
            )
        manifests = [out / "train.jsonl", out / "test.jsonl"]
        with timed(seconds, "recognise speech"):
            train_set, _ = [stages.recognise(a, b, config.encoder) for a, b in zip(made, manifests, strict=True)]
        llm = stages.load_text_llm(config.llm)
        with timed(seconds, "search prompts"):
            scored = stages.find_prompts(
                train_set,
                llm,
                out / "prompts.jsonl",
                attributes=ATTRIBUTES,
                pool=prompt_pool(config),
                first_round=config.search[0],
                second_round=config.search[1],
                seed=config.seed,
            )
        with timed(seconds, "generate targets"):
            sampling = Sampling(max_new_tokens=config.max_new_tokens, seed=config.seed)
            stages.write_targets(
                train_set,
                read_prompts(out / "prompts.jsonl"),
                llm,
                out / "targets.jsonl",
                attributes=ATTRIBUTES,
                sampling=sampling,
                seed=config.seed,
            )
        del llm
        with timed(seconds, "train"):
            checkpoint = train(train_config(out, config))
        with timed(seconds, "evaluate"):
            evaluated = evaluate(
                str(checkpoint),
                manifest_tasks(manifests[1], out / "prompts.jsonl"),
                out,
                EvaluationConfig(attributes=tuple(ATTRIBUTES), max_new_tokens=config.max_new_tokens),
            )
    results = evaluated.results | facts(out, config, scored, seconds, manifests)
    write_json(results, out / "results.json")
    log = [json.loads(line) for line in text_lines(out / LOG)]
    write_report(out / "report.html", results, log, clips(evaluated.answers), title="speechllm quickstart")
    print_table(results)
    return results


def prompt_pool(config: QuickstartConfig) -> list[Prompt]:
    """The candidates of the prompt search: the first few of each kind, under the style that suits the kind."""
    return [
        prompt.model_copy(update={"style": TRANSCRIBE_STYLE if kind == TRANSCRIBE else STYLE})
        for kind in (TRANSCRIBE, *ATTRIBUTES)
        for prompt in built_in_prompts([kind])[: config.candidates]
    ]


def train_config(out: Path, config: QuickstartConfig) -> TrainConfig:
    """What `speechllm train` would be given."""
    return TrainConfig(
        model=ModelConfig(encoder=config.encoder, llm=config.llm, adapter=config.adapter),
        data=DataConfig(manifest=out / "train.jsonl", targets=out / "targets.jsonl", attributes=ATTRIBUTES),
        stages=[
            StageConfig(
                objective="embedding_alignment",
                steps=config.warmup_steps,
                batch_size=64,
                learning_rate=1e-3,
                description_style=STYLE,
            ),
            StageConfig(objective="cross_entropy", steps=config.steps, batch_size=16, learning_rate=5e-4),
        ],
        out=out,
        seed=config.seed,
    )


@contextmanager
def timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    """Adds the wall time of the block to `seconds`."""
    started = time.monotonic()
    yield
    seconds[stage] = round(time.monotonic() - started, 2)


def facts(
    out: Path,
    config: QuickstartConfig,
    scored: Sequence[Scored],
    seconds: dict[str, float],
    manifests: Sequence[Path],
) -> dict[str, Any]:
    """What was run, on what, and how long it took."""
    train_set, test_set = (read_manifest(manifest) for manifest in manifests)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    kept = set(text_lines(out / "prompts.jsonl"))
    return {
        "seconds": seconds,
        "total_seconds": round(sum(seconds.values()), 2),
        "peak_memory_bytes": peak if sys.platform == "darwin" else peak * 1024,
        "model": {"encoder": config.encoder, "llm": config.llm, "adapter": config.adapter},
        "data": {
            "train_utterances": len(train_set),
            "test_utterances": len(test_set),
            "train_hours": round(sum(u.duration for u in train_set) / 3600, 3),
            "train_voices": len({u.speaker for u in train_set}),
            "test_voices": len({u.speaker for u in test_set}),
        },
        "prompts": [
            {
                **{key: getattr(s.prompt, key) for key in ("kind", "text", "style", "system")},
                "score": s.score,
                "n": s.n,
            }
            for s in scored
            if s.prompt.model_dump_json(exclude_unset=True) in kept
        ],
        "machine": {
            "cores": os.cpu_count(),
            "cpu": platform.processor() or platform.machine(),
            "speechllm": __version__,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "python": platform.python_version(),
        },
    }


def clips(answered: Sequence[Answers], how_many: int = 8) -> list[Clip]:
    """The first clips of different speakers, with everything that was asked about them."""
    chosen: dict[str, Utterance] = {}
    for answers in answered:
        for question in answers.task.questions:
            utterance = question.utterances[0]
            chosen.setdefault(utterance.speaker or utterance.id, utterance)
    return [_clip(answered, utterance) for utterance in list(chosen.values())[:how_many]]


def _clip(answered: Sequence[Answers], utterance: Utterance) -> Clip:
    asked = [(a, i) for a in answered for i, q in enumerate(a.task.questions) if q.utterances[0].id == utterance.id]
    return Clip(
        id=utterance.id,
        audio=Path(utterance.audio),
        reference=utterance.text or "",
        attributes={name: str(utterance.attributes[name]) for name in ATTRIBUTES},
        answers=[
            Answer(
                prompt=answers.task.questions[i].prompt.text,
                model=answers.replies[MODEL][i].text,
                ceiling=answers.replies[CEILING][i].text,
                correct=answers.right(MODEL)[i] if answers.task.metric == "accuracy" else None,
            )
            for answers, i in asked
        ],
    )
