"""A tiny corpus on disk: tones of known pitch and length, a manifest, and target records about them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from speechllm.audio.io import SAMPLING_RATE, save_audio
from speechllm.data.jsonl import write_jsonl
from speechllm.data.manifest import Utterance, read_manifest, write_manifest
from speechllm.data.prompts import Prompt
from speechllm.models.reply import Sampling
from speechllm.targets.generate import Generator, generate_targets
from speechllm.targets.records import TargetRecord
from speechllm.testing.scripted import ScriptedReplier

SYSTEM = "Focus on the audio and the instruction."


@dataclass(frozen=True)
class TinyCorpus:
    """What `tiny_corpus` wrote: the paths, and what `read_manifest` and `read_targets` give for them."""

    manifest: Path
    targets: Path
    prompts: Path
    utterances: list[Utterance]
    records: list[TargetRecord]


def tone(seconds: float, hertz: float = 200.0, seed: int = 0) -> np.ndarray:
    """A tone with a little noise, (samples,) at 16 kHz."""
    samples = round(seconds * SAMPLING_RATE)
    noise = np.random.default_rng(seed).standard_normal(samples)
    return (0.3 * np.sin(2 * np.pi * hertz * np.arange(samples) / SAMPLING_RATE) + 0.02 * noise).astype(np.float32)


def tiny_corpus(folder: Path, n: int = 8) -> TinyCorpus:
    """Writes `n` tones of 0.2 to 0.8 s, half of them low, with a target record of its own length about each."""
    utterances = []
    for i in range(n):
        low = i % 2 == 0
        seconds = 0.2 + 0.6 * i / max(n - 1, 1)
        save_audio(folder / "audio" / f"{i}.wav", tone(seconds, 120.0 if low else 900.0, seed=i))
        utterances.append(
            Utterance(
                id=f"tone-{i}",
                audio=f"audio/{i}.wav",
                duration=seconds,
                sampling_rate=SAMPLING_RATE,
                text=" ".join(["low" if low else "high"] * (1 + i // 2)),
                attributes={"pitch": "low" if low else "high"},
                dataset="tones",
            )
        )
    write_manifest(folder / "manifest.jsonl", utterances)
    known = read_manifest(folder / "manifest.jsonl")
    prompt = Prompt(id="pitch", kind="pitch", text="Is the pitch low or high?", system=SYSTEM, style="tags")
    write_jsonl(folder / "prompts.jsonl", [prompt])
    numbers = iter(range(n))
    replier = ScriptedReplier(lambda messages: f"The pitch is {known[next(numbers)].text}.")
    records = generate_targets(
        [(utterance, prompt) for utterance in known],
        Generator(replier, "scripted", "0"),
        Sampling(),
        folder / "targets.jsonl",
    )
    return TinyCorpus(folder / "manifest.jsonl", folder / "targets.jsonl", folder / "prompts.jsonl", known, records)
