"""Validation while a run trains: what the model says about clips that it does not learn from."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from speechllm import progress
from speechllm.config import StageConfig, ValidationConfig
from speechllm.data.manifest import read_manifest
from speechllm.data.readable import Tally, undecodable
from speechllm.data.recipe import MAX_BROKEN
from speechllm.models.reply import Sampling, SpeechReplier
from speechllm.targets.records import read_targets, usable
from speechllm.train.data import AudioStore, Example, conversation, pair_up
from speechllm.train.kept import TextKept
from speechllm.train.llm import training_mode
from speechllm.train.objectives import Context, CrossEntropy, Distillation
from speechllm.train.sources import TrainingSource, leave_out_broken, teachable
from speechllm.train.state import Position
from speechllm.train.steps import split

SAMPLE_TOKENS = 48
"""Longest reply among the decoded samples."""


class Validation:
    """Loss, speech-text gap and a few replies on a manifest and targets of its own.

    The clips are encoded once; those that cannot be read are reported and left out within `MAX_BROKEN`. The
    recogniser's words are never withheld.
    """

    def __init__(self, config: ValidationConfig, context: Context) -> None:
        read = TrainingSource(read_manifest(config.manifest), usable(read_targets(config.targets)))
        (source,) = teachable(leave_out_broken([read], MAX_BROKEN), context.processor)
        store = AudioStore(context.model, context.processor)
        self._context = dataclasses.replace(context, audio=store, transcript_dropout=0.0, teacher=None)
        self.config = config
        self._kept = TextKept(context.model, context.processor) if context.model.learns_text else None
        if self._kept is None:
            progress.console.print("text abilities: 100 % kept by construction, nothing trained acts on text alone")
        asked = {record.utterance_id for record in source.records}
        heard = [utterance for utterance in source.utterances if utterance.id in asked]
        broken = store.fill(heard)
        broken |= undecodable([u for u in heard if u.id not in broken and not store.holds(u)])
        Tally(len(source.utterances)).add(list(broken.values()))
        source = source.without(broken)
        self.examples: list[Example] = pair_up(source.utterances, source.records, context.model.learns_text)

    def is_due(self, steps: int, of: int) -> bool:
        """Whether to measure after so many steps of a stage."""
        return steps % self.config.every == 0 or steps == of

    def is_over(self, position: Position) -> bool:
        """Whether the stage has gone without a new best for too long."""
        return self.config.patience is not None and position.waited >= self.config.patience

    @torch.no_grad()
    def measure(self) -> dict[str, Any]:
        """One validation; leaves the model in training mode.

        Returns:
            `loss`: cross-entropy a reply token; `kl`: divergence a reply token of what the model predicts after hearing
            from what the same LLM predicts after reading the description, the speech-text gap; `samples`: replies.
            Where the LLM changes, also `text`: what it still says to text alone, see `TextKept`.
        """
        self._context.model.eval()
        loss = CrossEntropy(self._context, StageConfig(objective="cross_entropy", steps=1))
        gap = Distillation(self._context, StageConfig(objective="distillation", steps=1, terms={"kl": 1.0}))
        found: dict[str, Any] = {"loss": self._mean(loss), "kl": self._mean(gap), "samples": self._samples()}
        if self._kept is not None:
            text = found["text"] = self._kept.measure()
            progress.console.print(
                f"text abilities: {text['identical_replies']} of {text['n']} replies as published, KL {text['kl']:.4f}"
            )
        training_mode(self._context.model)
        return found

    def _mean(self, objective: CrossEntropy) -> float:
        total, count = 0.0, 0
        for batch in split(self.examples, self.config.batch_size):
            loss, items = objective(batch, 0)
            total, count = total + float(loss), count + items
        return total / max(count, 1)

    def _samples(self) -> list[dict[str, str]]:
        """Greedy replies to examples that are spread over the targets."""
        apart = max(1, len(self.examples) // max(self.config.samples, 1))
        chosen = [e for e in self.examples[::apart][: self.config.samples] if e.target is not None and e.hears]
        if not chosen:
            return []
        transcript = self._context.model.config.transcript
        asked = [conversation(e.target.messages, e.utterance, transcript=transcript) for e in chosen if e.target]
        replies = SpeechReplier(self._context.model, self._context.processor)(asked, Sampling(SAMPLE_TOKENS), "samples")
        return [
            {"id": e.target.id, "wanted": e.target.response, "reply": reply.text}
            for e, reply in zip(chosen, replies, strict=True)
            if e.target
        ]
