"""Pooled statistics: a fixed number of vectors from mean and deviation over time of each tapped layer."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from speechllm.models.adapters.base import Adapter, at_least_one, register


@register("pooled")
class PooledStatistics(Adapter):
    """Hears the manner of an utterance (who, how), not its words: pair it with the transcript stream.

    The mean and standard deviation over time that x-vectors pool (Snyder et al. 2018), of every tap, standardised,
    and mapped by an MLP to all vectors at once. Small, quick and hard to overfit.

    Every vector has a size of its own, the same for all clips (RMSNorm, arXiv 1910.07467, and a gain for each vector).
    Where a voice is unlike those of training the statistics point the right way but not far enough: without this the
    vectors of Common Voice had 0.58 to 0.76 of the size that they had been taught on CREMA-D, and SmolLM2-135M kept to
    59 % of the rules; put to size, to 71 % (`egs/forgetting/RESULTS.md`).
    """

    def __init__(
        self,
        num_layers: int,
        audio_size: int,
        text_size: int,
        *,
        vectors: int = 24,
        hidden_size: int = 512,
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        at_least_one(vectors=vectors, hidden_size=hidden_size)
        self.vectors = vectors
        self.shift = nn.Parameter(torch.zeros(num_layers, 2 * audio_size))
        self.scale = nn.Parameter(torch.ones(num_layers, 2 * audio_size))
        self.hidden = nn.Linear(num_layers * 2 * audio_size, hidden_size)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(hidden_size, vectors * text_size)
        self.text_scale = nn.Parameter(torch.ones(vectors, 1))

    def reduce(self, states: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and standard deviation over the real frames: (B, L, T, D) -> (B, L, 1, 2 D)."""
        states = states.float()
        weight_BTx = mask[:, None, :, None].to(states.dtype)
        count = weight_BTx.sum(2).clamp(min=1)
        mean_BLD = (states * weight_BTx).sum(2) / count
        variance_BLD = ((states - mean_BLD.unsqueeze(2)).square() * weight_BTx).sum(2) / count
        pooled = torch.cat([mean_BLD, (variance_BLD + 1e-6).sqrt()], dim=-1)
        return pooled.unsqueeze(2), torch.ones_like(mask[:, :1])

    def forward(self, states: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See `Adapter`; every mask of the result is all True."""
        pooled = (states.squeeze(2) - self.shift) * self.scale
        hidden = nn.functional.gelu(self.hidden(self.dropout(pooled.flatten(1))))
        vectors = self.out(hidden).unflatten(1, (self.vectors, -1))
        vectors = nn.functional.rms_norm(vectors, vectors.shape[-1:]) * self.text_scale
        return vectors, torch.ones(vectors.shape[:2], dtype=torch.bool, device=vectors.device)

    @staticmethod
    def num_vectors(frames: int, *, vectors: int = 24, **_: Any) -> int:
        """A fixed number, whatever the length."""
        return vectors

    @torch.no_grad()
    def calibrate(self, states: torch.Tensor, mask: torch.Tensor) -> None:
        """Starts every statistic at mean 0 and deviation 1 over the training data.

        What tells voices apart hides in statistics of small variance; measured on eight unseen synthetic voices, a
        probe hears gender, pitch and rate right in 97 % with this and in 95.5 % with a LayerNorm.
        """
        pooled = states.squeeze(2).float()
        self.shift.copy_(pooled.mean(0))
        self.scale.copy_(1 / (pooled.std(0, unbiased=False) + 1e-3))

    def set_text_scale(self, scale: float) -> None:
        """Starts the vectors at the size of the LLM's own embeddings."""
        nn.init.constant_(self.text_scale, scale)
