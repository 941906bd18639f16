"""From utterances and prompts to a targets file: chooses what is asked, has it written, filters and records it."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from speechllm import progress
from speechllm.data.attributes import ATTRIBUTES
from speechllm.data.describe import DescriptionStyle, describe
from speechllm.data.jsonl import write_jsonl
from speechllm.data.manifest import Utterance, told_from
from speechllm.data.prompts import TRANSCRIBE, Prompt
from speechllm.data.render import audio_parts, describe_audio
from speechllm.errors import SpeechLLMError
from speechllm.models.reply import Replier, Sampling
from speechllm.targets.filters import verdicts
from speechllm.targets.job import BATCH, Work, address, job_key, only_writer, partial_path, write_all
from speechllm.targets.masking import Masker
from speechllm.targets.records import TargetRecord, read_targets
from speechllm.targets.report import is_finished, job_report, report_path, settle, summary, write_report
from speechllm.targets.strategies import REPLAY, allot
from speechllm.targets.strategies.base import Item, Strategy, Writer, Written
from speechllm.targets.strategies.replay import blank_items, cycled
from speechllm.targets.strategies.self_output import SelfOutput


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

    What is not known of an utterance it is not asked: a description without the emotion would have the LLM invent one.

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
        able = [kind for kind in kinds if _known(utterance, kind)]
        for k in range(per_utterance if able else 0):
            kind = able[(number * per_utterance + k) % len(able)]
            if waiting[kind]:
                pairs.append((utterance, waiting[kind].pop()))
    if not pairs:
        raise SpeechLLMError(f"no utterance has what the prompts ask for: {', '.join(kinds)}")
    return pairs


def _known(utterance: Utterance, kind: str) -> bool:
    """Whether the description can tell what prompts of this kind ask for."""
    if kind == TRANSCRIBE:
        return bool(utterance.text)
    return kind not in ATTRIBUTES or utterance.value(kind) is not None


def works(
    pairs: Sequence[tuple[Utterance, Prompt]],
    weights: Mapping[str, float],
    *,
    attributes: Sequence[str] | None = None,
    style: DescriptionStyle = "desta",
    instructions: Sequence[Item] = (),
) -> list[Work]:
    """The pieces of work: pairs shared between strategies over audio by weight, replay on top as a share of them.

    Args:
        pairs: utterances (as `read_manifest` returns them) and prompts.
        weights: strategies by name, as `parse_mix` gives them.
        attributes: which attributes the descriptions mention; None for all.
        style: of the description, where the prompt does not name the one it was chosen with.
        instructions: what `experience_replay` draws from.
    """
    names = allot(len(pairs), weights)
    work = [
        Work(
            Item(
                id=f"{utterance.id}/{prompt.id}",
                prompt=prompt,
                utterance=utterance,
                description=describe(utterance, prompt.style or style, attributes),
                style=prompt.style or style,
            ),
            name,
        )
        for (utterance, prompt), name in zip(pairs, names, strict=True)
    ]
    for name in REPLAY:
        if name in weights:
            n = round(weights[name] * len(pairs))
            items = blank_items(n) if name == "pseudo_replay" else cycled(instructions, n)
            work += [Work(item, name) for item in items]
    return work


def generate_targets(
    pairs: Sequence[tuple[Utterance, Prompt]],
    generator: Generator,
    sampling: Sampling,
    out: Path,
    *,
    attributes: Sequence[str] | None = None,
    style: DescriptionStyle = "desta",
) -> list[TargetRecord]:
    """Self-output targets: lets the LLM answer each prompt about each described utterance; writes them to `out`."""
    name = "self_output"
    work = works(pairs, {name: 1.0}, attributes=attributes, style=style)
    return generate(work, {name: SelfOutput()}, generator, sampling, out)


def generate(
    work: Sequence[Work],
    strategies: Mapping[str, Strategy],
    generator: Generator,
    sampling: Sampling,
    out: Path,
    *,
    masker: Masker | None = None,
    batch: int = BATCH,
) -> list[TargetRecord]:
    """Does the work and writes the target records to `out` and what became of all of it to `out` + `.report.json`.

    Killed at any moment and called again with the same arguments, it goes on where it was and ends with the same
    files. Finished before with the same arguments, it does nothing.

    Args:
        work: in the order of the records.
        strategies: those that the work names.
        generator: the LLM.
        sampling: how replies are drawn.
        out: the targets file; it appears when it is complete.
        masker: masks reply tokens that surprise the LLM (selective token masking); None masks nothing.
        batch: pieces of work a batch; part of the job's address, since a reply may depend on its neighbours by
            rounding.

    Raises:
        SpeechLLMError: another process is writing `out`; the LLM's server does not answer; the disk is full. What is
            finished is kept.
    """
    out = Path(out)
    who = (generator.reference, generator.revision)
    addresses = [address(w, strategies[w.strategy], who, sampling) for w in work]
    masked = f"masked above {masker.limit}" if masker else ""
    key = job_key([*addresses, masked, *sorted({_audio(w.item, out) for w in work})], batch)
    with only_writer(out):
        if is_finished(out, key):
            progress.console.print(f"{out}: was finished before with the same settings", markup=False)
            return read_targets(out)
        writer = Writer(generator.reply, sampling)
        written = write_all(work, strategies, writer, out, addresses, size=batch)
        found = [verdicts(w.item, r.text, r.finish_reason) for w, r in zip(work, written, strict=True)]
        fates = settle(work, written, found)
        kept = [k for k, fate in enumerate(fates) if fate != "dropped"]
        records = [_record(work[k], written[k], generator, sampling, out) for k in kept]
        if masker is not None:
            records = masker.mask(records, [_described(work[k], written[k]) for k in kept])
        if not records:
            raise SpeechLLMError(f"{out}: no reply can be learnt from; {summary(work, written, fates, found)}")
        write_jsonl(out, records)
        write_report(report_path(out), job_report(work, written, fates, found, records, key, out))
        partial_path(out, job_key(addresses, batch)).unlink(missing_ok=True)
    return records


def _described(work: Work, written: Written) -> list[dict[str, Any]]:
    """What the LLM reads before the reply that is learnt."""
    if written.messages is None:
        return work.item.described
    return describe_audio(written.messages, [work.item.description] * len(audio_parts(written.messages)))


def _record(work: Work, written: Written, generator: Generator, sampling: Sampling, out: Path) -> TargetRecord:
    item = work.item
    reference, revision = written.generator or (generator.reference, generator.revision)
    messages = written.messages if written.messages is not None else item.messages
    return TargetRecord(
        id=item.id,
        utterance_id=item.utterance.id if item.utterance else "",
        audio=_audio(item, out),
        seed_description=item.description,
        prompt=item.prompt.text if written.messages is None else _last_text(messages),
        messages=messages,
        response=written.text,
        finish_reason=written.finish_reason,
        strategy=work.strategy,
        generator=reference,
        generator_revision=revision,
        prompt_id=item.prompt.id,
        prompt_kind=item.prompt.kind,
        description_style=item.style,
        sampling={key: value for key, value in asdict(sampling).items() if key != "seed"},
        seed=sampling.seed,
    )


def _audio(item: Item, out: Path) -> str:
    """Path of the item's audio, relative to the targets file; empty where there is none."""
    return told_from(out.parent, item.utterance.audio) if item.utterance else ""


def _last_text(messages: Sequence[dict[str, Any]]) -> str:
    """The words of the last turn; empty where it is audio alone."""
    content = messages[-1]["content"]
    return content if isinstance(content, str) else "\n".join(p["text"] for p in content if p["type"] == "text")
