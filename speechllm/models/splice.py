"""Puts audio vectors where the placeholders stand: one pure function without a loop."""

from __future__ import annotations

import torch

from speechllm.errors import SpeechLLMError


def splice(
    embeddings: torch.Tensor, is_audio: torch.Tensor, vectors: torch.Tensor, valid: torch.Tensor
) -> torch.Tensor:
    """Replaces the rows of `embeddings` at placeholders by audio vectors, in reading order.

    Args:
        embeddings: (B, S, D), the embedded tokens; what stands at placeholders is ignored.
        is_audio: (B, S) bool, True at placeholders.
        vectors: (W, N, D), the vectors of all audio windows of the batch, in the order in which they are mentioned.
        valid: (W, N) bool, False at padding.

    Returns:
        (B, S, D), differentiable with respect to `vectors`.

    Raises:
        SpeechLLMError: the number of placeholders is not the number of valid vectors.
    """
    wanted, got = int(is_audio.sum()), int(valid.sum())
    if wanted != got:
        raise SpeechLLMError(
            f"the prompt has {wanted} audio placeholders but the audio has {got} vectors;"
            " make both with the processor of this checkpoint"
        )
    return embeddings.masked_scatter(is_audio.unsqueeze(-1), vectors[valid].to(embeddings.dtype))
