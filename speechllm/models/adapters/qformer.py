"""Q-Former with layer taps, as DeSTA2 (arXiv 2409.20007) and DeSTA2.5-Audio (arXiv 2507.02768) describe it."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from speechllm.models.adapters.base import Adapter, at_least_one, register

EPSILON = 1e-12
"""In the blocks' LayerNorms, as in BERT; `norm`, after the taps are mixed, has PyTorch's 1e-5, as theirs."""


class Attention(nn.Module):
    """Multi-head attention of queries (B, N, D) over keys (B, T, K) with an optional mask (B, T)."""

    def __init__(self, size: int, heads: int, key_size: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(size, size)
        self.key = nn.Linear(key_size, size)
        self.value = nn.Linear(key_size, size)
        self.out = nn.Linear(size, size)

    def forward(self, x: torch.Tensor, keys: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Returns (B, N, D)."""
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in (self.query(x), self.key(keys), self.value(keys))
        )
        allowed = None if mask is None else mask[:, None, None, :]
        mixed = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=allowed)
        return self.out(mixed.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """One BERT block with cross-attention; LayerNorm after each residual, as in BERT."""

    def __init__(self, size: int, heads: int, ffn_size: int, audio_size: int, dropout: float) -> None:
        super().__init__()
        self.attention = Attention(size, heads, size)
        self.attention_norm = nn.LayerNorm(size, eps=EPSILON)
        self.cross = Attention(size, heads, audio_size)
        self.cross_norm = nn.LayerNorm(size, eps=EPSILON)
        self.ffn = nn.Sequential(nn.Linear(size, ffn_size), nn.GELU(), nn.Linear(ffn_size, size))
        self.ffn_norm = nn.LayerNorm(size, eps=EPSILON)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor, audio: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Queries (B, N, D) over audio (B, T, A) with mask (B, T)."""
        x = self.attention_norm(x + self.dropout(self.attention(x, x)))
        x = self.cross_norm(x + self.dropout(self.cross(x, audio, mask)))
        return self.ffn_norm(x + self.dropout(self.ffn(x)))


@register("qformer")
class QFormer(Adapter):
    """Own queries for each tap, blocks shared by all taps, a softmax over taps for each query, LayerNorm and Linear.

    Defaults are DeSTA2's (2 layers, size 768, 12 heads, 64 queries); DeSTA2.5-Audio has 6, 1280, 20 and 64. All taps
    run through the blocks in one batch, and cross-attention sees real frames only.
    """

    def __init__(
        self,
        num_layers: int,
        audio_size: int,
        text_size: int,
        *,
        queries: int = 64,
        blocks: int = 2,
        size: int = 768,
        heads: int = 12,
        ffn_size: int = 3072,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        at_least_one(queries=queries, blocks=blocks, size=size, heads=heads, ffn_size=ffn_size)
        if size % heads:
            raise ValueError(f"size {size} is not a multiple of heads {heads}")
        self.queries = nn.Parameter(torch.randn(num_layers, queries, size) * 0.02)
        self.blocks = nn.ModuleList(Block(size, heads, ffn_size, audio_size, dropout) for _ in range(blocks))
        self.tap_weights = nn.Parameter(torch.zeros(queries, num_layers))
        self.norm = nn.LayerNorm(size)
        self.out = nn.Linear(size, text_size)
        self.text_scale = nn.Parameter(torch.ones(()))

    def forward(self, states: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See `Adapter`; every mask of the result is all True."""
        B, L = states.shape[:2]
        x = self.queries.expand(B, -1, -1, -1).flatten(0, 1)
        audio, audio_mask = states.flatten(0, 1), mask.repeat_interleave(L, dim=0)
        for block in self.blocks:
            x = block(x, audio, audio_mask)
        x_BLND = x.unflatten(0, (B, L))
        mixed = torch.einsum("blnd,nl->bnd", x_BLND, self.tap_weights.softmax(dim=-1))
        vectors = self.out(self.norm(mixed)) * self.text_scale
        return vectors, torch.ones(vectors.shape[:2], dtype=torch.bool, device=vectors.device)

    @staticmethod
    def num_vectors(frames: int, *, queries: int = 64, **_: Any) -> int:
        """A fixed number, whatever the length."""
        return queries

    def set_text_scale(self, scale: float) -> None:
        """Starts the vectors at the size of the LLM's own embeddings."""
        nn.init.constant_(self.text_scale, scale)
