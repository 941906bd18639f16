"""How fast an adapter trains here, beside the plain way: same clips, same targets, same models, same process."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from speechllm import progress
from speechllm.config import StageConfig
from speechllm.errors import SpeechLLMError
from speechllm.models.modeling import SpeechLLM
from speechllm.models.processing import SpeechLLMProcessor
from speechllm.train.bench_modes import AllRows, Switches, audio_store, switched
from speechllm.train.data import AudioStore, Example
from speechllm.train.llm import training_mode
from speechllm.train.machine import matmul_peak, peak_memory, reset_peak_memory, synchronize
from speechllm.train.objectives import Context, CrossEntropy, Objective
from speechllm.train.order import BatchOrder, length, one_source
from speechllm.train.ranks import Ranks
from speechllm.train.steps import take_step

PRODUCTS = ("mm", "addmm", "bmm", "baddbmm", "linear", "convolution", "attention")
"""Parts of the names of operations that are matrix products."""


@dataclass(frozen=True)
class Bench:
    """What all modes train: `epochs` times over all examples, in batches of the stage's size."""

    model: SpeechLLM
    processor: SpeechLLMProcessor
    examples: Sequence[Example]
    stage: StageConfig
    epochs: int

    @property
    def steps(self) -> int:
        """Of one mode."""
        return self.epochs * len(self.examples) // self.stage.batch_size


def bench_training(bench: Bench, modes: dict[str, Switches]) -> dict[str, Any]:
    """Measures all optimisations on, all off, and the `modes`.

    The time of a mode includes that of encoding its clips. Useful arithmetic, of which `share_of_peak` tells, is what
    the mode with all optimisations on does, whoever takes how long for it.

    Returns:
        `ratio`: all on over all off, of reply tokens a second; `modes`: of each the rates, share of peak, peak memory.

    Raises:
        SpeechLLMError: there are fewer examples than a batch.
    """
    if bench.steps == 0:
        raise SpeechLLMError(f"{len(bench.examples)} clips are less than a batch of {bench.stage.batch_size}")
    modes = {"all on": Switches(), "all off": Switches.none(), **modes}
    peak = matmul_peak(bench.model.device, bench.model.language_model.dtype)
    with FlopCounterMode(display=False) as counter:
        for _ in _steps(bench, Switches(), "count arithmetic"):
            pass
    useful = counter.get_total_flops()
    found = {name: _measure(bench, switches, name, useful / peak) for name, switches in modes.items()}
    rates = [found[name]["reply_tokens_per_second"] for name in ("all on", "all off")]
    return {
        "ratio": round(rates[0] / rates[1], 2),
        "modes": found,
        "peak_gflops": round(peak / 1e9, 1),
        "gflop_a_step": round(useful / bench.steps / 1e9, 1),
        "steps": bench.steps,
        "clips": len({example.utterance.id for example in bench.examples}),
        "batch_size": bench.stage.batch_size,
        "dtype": str(bench.model.language_model.dtype).removeprefix("torch."),
        "device": str(bench.model.device),
        "threads": torch.get_num_threads(),
    }


def products_share(bench: Bench) -> dict[str, float]:
    """Share of the time of the operations that is spent in matrix products, all optimisations on; and the largest ten.

    The first step, in which memory and kernels warm up, is left out.

    Raises:
        SpeechLLMError: there is no second step.
    """
    if bench.steps < 2:
        raise SpeechLLMError(
            "a profile leaves out the first step and there is no second; give more --clips or --epochs"
        )
    steps = _steps(bench, Switches(), "profile")
    next(steps)
    activities = [torch.profiler.ProfilerActivity.CPU]
    on_gpu = bench.model.device.type == "cuda"
    if on_gpu:
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=activities) as profiler:
        for _ in steps:
            pass
    times = {e.key: e.self_device_time_total if on_gpu else e.self_cpu_time_total for e in profiler.key_averages()}
    total = sum(times.values())
    products = sum(time for name, time in times.items() if any(part in name for part in PRODUCTS))
    largest = sorted(times.items(), key=lambda item: -item[1])[:10]
    return {"matrix products": products / total, **{name: time / total for name, time in largest}}


def _measure(bench: Bench, switches: Switches, name: str, shortest: float) -> dict[str, float]:
    """One mode, timed; `shortest` is the time that the useful arithmetic would take at the machine's peak."""
    device = bench.model.device
    next(_steps(bench, switches, "warm up"))
    synchronize(device)
    reset_peak_memory(device)
    started = time.perf_counter()
    tokens = seconds = 0.0
    for items, audio in _steps(bench, switches, name):
        tokens, seconds = tokens + items, seconds + audio
    synchronize(device)
    took = time.perf_counter() - started
    return {
        "seconds_a_step": round(took / bench.steps, 4),
        "audio_seconds_per_second": round(seconds / took, 2),
        "reply_tokens_per_second": round(tokens / took, 2),
        "share_of_peak": round(shortest / took, 4),
        "peak_memory_gb": round(peak_memory(device), 3),
    }


def _steps(bench: Bench, switches: Switches, name: str) -> Iterator[tuple[int, float]]:
    """Trains as the switches say; yields each step's reply tokens and seconds of audio."""
    with switched(bench.model, switches), progress.task(name, bench.steps) as bar:
        store = audio_store(bench.model, bench.processor, switches)
        objective = _objective(bench, store, switches)
        lengths = [length(example) for example in bench.examples] if switches.buckets else None
        order = BatchOrder(one_source(len(bench.examples), 0), lengths, bench.stage.batch_size, seed=0)
        optimizer = torch.optim.AdamW(bench.model.adapter_state().values(), lr=bench.stage.learning_rate)
        training_mode(bench.model)
        store.fill([example.utterance for example in bench.examples])
        for step in range(bench.steps):
            batch = [bench.examples[i] for i in order[step]]
            outcome = take_step(objective, batch, step, bench.stage, optimizer, Ranks())
            bar.advance()
            yield outcome.items, sum(example.utterance.duration for example in batch)


def _objective(bench: Bench, store: AudioStore, switches: Switches) -> Objective:
    context = Context(bench.model, bench.processor, store, attributes=None, transcript_dropout=0.0, seed=0)
    return (CrossEntropy if switches.reply_rows else AllRows)(context, bench.stage)
