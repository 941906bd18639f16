"""The speech-text gap: how far what the LLM predicts after hearing lies from what it predicts after reading."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import Any

import torch

from speechllm import progress
from speechllm.data.manifest import Utterance
from speechllm.data.render import audio_parts, describe_audio
from speechllm.errors import SpeechLLMError
from speechllm.models.modeling import SpeechLLM
from speechllm.models.processing import SpeechLLMProcessor
from speechllm.targets.records import TargetRecord
from speechllm.train.data import conversation

MOST_VALUES = 16
"""Of an attribute that is told apart; with more of them it is free text."""


@torch.inference_mode()
def speech_text_gap(
    model: SpeechLLM,
    processor: SpeechLLMProcessor,
    utterances: Sequence[Utterance],
    records: Sequence[TargetRecord],
    batch_size: int = 8,
) -> dict[str, Any]:
    """Mean KL divergence a reply token, KL(reads the description || hears), on the replies of a targets file.

    Returns:
        `kl` and `tokens` over all replies, and the same `by_prompt` (its words), `by_strategy`, `by_kind` (what the
        prompt asks for, where the record tells it), and `by_attribute`: attribute of the utterance -> value -> both, of
        attributes in words of at most MOST_VALUES values.

    Raises:
        SpeechLLMError: a record is about an utterance that the manifest does not hold.
    """
    model.eval()
    by_id = {u.id: u for u in utterances}
    about = [record for record in records if record.utterance_id]
    missing = next((r for r in about if r.utterance_id not in by_id), None)
    if missing is not None or not about:
        named = (
            f"target {missing.id!r} is about {missing.utterance_id!r}, which" if missing else "no target is about what"
        )
        raise SpeechLLMError(f"{named} the manifest does not hold; give the manifest that the targets were written for")
    sums: dict[tuple[str, ...], list[float]] = defaultdict(lambda: [0.0, 0])
    with progress.task("speech-text gap", len(about)) as bar:
        for at in range(0, len(about), batch_size):
            batch = about[at : at + batch_size]
            for record, found in zip(batch, _divergences(model, processor, batch, by_id), strict=True):
                for group in _groups(record, by_id[record.utterance_id]):
                    sums[group][0] += float(found.sum())
                    sums[group][1] += len(found)
            bar.advance(len(batch))
    told: dict[str, Any] = {by: {} for by in ("by_prompt", "by_strategy", "by_kind", "by_attribute")}
    for group, (total, tokens) in sums.items():
        place = told
        for name in group:
            place = place.setdefault(name, {})
        place.update(kl=total / max(tokens, 1), tokens=tokens)
    told["by_attribute"] = {name: rows for name, rows in told["by_attribute"].items() if len(rows) <= MOST_VALUES}
    return told


def _groups(record: TargetRecord, utterance: Utterance) -> Iterator[tuple[str, ...]]:
    """Where in the result a record counts: keys from the outermost on."""
    yield ()
    yield "by_prompt", record.prompt
    yield "by_strategy", record.strategy
    if kind := _kind(record):
        yield "by_kind", kind
    for name in dict.fromkeys((*utterance.attributes, "language")):
        if isinstance(value := utterance.value(name), str):
            yield "by_attribute", name, value


def _kind(record: TargetRecord) -> str:
    """What the prompt asks for; of records that do not tell it, from an id such as `gender-07`."""
    return record.prompt_kind or re.sub(r"-\d+$", "", record.prompt_id)


def _divergences(
    model: SpeechLLM, processor: SpeechLLMProcessor, batch: Sequence[TargetRecord], by_id: dict[str, Utterance]
) -> list[torch.Tensor]:
    """For each record the divergence at each token of its reply."""
    words = model.config.transcript
    heard = [conversation(r.messages, by_id[r.utterance_id], transcript=words) for r in batch]
    read = [describe_audio(r.messages, [r.seed_description] * len(audio_parts(r.messages))) for r in batch]
    replies, complete = [r.response for r in batch], [r.finish_reason == "stop" for r in batch]
    rows, lengths = [], []
    for conversations in (heard, read):
        inputs = processor(conversations, replies, complete).to(model.device)
        lengths.append((inputs["labels"][:, 1:] != -100).sum(1).tolist())
        with model.untouched() if conversations is read else nullcontext():
            rows.append(model.predict_replies(**inputs))
    if lengths[0] != lengths[1]:
        ids = ", ".join(record.id for record in batch)
        raise SpeechLLMError(f"targets {ids}: a reply is tokenised differently after audio and after text")
    hearing, reading = (row.logits.float().log_softmax(-1) for row in rows)
    found = (reading.exp() * (reading - hearing)).sum(-1)
    return list(found.split(lengths[0]))
