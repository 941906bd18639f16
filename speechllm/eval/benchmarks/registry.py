"""All benchmarks by name, and the one way to score files with one of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from speechllm.data.json_file import write_json
from speechllm.data.jsonl import write_jsonl
from speechllm.errors import SpeechLLMError, did_you_mean
from speechllm.eval.benchmarks.air_bench import AIR_BENCH
from speechllm.eval.benchmarks.benchmark import Benchmark, Inputs, Scored
from speechllm.eval.benchmarks.dynamic_superb import DYNAMIC_SUPERB
from speechllm.eval.benchmarks.dynamic_superb_phase2 import DYNAMIC_SUPERB_PHASE2
from speechllm.eval.benchmarks.ifeval import IFEVAL
from speechllm.eval.benchmarks.mmau import MMAR, MMAU
from speechllm.eval.benchmarks.sakura import SAKURA
from speechllm.eval.benchmarks.speech_ifeval import SPEECH_IFEVAL
from speechllm.eval.benchmarks.voicebench import VOICEBENCH
from speechllm.eval.judge_store import StoredJudge
from speechllm.eval.judges import LlmJudge

_ALL = (
    MMAU,
    MMAR,
    IFEVAL,
    SPEECH_IFEVAL,
    DYNAMIC_SUPERB,
    DYNAMIC_SUPERB_PHASE2,
    SAKURA,
    AIR_BENCH,
    VOICEBENCH,
)

BENCHMARKS: dict[str, Benchmark] = {benchmark.name: benchmark for benchmark in _ALL}
"""By the name that `speechllm score` takes."""


def find(name: str) -> Benchmark:
    """A benchmark by name.

    Raises:
        SpeechLLMError: there is none of that name; suggests the nearest.
    """
    if name not in BENCHMARKS:
        raise SpeechLLMError(f"there is no benchmark {name!r}{did_you_mean(name, BENCHMARKS)}")
    return BENCHMARKS[name]


def score(name: str, inputs: Inputs, out: Path) -> dict[str, Any]:
    """Scores files and writes `out`/scores.json and `out`/rows.jsonl; returns what stands in scores.json.

    What an LLM judges is kept in `out`/judgements.jsonl: started again, a scoring goes on where it was.

    Raises:
        SpeechLLMError: the benchmark is unknown or a file is not as the benchmark's are.
    """
    benchmark = find(name)
    if not inputs.responses:
        raise SpeechLLMError(f"{name}: give at least one file of responses")
    if inputs.judge is not None and not benchmark.judged:
        raise SpeechLLMError(f"{name} is scored by rules alone; leave the judge out")
    if inputs.reference is not None and not benchmark.compared:
        raise SpeechLLMError(f"{name} compares with nothing; leave the reference out")
    if isinstance(inputs.judge, LlmJudge):
        inputs = replace(inputs, judge=StoredJudge(inputs.judge, out / "judgements.jsonl"))
    scored = benchmark.score(inputs)
    write_jsonl(out / "rows.jsonl", scored.verdicts)
    for file, value in scored.files.items():
        write_json(value, out / file)
    return dict(write_json(_summary(benchmark, inputs, scored), out / "scores.json"))


def _summary(benchmark: Benchmark, inputs: Inputs, scored: Scored) -> dict[str, Any]:
    counts = Counter(verdict.verdict for verdict in scored.verdicts)
    return {
        "benchmark": benchmark.name,
        "version": benchmark.version,
        "metrics": scored.metrics,
        "items": len(scored.verdicts),
        "missing": counts["missing"],
        "not_judged": counts["not judged"],
        "unparsable": counts["unparsable"],
        "judge": scored.judge,
        "responses": [str(path) for path in inputs.responses],
        "questions": [str(path) for path in inputs.questions],
        "notes": scored.notes,
    }
