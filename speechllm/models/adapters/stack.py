"""Stack-and-MLP: neighbouring frames side by side, then an MLP, as Ultravox and SLAM-LLM do."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from speechllm.models.adapters.base import Adapter, at_least_one, register
from speechllm.models.adapters.taps import TapMean


class SwiGLU(nn.Module):
    """SiLU of the second half times the first (arXiv 2002.05202), the order that Ultravox's weights have."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., 2 H) -> (..., H)."""
        # In float32 also where products are bfloat16: the fused norm behind it wants the type of its own weights.
        value, gate = x.float().chunk(2, dim=-1)
        return nn.functional.silu(gate) * value


def _ultravox(joined_size: int, hidden_size: int, text_size: int) -> nn.Sequential:
    return nn.Sequential(
        nn.RMSNorm(joined_size, eps=1e-6),
        nn.Linear(joined_size, 2 * hidden_size, bias=False),
        SwiGLU(),
        nn.RMSNorm(hidden_size, eps=1e-6),
        nn.Linear(hidden_size, text_size, bias=False),
    )


def _plain(joined_size: int, hidden_size: int, text_size: int) -> nn.Sequential:
    return nn.Sequential(
        nn.LayerNorm(joined_size),
        nn.Linear(joined_size, hidden_size),
        nn.GELU(),
        nn.Linear(hidden_size, text_size),
    )


@register("stack")
class StackMLP(Adapter):
    """Hears words and manner at the rate of the frames: one vector for every `stack` frames.

    Defaults are those of Ultravox from v0.5 on (RMSNorm, SwiGLU of 2 x 2048, RMSNorm, without biases; their
    `UltravoxProjector` with `projector_ln_mid`). `gated = false` gives LayerNorm, GELU and biases; with `stack = 2` and
    `hidden_size = 2560` that is the 13.1 M of the Interspeech 2026 tutorial beside Whisper-large-v3 and Qwen3-4B.
    The last vector of a clip may hold fewer real frames; the missing ones are zeros, whatever the batch.
    """

    def __init__(
        self,
        num_layers: int,
        audio_size: int,
        text_size: int,
        *,
        stack: int = 8,
        hidden_size: int = 2048,
        gated: bool = True,
    ) -> None:
        super().__init__()
        at_least_one(stack=stack, hidden_size=hidden_size)
        self.stack = stack
        self.taps = TapMean(num_layers)
        self.mlp = (_ultravox if gated else _plain)(stack * audio_size, hidden_size, text_size)
        self.text_scale = nn.Parameter(torch.ones(()))

    def forward(self, states: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See `Adapter`; T frames become ceil(T / stack) vectors."""
        frames_BTD = self.taps(states, mask)
        missing = -frames_BTD.shape[1] % self.stack
        joined = nn.functional.pad(frames_BTD, (0, 0, 0, missing)).unflatten(1, (-1, self.stack)).flatten(2)
        valid = nn.functional.pad(mask, (0, missing)).unflatten(1, (-1, self.stack)).any(dim=2)
        return self.mlp(joined) * self.text_scale, valid

    @staticmethod
    def num_vectors(frames: int, *, stack: int = 8, **_: Any) -> int:
        """One for every `stack` frames, rounded up."""
        return -(-frames // stack)

    def set_text_scale(self, scale: float) -> None:
        """Starts the vectors at the size of the LLM's own embeddings."""
        nn.init.constant_(self.text_scale, scale)
