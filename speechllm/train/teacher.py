"""What the LLM that reads the description predicts, computed once: its most likely tokens at each one of a reply.

Distances are then taken over k + 1 outcomes, the k tokens that the teacher found likeliest and "any other token", whose
probability is what is left: with p the teacher's and q the student's, `sum_i p_i log(p_i / q_i) + p_r log(p_r / q_r)`,
where p_r = 1 - sum_i p_i and q_r = 1 - sum_i q_i. Putting outcomes together can only make a divergence smaller (the log
sum inequality, Cover and Thomas, Elements of Information Theory, theorem 2.7.1), so this is a lower bound of the whole
divergence, and equal to it where k is the size of the vocabulary. Sparse Logit Sampling (arXiv 2503.16870) shows the
bias of keeping the k likeliest tokens alone, without the rest.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from speechllm import hub
from speechllm.config import StageConfig, TrainConfig
from speechllm.errors import SpeechLLMError
from speechllm.models.modeling import SpeechLLM
from speechllm.train.bounded import BoundedFolder

KEEPABLE = {"kl", "jensen_shannon", "cross_entropy"}
"""Terms of distillation that k tokens are enough for. `reverse_kl` is about what the student says and the teacher does
not, which is what the rest hides; the others need all logits of two teachers, or hidden states."""

FLOOR = -100.0
"""Log-probability of what is impossible; finite, so that 0 log 0 is 0."""


@dataclass(frozen=True)
class Likeliest:
    """The k likeliest tokens at N tokens of replies: `ids` and `log_probs` (N, k), `rest` (N,), the log of what is left
    for all others; probabilities at the temperature that they were asked for at."""

    ids: torch.Tensor
    log_probs: torch.Tensor
    rest: torch.Tensor

    def outcomes(self) -> torch.Tensor:
        """Log-probabilities of the k tokens and of any other, (N, k + 1)."""
        return torch.cat([self.log_probs.float(), self.rest[:, None]], 1)

    def outcomes_of(self, logits: torch.Tensor) -> torch.Tensor:
        """The same outcomes under other logits (N, V), already divided by the temperature, differentiable."""
        log_probs = logits.log_softmax(-1)
        rest = log_probs.scatter(1, self.ids, FLOOR).logsumexp(1, keepdim=True)
        return torch.cat([log_probs.gather(1, self.ids), rest], 1)


class TeacherCache:
    """Predictions of the LLM as published, kept in a folder of at most `max_bytes`.

    Kept in float32 where the LLM computes in it, else in float16. What is used is always what is kept, rounded, so that
    a run that goes on from a saved state sees what it saw before.
    """

    def __init__(self, folder: Path, max_bytes: int, model: SpeechLLM, top_k: int, quantization: str | None) -> None:
        self._kept = BoundedFolder(folder, max_bytes, "data.teacher_cache")
        self._model = model
        self._top_k = top_k
        llm = {"llm": hub.fingerprint(hub.resolve(model.config.llm)), "top_k": top_k, "quantization": quantization}
        what = json.dumps(llm | {"dtype": str(model.language_model.dtype)}, sort_keys=True)
        self._llm = hashlib.sha256(what.encode()).hexdigest()

    @torch.no_grad()
    def predict(self, inputs: dict[str, Any], temperature: float) -> Likeliest:
        """Predictions at the N labelled tokens of a batch, in its order; only what is not kept is computed.

        Args:
            inputs: `input_ids`, `attention_mask` and `labels` (B, S) of conversations that hold text alone.
            temperature: divides the logits.
        """
        keys = [self._key(inputs, row, temperature) for row in range(len(inputs["labels"]))]
        found = [self._kept.get(key) for key in keys]
        missing = [row for row, kept in enumerate(found) if kept is None]
        if missing:
            chosen = torch.tensor(missing, device=inputs["labels"].device)
            computed = self._compute({name: tensor[chosen] for name, tensor in inputs.items()}, temperature)
            for row, tensors in zip(missing, computed, strict=True):
                self._kept.put(keys[row], tensors)
                found[row] = tensors
        device = inputs["labels"].device
        kept = [tensors for tensors in found if tensors is not None]
        ids, log_probs, rest = (torch.cat([t[name] for t in kept]).to(device) for name in ("ids", "log_probs", "rest"))
        return Likeliest(ids.long(), log_probs, rest)

    def _compute(self, inputs: dict[str, Any], temperature: float) -> list[dict[str, torch.Tensor]]:
        """What is to be kept of each conversation."""
        with self._model.untouched():
            logits = self._model.predict_replies(**inputs).logits.float() / temperature
        log_probs, ids = logits.log_softmax(-1).topk(min(self._top_k, logits.shape[1]))
        rest = logits.log_softmax(-1).scatter(1, ids, FLOOR).logsumexp(1)
        dtype = torch.float32 if self._model.language_model.dtype == torch.float32 else torch.float16
        counts = (inputs["labels"][:, 1:] != -100).sum(1).tolist()
        each = zip(
            ids.int().cpu().split(counts),
            log_probs.to(dtype).cpu().split(counts),
            rest.cpu().split(counts),
            strict=True,
        )
        return [{"ids": i.clone(), "log_probs": p.clone(), "rest": r.clone()} for i, p, r in each]

    def _key(self, inputs: dict[str, torch.Tensor], row: int, temperature: float) -> str:
        """Of the LLM and of one conversation, without its padding, and which of its tokens are learned."""
        real = inputs["attention_mask"][row].bool()
        digest = hashlib.sha256(f"{self._llm}/{temperature}/".encode())
        for name in ("input_ids", "labels"):
            digest.update(inputs[name][row][real].cpu().numpy().tobytes())
        return digest.hexdigest()


def teacher_cache(config: TrainConfig, model: SpeechLLM) -> TeacherCache | None:
    """The folder that the config names, if it does.

    Raises:
        SpeechLLMError: a stage has a term that k tokens are not enough for.
    """
    data = config.data
    if data.teacher_cache is None:
        return None
    for number, stage in enumerate(config.stages):
        _check(number, stage)
    return TeacherCache(
        data.teacher_cache, int(data.teacher_cache_gb * 1e9), model, data.teacher_top_k, config.model.quantization
    )


def _check(number: int, stage: StageConfig) -> None:
    wrong = sorted(set(stage.terms) - KEEPABLE)
    if stage.objective == "distillation" and wrong:
        raise SpeechLLMError(
            f"stages.{number}.terms {', '.join(wrong)}: cannot be computed from data.teacher_cache, which keeps the"
            f" likeliest tokens alone; use {', '.join(sorted(KEEPABLE))}, or leave data.teacher_cache out"
        )
