"""Convolution and bottleneck, as BLSP (arXiv 2309.00916) describes it."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from speechllm.models.adapters.base import Adapter, at_least_one, register
from speechllm.models.adapters.taps import TapMean


@register("convolution")
class ConvolutionBottleneck(Adapter):
    """Hears words and manner: gated convolutions of stride 2, a bottleneck MLP beside a residual, LayerNorm.

    Defaults are BLSP's (three convolutions of width 5, so a vector for every 8 frames, and a bottleneck of 512). Unlike
    theirs, what lies past the end of a clip is zero before every convolution, so that padding changes nothing.
    """

    def __init__(
        self,
        num_layers: int,
        audio_size: int,
        text_size: int,
        *,
        convolutions: int = 3,
        kernel_size: int = 5,
        bottleneck_size: int = 512,
    ) -> None:
        super().__init__()
        at_least_one(convolutions=convolutions, kernel_size=kernel_size, bottleneck_size=bottleneck_size)
        if kernel_size % 2 == 0:
            raise ValueError(f"kernel_size is {kernel_size}, give an odd number")
        self.taps = TapMean(num_layers)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(audio_size, 2 * out, kernel_size, stride=2, padding=kernel_size // 2)
            for out in [audio_size] * (convolutions - 1) + [text_size]
        )
        self.bottleneck = nn.Sequential(
            nn.Linear(text_size, bottleneck_size, bias=False),
            nn.GELU(),
            nn.Linear(bottleneck_size, text_size, bias=False),
        )
        self.norm = nn.LayerNorm(text_size)
        self.text_scale = nn.Parameter(torch.ones(()))

    def forward(self, states: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See `Adapter`; T frames become ceil(T / 2 ** convolutions) vectors."""
        x_BDT = self.taps(states, mask).transpose(1, 2)
        for convolution in self.convolutions:
            # Frame i of the result looks at frames around 2 i, so it is real where that one is.
            mask = mask[:, ::2]
            x_BDT = nn.functional.glu(convolution(x_BDT), dim=1).masked_fill(~mask.unsqueeze(1), 0.0)
        x_BTD = x_BDT.transpose(1, 2)
        return self.norm(x_BTD + self.bottleneck(x_BTD)) * self.text_scale, mask

    @staticmethod
    def num_vectors(frames: int, *, convolutions: int = 3, **_: Any) -> int:
        """Half as many after each convolution, rounded up."""
        return -(-frames // 2**convolutions)

    def set_text_scale(self, scale: float) -> None:
        """Starts the vectors at the size of the LLM's own embeddings."""
        nn.init.constant_(self.text_scale, scale)
