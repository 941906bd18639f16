"""Objectives over what the model itself writes: the LLM that reads the description scores it, or a verifier does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from speechllm.config import StageConfig
from speechllm.data.prompts import Prompt, read_prompts
from speechllm.data.render import Message, describe_audio
from speechllm.errors import SpeechLLMError
from speechllm.models.modeling import ReplyRows
from speechllm.models.reply import Reply, Sampling
from speechllm.targets.strategies.base import Item, Writer
from speechllm.targets.verify import Verdict, verify
from speechllm.train.data import Example, conversation
from speechllm.train.objectives.base import Context
from speechllm.train.objectives.divergences import reverse_kl
from speechllm.train.objectives.replies import CrossEntropy, target_of
from speechllm.train.objectives.rollouts import Rollouts, roll_out


class OnPolicyDistillation(CrossEntropy):
    """The model replies, and the published LLM that reads the description says how it would have gone on, everywhere.

    The reverse KL over the whole vocabulary at every token of the model's own replies (GKD, arXiv 2306.13649, with
    samples of the student only and no gradient through sampling). The targets' own replies are not used.
    """

    def __call__(self, batch: Sequence[Example], step: int) -> tuple[torch.Tensor, int]:
        """See `Objective`; items are tokens of the replies that were written."""
        rollouts, hearing, reading = self._write(batch, step, 1)
        losses = reverse_kl(hearing.logits.float(), reading.logits.float(), self._stage.temperature)
        return (losses * _record_weights(batch, rollouts)).sum(), losses.numel()

    def _write(self, batch: Sequence[Example], step: int, draws: int) -> tuple[Rollouts, ReplyRows, ReplyRows]:
        """Replies, `draws` in a row for each example, and what the two LLMs predict at their tokens."""
        context, stage = self._context, self._stage
        asked = [example for example in batch for _ in range(draws)]
        encoded = context.audio.get([example.utterance for example in asked])
        heard = [conversation(target_of(e).messages, e.utterance, transcript=self._hears_words(e, step)) for e in asked]
        prompts = self._prompts(heard, [[context.audio.frames(example.utterance)] for example in asked])
        rollouts = roll_out(
            context,
            {**prompts, "encoded_audio": encoded},
            [f"{context.seed}/{step}/{target_of(e).id}/{draw}" for e in batch for draw in range(draws)],
            max_new_tokens=stage.max_new_tokens,
            temperature=stage.sampling_temperature,
        )
        read = [describe_audio(target_of(e).messages, [target_of(e).seed_description]) for e in asked]
        with torch.no_grad(), context.model.untouched():
            reading = context.model.predict_replies(**rollouts.after(self._prompts(read, [[] for _ in asked])))
        hearing = context.model.predict_replies(**rollouts.after(prompts), encoded_audio=encoded)
        return rollouts, hearing, reading

    def _prompts(self, conversations: Sequence[Any], frames: Sequence[Any]) -> dict[str, Any]:
        return dict(self._context.processor.tokenise(conversations, frames).to(self._context.model.device))


class GroupRelativePolicy(OnPolicyDistillation):
    """The model replies several times to each prompt, and what a verifier finds right becomes more likely (GRPO).

    Group-relative advantages (DeepSeekMath, arXiv 2402.03300): the reward, 1 for right and 0 for wrong, less the mean
    of the prompt's group, over its deviation; every sample is used for one update, so that nothing is clipped, and
    all tokens of a batch count alike (DAPO, arXiv 2503.14476). `kl_weight` times the reverse KL to the published LLM
    reading the description holds the model to its ways, exact and not estimated from the samples. Where the verifier
    has no say, only that is learned.
    """

    def __init__(self, context: Context, stage: StageConfig) -> None:
        super().__init__(context, stage)
        if stage.prompts is None:
            raise SpeechLLMError("grpo: set the stage's prompts, the file that the targets' prompts were taken from")
        if stage.sampling_temperature == 0 or stage.group_size < 2:
            raise SpeechLLMError("grpo: compares samples; set sampling_temperature > 0 and group_size of 2 or more")
        self._asked = {prompt.id: prompt for prompt in read_prompts(stage.prompts)}

    def __call__(self, batch: Sequence[Example], step: int) -> tuple[torch.Tensor, int]:
        """See `Objective`; items are tokens of the replies that were written."""
        stage = self._stage
        rollouts, hearing, reading = self._write(batch, step, stage.group_size)
        verdicts = self.verdicts(batch, rollouts.texts)
        gains = advantages(verdicts, stage.group_size).to(rollouts.rows.device)[rollouts.rows]
        logits = hearing.logits.float()
        likely = (logits / stage.sampling_temperature).log_softmax(-1).gather(1, hearing.wanted[:, None])[:, 0]
        losses = stage.kl_weight * reverse_kl(logits, reading.logits.float(), 1.0)
        losses = losses - gains * (likely - likely.detach()).exp()
        return (losses * _record_weights(batch, rollouts)).sum(), losses.numel()

    def verdicts(self, batch: Sequence[Example], texts: Sequence[str]) -> list[Verdict]:
        """Whether each reply is right, as many in a row about each example as there are for it."""
        draws = len(texts) // len(batch)
        items = [self._item(example) for example in batch for _ in range(draws)]
        return verify(items, texts, Writer(_no_one))

    def _item(self, example: Example) -> Item:
        target = target_of(example)
        prompt: Prompt | None = self._asked.get(target.prompt_id)
        if prompt is None:
            raise SpeechLLMError(
                f"target {target.id!r}: its prompt {target.prompt_id!r} is not in {self._stage.prompts}; give the file"
                " that the targets' prompts were taken from"
            )
        return Item(target.id, prompt, example.utterance)


def advantages(verdicts: Sequence[Verdict], group_size: int) -> torch.Tensor:
    """Rewards of groups in a row, each normalised by its group's mean and deviation, (B,); 0 where all are alike."""
    rewards = torch.tensor([0.0 if verdict is None else float(verdict) for verdict in verdicts]).view(-1, group_size)
    spread = rewards.std(1, correction=0, keepdim=True)
    return ((rewards - rewards.mean(1, keepdim=True)) / (spread + 1e-4)).view(-1)


def _record_weights(batch: Sequence[Example], rollouts: Rollouts) -> torch.Tensor:
    weights = [1.0 if target_of(e).weight is None else float(target_of(e).weight or 0) for e in batch]
    each = torch.tensor(weights, device=rollouts.rows.device).repeat_interleave(len(rollouts.texts) // len(batch))
    return each[rollouts.rows]


def _no_one(conversations: Sequence[Sequence[Message]], sampling: Sampling, description: str = "") -> list[Reply]:
    raise AssertionError("these verifiers ask no LLM")
