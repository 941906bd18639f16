"""Self-output targets: the text LLM's own replies to the description of the audio (DeSTA2, BLSP)."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from speechllm.data.describe import DescriptionStyle, describe
from speechllm.data.jsonl import write_jsonl
from speechllm.data.manifest import Utterance
from speechllm.data.prompts import Prompt
from speechllm.data.render import describe_audio
from speechllm.errors import SpeechLLMError
from speechllm.models.reply import Replier, Sampling
from speechllm.targets.records import TargetRecord

STRATEGY = "self_output"


@dataclass(frozen=True)
class Generator:
    """Who writes the replies: a replier, the model reference behind it and the hash of its weights."""

    reply: Replier
    reference: str
    revision: str


def choose_prompts(
    utterances: Sequence[Utterance], prompts: Sequence[Prompt], per_utterance: int, seed: int
) -> list[tuple[Utterance, Prompt]]:
    """Draws prompts for each utterance: kinds in turn so that all are equally frequent, at random within a kind.

    Raises:
        SpeechLLMError: a kind has too few prompts to ask an utterance a different one each time.
    """
    rng = random.Random(seed)
    kinds = sorted({prompt.kind for prompt in prompts})
    by_kind = {kind: [prompt for prompt in prompts if prompt.kind == kind] for kind in kinds}
    needed = -(-per_utterance // max(len(kinds), 1))
    short = next((kind for kind in kinds if len(by_kind[kind]) < needed), None)
    if short is not None or not kinds:
        raise SpeechLLMError(
            f"{per_utterance} prompts an utterance need {needed} of each kind, but there are"
            f" {len(by_kind.get(short or '', []))} of kind {short!r}; give more prompts or ask fewer"
        )
    pairs = []
    # Turns go round in a shuffled order: a corpus that alternates its speakers would otherwise be asked for the gender
    # of women only.
    turns = rng.sample(range(len(utterances)), len(utterances))
    for number, utterance in zip(turns, utterances, strict=True):
        waiting = {kind: rng.sample(of_kind, len(of_kind)) for kind, of_kind in by_kind.items()}
        for k in range(per_utterance):
            kind = kinds[(number * per_utterance + k) % len(kinds)]
            pairs.append((utterance, waiting[kind].pop()))
    return pairs


def generate_targets(
    pairs: Sequence[tuple[Utterance, Prompt]],
    generator: Generator,
    sampling: Sampling,
    out: Path,
    *,
    attributes: Sequence[str] | None = None,
    style: DescriptionStyle = "desta",
) -> list[TargetRecord]:
    """Lets the LLM answer each prompt about each described utterance and writes the target records to `out`.

    Args:
        pairs: utterances (as `read_manifest` returns them) and prompts.
        generator: who writes.
        sampling: how replies are drawn.
        out: the targets file; it appears when it is complete.
        attributes: which attributes the descriptions mention; None for all.
        style: of the description, where the prompt does not name the one it was chosen with.
    """
    descriptions = [describe(u, p.style or style, attributes) for u, p in pairs]
    conversations = [describe_audio(p.messages(), [d]) for (_, p), d in zip(pairs, descriptions, strict=True)]
    replies = generator.reply(conversations, sampling, "generate targets")
    records = [
        TargetRecord(
            id=f"{utterance.id}/{prompt.id}",
            utterance_id=utterance.id,
            audio=Path(os.path.relpath(utterance.audio, Path(out).parent)).as_posix(),
            seed_description=description,
            prompt=prompt.text,
            messages=prompt.messages(),
            response=reply.text,
            finish_reason=reply.finish_reason,
            strategy=STRATEGY,
            generator=generator.reference,
            generator_revision=generator.revision,
            prompt_id=prompt.id,
            description_style=prompt.style or style,
            sampling={key: value for key, value in asdict(sampling).items() if key != "seed"},
            seed=sampling.seed,
        )
        for (utterance, prompt), description, reply in zip(pairs, descriptions, replies, strict=True)
    ]
    write_jsonl(out, records)
    return records
