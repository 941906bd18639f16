"""How fast audio is read, resampled, turned into features and batched, beside `datasets` with torchaudio."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import soundfile
import torch
import torchaudio
from torch.utils.data import DataLoader
from transformers import WhisperFeatureExtractor

from speechllm.audio.io import SAMPLING_RATE, load_audio, save_audio
from speechllm.models.processing import pad_features
from speechllm.train.order import BatchOrder, one_source

RATES = (8_000, 22_050, 44_100)
"""Hz, in turn: nothing is at the rate that the encoder wants."""

SHORTEST_S, LONGEST_S = 2.0, 15.0
BATCH_SIZE = 16
WORKERS = (1, 2)


def make_clips(folder: Path, clips: int, seed: int = 0) -> list[tuple[Path, float]]:
    """Writes WAV files of noise; returns paths and lengths (s), which are spread evenly in no order."""
    rng = np.random.default_rng(seed)
    found = []
    for number, seconds in enumerate(rng.permutation(np.linspace(SHORTEST_S, LONGEST_S, clips))):
        rate = RATES[number % len(RATES)]
        path = folder / f"{number:05d}.wav"
        save_audio(path, (0.1 * rng.standard_normal(round(seconds * rate))).clip(-1, 1).astype(np.float32), rate)
        found.append((path, float(seconds)))
    return found


def bench_load(clips: Sequence[tuple[Path, float]]) -> dict[str, Any]:
    """Runs both ways on one worker process and on two.

    Returns:
        For `speechllm`, `baseline` and `baseline_unpadded` (the same, but no clip is padded to 30 s), by number of
        workers, utterances and seconds of audio a second; and of utterances a second on two workers `ratio`, to the
        baseline's, and `ratio_unpadded`, to the other's.
    """
    total = sum(seconds for _, seconds in clips)
    result: dict[str, Any] = {"clips": len(clips), "audio_seconds": round(total, 1)}
    for name, loader in LOADERS.items():
        result[name] = {}
        for workers in WORKERS:
            seconds = _timed(loader, clips, workers)
            rates = {"utterances_per_second": len(clips) / seconds, "audio_seconds_per_second": total / seconds}
            result[name][str(workers)] = {key: round(value, 1) for key, value in rates.items()}
    most = str(WORKERS[-1])
    fast, plain, unpadded = (result[name][most]["utterances_per_second"] for name in reversed(LOADERS))
    return result | {"ratio": round(fast / plain, 2), "ratio_unpadded": round(fast / unpadded, 2)}


def _timed(
    make: Callable[[Sequence[tuple[Path, float]], int], DataLoader[Any]],
    clips: Sequence[tuple[Path, float]],
    workers: int,
) -> float:
    """Seconds from starting the workers to the last batch."""
    started = time.perf_counter()
    seen = sum(len(batch["input_features"]) for batch in make(clips, workers))
    assert seen == len(clips)
    return time.perf_counter() - started


class Clips(torch.utils.data.Dataset[torch.Tensor]):
    """Features of clips at their own length, (mels, frames), as the processor computes them."""

    def __init__(self, clips: Sequence[tuple[Path, float]]) -> None:
        self._clips = clips
        self._extractor = WhisperFeatureExtractor()

    def __getitem__(self, index: int) -> torch.Tensor:
        samples = load_audio(self._clips[index][0])
        hop = 2 * self._extractor.hop_length  # the encoder halves the frames
        found = self._extractor(
            samples,
            sampling_rate=SAMPLING_RATE,
            padding="max_length",
            max_length=-(-len(samples) // hop) * hop,
            return_tensors="pt",
        )
        return found["input_features"][0]


def _ours(clips: Sequence[tuple[Path, float]], workers: int) -> DataLoader[Any]:
    order = BatchOrder(one_source(len(clips), 0), [seconds for _, seconds in clips], BATCH_SIZE, seed=0)
    laid_out = [order[step] for step in range(len(clips) // BATCH_SIZE)]
    laid_out += [order[len(laid_out)][: len(clips) % BATCH_SIZE]] if len(clips) % BATCH_SIZE else []
    return DataLoader(Clips(clips), batch_sampler=laid_out, num_workers=workers, collate_fn=pad_features)


def _baseline(clips: Sequence[tuple[Path, float]], workers: int, *, pad: bool = True) -> DataLoader[Any]:
    """As tutorials do it: one `datasets` transform a clip, torchaudio's resampler, features padded to 30 s."""
    extractor = WhisperFeatureExtractor()

    def features(rows: dict[str, list[str]]) -> dict[str, list[torch.Tensor]]:
        """Paths of clips to log-mel features, (80, frames) each."""
        found = []
        for path in rows["audio"]:
            samples, rate = soundfile.read(path, dtype="float32")  # torchaudio.load wants torchcodec, which may lack
            at_rate = torchaudio.functional.resample(torch.from_numpy(samples), rate, SAMPLING_RATE).numpy()
            padding = "max_length" if pad else False
            out = extractor(at_rate, sampling_rate=SAMPLING_RATE, padding=padding, return_tensors="pt")
            found.append(out["input_features"][0])
        return {"input_features": found}

    rows = datasets.Dataset.from_dict({"audio": [str(path) for path, _ in clips]}).with_transform(features)
    return DataLoader(
        rows,
        batch_size=BATCH_SIZE,
        num_workers=workers,
        collate_fn=lambda batch: pad_features([row["input_features"] for row in batch]),
    )


LOADERS: dict[str, Callable[..., DataLoader[Any]]] = {
    "baseline_unpadded": partial(_baseline, pad=False),
    "baseline": _baseline,
    "speechllm": _ours,
}
