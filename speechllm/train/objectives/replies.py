"""Objectives over the tokens of the replies: say the reply, or say what the LLM says that reads the description."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import torch

from speechllm.config import StageConfig
from speechllm.data.render import describe_audio
from speechllm.errors import SpeechLLMError
from speechllm.models.modeling import ReplyRows
from speechllm.targets.records import TargetRecord
from speechllm.train.data import Example, conversation
from speechllm.train.objectives.base import Context
from speechllm.train.objectives.divergences import DIVERGENCES, contrastive_kl, hidden_state
from speechllm.train.teacher import TeacherCache


class CrossEntropy:
    """Cross-entropy of the reply tokens, the end of turn included where the reply was complete.

    Tokens that a record's `token_mask` leaves out are not learned; a record's `weight` scales its tokens.
    """

    def __init__(self, context: Context, stage: StageConfig) -> None:
        self._context = context
        self._stage = stage

    def __call__(self, batch: Sequence[Example], step: int) -> tuple[torch.Tensor, int]:
        """See `Objective`; items are reply tokens."""
        inputs, weights = self._inputs(batch, step)
        rows = self._context.model.predict_replies(**inputs)
        return (_cross_entropy(rows) * weights).sum(), weights.numel()

    def _inputs(self, batch: Sequence[Example], step: int) -> tuple[dict[str, Any], torch.Tensor]:
        """What the speech-fed LLM takes, and the weight of each reply token (N,)."""
        context = self._context
        spoken = [example.utterance for example in batch if example.hears]
        encoded = {"encoded_audio": context.audio.get(spoken)} if spoken else {}
        heard = [conversation(target_of(e).messages, e.utterance, transcript=self._hears_words(e, step)) for e in batch]
        frames = [[context.audio.frames(example.utterance)] if example.hears else [] for example in batch]
        inputs = self._tokenise(batch, heard, frames)
        return {**inputs, **encoded}, self._weights(batch, inputs["labels"])

    def _tokenise(
        self, batch: Sequence[Example], conversations: Sequence[Any], frames: Sequence[Any]
    ) -> dict[str, torch.Tensor]:
        """Tokenised conversations with the batch's replies; `labels` are -100 where a record masks a token."""
        context, targets = self._context, [target_of(example) for example in batch]
        complete = [target.finish_reason == "stop" for target in targets]
        replies = [target.response for target in targets]
        inputs = dict(context.processor.tokenise(conversations, frames, replies, complete).to(context.model.device))
        for row, target in zip(inputs["labels"], targets, strict=True):
            _mask(row, target)
        return inputs

    def _weights(self, batch: Sequence[Example], labels: torch.Tensor) -> torch.Tensor:
        records = [1.0 if target_of(e).weight is None else target_of(e).weight for e in batch]
        weights = torch.tensor(records, device=labels.device)[:, None].expand(labels.shape).clone()
        for row, mask, example in zip(weights, labels != -100, batch, strict=True):
            if target_of(example).finish_reason == "stop":
                row[mask.nonzero()[-1:]] *= self._stage.end_of_turn_weight
        return weights[:, 1:][labels[:, 1:] != -100]

    def _hears_words(self, example: Example, step: int) -> bool:
        if not self._context.model.config.transcript:
            return False
        draw = random.Random(f"{self._context.seed}/{step}/{example.target and example.target.id}").random()
        return draw >= self._context.transcript_dropout


class Distillation(CrossEntropy):
    """The same LLM reading the description teaches the one that hears, at every token of the reply.

    The stage's `terms` weigh cross-entropy, divergences of the predictions (`kl`, `reverse_kl`, `jensen_shannon`,
    `contrastive_kl`) and the distance of the last hidden states, at all tokens (`hidden_state`) or where the reply
    begins (`hidden_state_last`, 0 at all other tokens); all are sums over the same reply tokens. The teacher is the LLM
    as published, also where LoRA or full training changes the one that hears.
    """

    def __call__(self, batch: Sequence[Example], step: int) -> tuple[torch.Tensor, int]:
        """See `Objective`; items are reply tokens."""
        if self._context.teacher is not None:
            return self._from_cache(self._context.teacher, batch, step)
        stage, model = self._stage, self._context.model
        inputs, weights = self._inputs(batch, step)
        deep = bool({"hidden_state", "hidden_state_last"} & set(stage.terms))
        hearing = model.predict_replies(**inputs, output_hidden_states=deep)
        with torch.no_grad(), model.untouched():
            reading = model.predict_replies(**self._described(batch), output_hidden_states=deep)
            silent = "contrastive_kl" not in stage.terms
            guessing = reading if silent else model.predict_replies(**self._described(batch, told=False))
        _check_same(batch, hearing.wanted, reading.wanted, guessing.wanted)
        begins = _begins(inputs["labels"])
        losses = torch.zeros_like(weights)
        for name, share in stage.terms.items():
            losses = losses + share * self._term(name, hearing, reading, guessing, begins)
        return (losses * weights).sum(), weights.numel()

    def _from_cache(self, teacher: TeacherCache, batch: Sequence[Example], step: int) -> tuple[torch.Tensor, int]:
        """The same where the teacher's predictions are kept, over its likeliest tokens and the rest."""
        inputs, weights = self._inputs(batch, step)
        hearing = self._context.model.predict_replies(**inputs)
        described = self._described(batch)
        labels = described["labels"][:, 1:]
        _check_same(batch, hearing.wanted, labels[labels != -100])
        temperature = self._stage.temperature
        likeliest = teacher.predict(described, temperature)
        heard, read = likeliest.outcomes_of(hearing.logits.float() / temperature), likeliest.outcomes()
        losses = torch.zeros_like(weights)
        for name, share in self._stage.terms.items():
            distance = DIVERGENCES.get(name)
            term = _cross_entropy(hearing) if distance is None else distance(heard, read, 1.0) * temperature**2
            losses = losses + share * term
        return (losses * weights).sum(), weights.numel()

    def _described(self, batch: Sequence[Example], told: bool = True) -> dict[str, Any]:
        """Conversations with the description in the place of the audio, or with nothing there."""
        descriptions = [[target_of(e).seed_description if told else ""] * e.hears for e in batch]
        read = [describe_audio(target_of(e).messages, d) for e, d in zip(batch, descriptions, strict=True)]
        return self._tokenise(batch, read, [[] for _ in batch])

    def _term(
        self, name: str, hearing: ReplyRows, reading: ReplyRows, guessing: ReplyRows, begins: torch.Tensor
    ) -> torch.Tensor:
        if name == "cross_entropy":
            return _cross_entropy(hearing)
        if name.startswith("hidden_state"):
            assert hearing.hidden is not None
            assert reading.hidden is not None
            distance = hidden_state(hearing.hidden.float(), reading.hidden.float())
            return distance if name == "hidden_state" else distance * begins
        temperature, heard, read = self._stage.temperature, hearing.logits.float(), reading.logits.float()
        if name == "contrastive_kl":
            return contrastive_kl(heard, read, guessing.logits.float(), temperature, self._stage.contrast)
        return DIVERGENCES[name](heard, read, temperature)


def _check_same(batch: Sequence[Example], wanted: torch.Tensor, *others: torch.Tensor) -> None:
    if not all(torch.equal(wanted, other) for other in others):
        ids = ", ".join(target_of(example).id for example in batch[:4])
        raise SpeechLLMError(f"targets {ids}, ...: a reply is tokenised differently after audio and after text")


def _begins(labels: torch.Tensor) -> torch.Tensor:
    """1 at the first learned token of each reply and 0 at the others, (N,), of labels (B, S)."""
    learned = labels[:, 1:] != -100
    return (learned & (learned.cumsum(1) == 1))[learned].float()


def _cross_entropy(rows: ReplyRows) -> torch.Tensor:
    return torch.nn.functional.cross_entropy(rows.logits.float(), rows.wanted, reduction="none")


def target_of(example: Example) -> TargetRecord:
    """The target of an example that has one: all but those of the warm-up."""
    assert example.target is not None
    return example.target


def _mask(labels: torch.Tensor, target: TargetRecord) -> None:
    """Takes out of `labels` (S,), in place, the reply tokens that the record does not want to be learned."""
    if target.token_mask is None:
        return
    at = (labels != -100).nonzero()[:, 0]
    ends = int(target.finish_reason == "stop")  # the end of turn follows the reply and is always learned
    if len(target.token_mask) != len(at) - ends:
        raise SpeechLLMError(
            f"target {target.id!r}: token_mask has {len(target.token_mask)} entries but the reply takes"
            f" {len(at) - ends} tokens; make the mask with the LLM that is trained for"
        )
    keep = torch.tensor([*target.token_mask, *[1] * ends], dtype=torch.bool, device=labels.device)
    labels[at[~keep]] = -100
