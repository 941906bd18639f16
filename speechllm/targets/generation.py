"""A generation job from its settings: loads who writes, chooses what is asked, and runs or previews it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from speechllm import hub
from speechllm.config import TargetsConfig
from speechllm.data.manifest import Utterance
from speechllm.data.prompts import Prompt
from speechllm.data.render import PromptRenderer
from speechllm.errors import SpeechLLMError
from speechllm.models.fleet import FleetReplier
from speechllm.models.llm import load_llm
from speechllm.models.reply import Replier, Sampling, TextReplier, compute_device, compute_dtype
from speechllm.models.served import ServedReplier
from speechllm.targets.generate import Generator, choose_prompts, generate, works
from speechllm.targets.job import BATCH, Work
from speechllm.targets.masking import Masker, Surprisal
from speechllm.targets.records import TargetRecord
from speechllm.targets.strategies import parse_mix
from speechllm.targets.strategies.build import build_strategies
from speechllm.targets.strategies.replay import read_instructions

SHOWN = 3
"""Prompts that a preview shows."""


@dataclass(frozen=True)
class Job:
    """All that decides a targets file."""

    utterances: Sequence[Utterance]
    prompts: Sequence[Prompt]
    config: TargetsConfig

    @property
    def sampling(self) -> Sampling:
        """How replies are drawn."""
        c = self.config
        return Sampling(c.max_new_tokens, c.temperature, c.top_p, c.seed)


def load_text_llm(reference: str, device: str = "auto", dtype: str = "auto", batch_size: int = 64) -> Generator:
    """Loads an LLM to write replies with, in the fastest precision of the machine."""
    folder = hub.resolve(reference)
    model = load_llm(reference, compute_dtype(dtype)).to(compute_device(device)).eval()
    replier = TextReplier(model, AutoTokenizer.from_pretrained(folder), batch_size)
    return Generator(replier, reference, hub.fingerprint(folder)["weights"])


def planned(job: Job) -> list[Work]:
    """The pieces of work, without any LLM.

    Raises:
        SpeechLLMError: unknown strategy; `experience_replay` without instructions; too few prompts.
    """
    weights = parse_mix(job.config.strategies)
    instructions = read_instructions(job.config.instructions) if job.config.instructions else []
    if "experience_replay" in weights and not instructions:
        raise SpeechLLMError("strategy 'experience_replay' needs text instructions; give a file with --instructions")
    if job.config.mask_above is not None and (job.config.server or job.config.vllm or job.config.ray_workers):
        raise SpeechLLMError("masking reads the LLM's probabilities, which needs it in this process by transformers")
    pairs = choose_prompts(job.utterances, job.prompts, job.config.per_utterance, job.sampling.seed)
    return works(pairs, weights, attributes=job.config.attributes, instructions=instructions)


def run(job: Job, out: Path) -> list[TargetRecord]:
    """Does the job; see `speechllm.targets.generate.generate`."""
    work = planned(job)
    generator = _generator(job)
    replier = generator.reply
    local = replier if isinstance(replier, TextReplier) else None
    other = load_text_llm(job.config.other_llm, batch_size=job.config.batch_size) if job.config.other_llm else None
    shots = [item.prompt.text for item in read_instructions(job.config.instructions)] if job.config.instructions else []
    strategies = build_strategies(
        sorted({w.strategy for w in work}),
        renderer=local.renderer if local else None,
        other=(other.reply, other.reference, other.revision) if other else None,
        shots=shots,
        judge=job.config.judge,
    )
    masker = None
    if job.config.mask_above is not None and local is not None:
        masker = Masker(Surprisal(local.model, local.tokenizer), job.config.mask_above)
    batch = BATCH * max(1, job.config.ray_workers)
    return generate(work, strategies, generator, job.sampling, out, masker=masker, batch=batch)


def _generator(job: Job) -> Generator:
    c = job.config
    if c.server is not None:
        return Generator(ServedReplier(c.server, c.llm, c.batch_size), c.llm, f"served at {c.server}")
    if not c.vllm and not c.ray_workers:
        return load_text_llm(c.llm, batch_size=c.batch_size)
    folder = hub.resolve(c.llm)  # complain here, not in a worker
    make = partial(_vllm, str(folder)) if c.vllm else partial(_transformers, str(folder), c.batch_size)
    reply = FleetReplier(make, c.ray_workers, gpus=float(c.vllm)) if c.ray_workers else make()
    return Generator(reply, c.llm, hub.fingerprint(folder)["weights"])


def _vllm(folder: str) -> Replier:
    from speechllm.models.vllm_reply import VLLMReplier

    return VLLMReplier(folder)


def _transformers(folder: str, batch_size: int) -> Replier:
    return load_text_llm(folder, batch_size=batch_size).reply


def preview(job: Job) -> str:
    """Three prompts as the LLM would read them, and what the job costs; no weights are loaded."""
    work = planned(job)
    render, count = _reading(job)
    lines = []
    for w in work[:SHOWN]:
        lines += [f"--- {w.item.id} ({w.strategy})", render(w.item.described), ""]
    asked = sum(count(render(w.item.described)) for w in work)
    most = len(work) * job.sampling.max_new_tokens
    unit = "characters" if job.config.server else "tokens"
    return "\n".join([*lines, f"{len(work)} prompts of {asked} {unit} in all, replies of at most {most} tokens in all"])


def _reading(job: Job) -> tuple[Any, Any]:
    """How the LLM reads messages, and how long that is; a server's template is its own."""
    if job.config.server:
        return (lambda messages: json.dumps(messages, ensure_ascii=False, indent=1)), len
    tokenizer = AutoTokenizer.from_pretrained(hub.resolve(job.config.llm))
    return PromptRenderer(tokenizer).prompt, lambda text: len(tokenizer(text, add_special_tokens=False)["input_ids"])
