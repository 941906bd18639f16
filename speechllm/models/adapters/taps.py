"""One stream of frames from several tapped layers, for adapters that were designed for the last layer alone."""

from __future__ import annotations

import torch
from torch import nn


class TapMean(nn.Module):
    """A learned weighted mean of the taps, as ELMo's scalar mix (Peters et al. 2018); padding becomes zero.

    With one tap, `audio_layers = [last]`, it is that tap.
    """

    def __init__(self, num_layers: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(num_layers))

    def forward(self, states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """States (B, L, T, D) with mask (B, T) -> (B, T, D)."""
        frames_BTD = torch.einsum("bltd,l->btd", states, self.weights.softmax(dim=0))
        return frames_BTD.masked_fill(~mask.unsqueeze(-1), 0.0)
