"""A manifest augmented: clips written, with a manifest that describes them as they are."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from speechllm.audio.io import SAMPLING_RATE, load_audio, save_audio
from speechllm.audio.measure.levels import Signal
from speechllm.data.augmentation import Range, Recipe, apply_recipe
from speechllm.data.bins import Limits
from speechllm.data.joining import join
from speechllm.data.manifest import Utterance, write_manifest
from speechllm.data.parallel import each_kept, kept_path

MANIFEST = "manifest.jsonl"
"""Of the folder that is written; the clips lie in `audio` beside it."""


class Plan(BaseModel):
    """What to make of a manifest."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    recipe: Recipe = Recipe()
    copies: int = Field(default=1, ge=1, description="clips made of each utterance")
    join: int = Field(default=1, ge=1, description="utterances in one clip")
    gap: Range = Field(default=(0.2, 1.0), description="seconds between them; negative for speakers that overlap")
    seed: int = 0
    limits: Limits = Limits()


@dataclass(frozen=True)
class _Job:
    """One clip to make."""

    id: str
    parts: tuple[Utterance, ...]
    path: Path


def augment_all(
    utterances: Sequence[Utterance],
    out: Path,
    plan: Plan,
    noises: Sequence[Utterance] = (),
    processes: int | None = None,
) -> list[Utterance]:
    """Writes the clips and `out/manifest.jsonl`; the same plan gives the same samples, however many processes work.

    Args:
        utterances: with `audio` as `read_manifest` gives it.
        out: folder to write.
        plan: what to make of them.
        noises: recordings to draw the noise from; pink noise where there are none.
        processes: how many work at once; None for one a processor.

    Returns:
        the new utterances, `audio` relative to `out`; those whose audio cannot be read are reported and left out.

    Raises:
        SpeechLLMError: more than `speechllm.data.recipe.MAX_BROKEN` of the utterances cannot be read.
    """
    jobs = _jobs(utterances, plan, out)
    context = plan.model_dump_json() + "".join(noise.model_dump_json() for noise in noises)
    keys = [_digest(context, str(job.path), *(part.model_dump_json() for part in job.parts)) for job in jobs]
    made = each_kept(partial(_make, plan, tuple(noises)), jobs, keys, out / MANIFEST, "Augmenting", processes)
    new = [Utterance.model_validate_json(line) for line in made if line is not None]
    write_manifest(out / MANIFEST, new)
    kept_path(out / MANIFEST).unlink(missing_ok=True)
    return new


def _jobs(utterances: Sequence[Utterance], plan: Plan, out: Path) -> list[_Job]:
    """Every utterance once for each copy; where several are joined, in an order drawn from the seed, those left over
    in a clip of their own."""
    jobs = list[_Job]()
    for copy in range(plan.copies):
        order = list(utterances)
        if plan.join > 1:
            _generator(plan.seed, f"order {copy}").shuffle(order)
        for at in range(0, len(order), plan.join):
            parts = tuple(order[at : at + plan.join])
            name = f"{'+'.join(part.id for part in parts)}~{copy}"
            jobs.append(_Job(name, parts, out / "audio" / f"{len(jobs):06d}.flac"))
    return jobs


def _make(plan: Plan, noises: tuple[Utterance, ...], job: _Job) -> str:
    """Writes one clip; returns its utterance as JSON."""
    rng = _generator(plan.seed, job.id)
    voices = [_voice(plan, part, rng) for part in job.parts]
    signal, utterance = voices[0]
    if len(voices) > 1:
        gaps = [float(rng.uniform(*plan.gap)) for _ in voices[1:]]
        signal, utterance = join([wave for wave, _ in voices], [line for _, line in voices], gaps)
    noise = _noise(noises, len(signal) / SAMPLING_RATE, rng) if noises and plan.recipe.noise else None
    signal, utterance = apply_recipe(signal, utterance, plan.recipe.of_the_recording(), rng, noise, plan.limits)
    save_audio(job.path, signal)
    facts = utterance.model_dump(exclude_none=True, exclude={"start", "end", "recognised_text"})
    place = {"id": job.id, "audio": f"audio/{job.path.name}", "sampling_rate": SAMPLING_RATE}
    return Utterance(**(facts | place)).model_dump_json(exclude_unset=True)


def _voice(plan: Plan, part: Utterance, rng: np.random.Generator) -> tuple[Signal, Utterance]:
    signal = load_audio(part.audio, start=part.start, end=part.end)
    return apply_recipe(signal, part, plan.recipe.of_the_voice(), rng, limits=plan.limits)


def _noise(noises: Sequence[Utterance], seconds: float, rng: np.random.Generator) -> Signal:
    """As many seconds of one of the noises, or all of it where it is shorter; which and where is drawn."""
    noise = noises[int(rng.integers(len(noises)))]
    start = (noise.start or 0.0) + float(rng.uniform(0, max(0.0, noise.duration - seconds)))
    return load_audio(noise.audio, start=start, end=min(start + seconds, (noise.start or 0.0) + noise.duration))


def _generator(seed: int, name: str) -> np.random.Generator:
    return np.random.default_rng(int(_digest(str(seed), name), 16))


def _digest(*parts: str) -> str:
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=12).hexdigest()
