"""Distances between what the LLM says after hearing and after reading, one number a reply token.

Each takes the logits (N, V) of the speech-fed LLM and of the text-fed LLM at the N reply tokens, and a temperature; the
factor T^2 keeps the size of gradients when the temperature changes (Hinton et al. 2015, section 2).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch.nn.functional import log_softmax

Divergence = Callable[[torch.Tensor, torch.Tensor, float], torch.Tensor]


def kl(hearing: torch.Tensor, reading: torch.Tensor, temperature: float) -> torch.Tensor:
    """KL(reading || hearing), (N,): covers all that the text-fed LLM would say (Ultravox, BLSP-KD)."""
    return _kl(log_softmax(reading / temperature, -1), log_softmax(hearing / temperature, -1)) * temperature**2


def reverse_kl(hearing: torch.Tensor, reading: torch.Tensor, temperature: float) -> torch.Tensor:
    """KL(hearing || reading), (N,): says nothing that the text-fed LLM would not (CORD)."""
    return kl(reading, hearing, temperature)


def jensen_shannon(hearing: torch.Tensor, reading: torch.Tensor, temperature: float) -> torch.Tensor:
    """Mean KL of both to their mixture, (N,); symmetric and at most T^2 log 2 (Lin 1991)."""
    p, q = log_softmax(reading / temperature, -1), log_softmax(hearing / temperature, -1)
    mixture = torch.logaddexp(p, q) - math.log(2)
    return 0.5 * (_kl(p, mixture) + _kl(q, mixture)) * temperature**2


def contrastive_kl(
    hearing: torch.Tensor, reading: torch.Tensor, guessing: torch.Tensor, temperature: float, contrast: float
) -> torch.Tensor:
    """KL(teacher || hearing), (N,), of a teacher that says what the description, and not the question alone, suggests.

    Its logits are (1 + contrast) * reading - contrast * guessing, where `guessing` (N, V) are those of the LLM that has
    the question but no description: contrastive audio-aware distillation (CAAD, arXiv 2606.23052) with the LLM that
    reads the description in the place of the large speech LLM. CAAD's mask of implausible tokens is left out.
    """
    return kl(hearing, (1 + contrast) * reading - contrast * guessing, temperature)


def _kl(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    """KL(p || q) of log-probabilities (N, V)."""
    return (p.exp() * (p - q)).sum(-1)


def hidden_state(hearing: torch.Tensor, reading: torch.Tensor) -> torch.Tensor:
    """Squared distance of the last hidden states (N, D), relative to the square of the text-fed one, (N,).

    DiVA (arXiv 2410.02678) measures it at the prompt's last position, which predicts the first token of the reply.
    """
    return (hearing - reading).square().mean(-1) / reading.square().mean(-1)


DIVERGENCES: dict[str, Divergence] = {"kl": kl, "reverse_kl": reverse_kl, "jensen_shannon": jensen_shannon}
