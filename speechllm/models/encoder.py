"""Runs a frozen speech encoder on clips of their own length and returns the layers that the adapter reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from speechllm.errors import SpeechLLMError

HOP_S = 0.01
"""Seconds a log-mel frame."""

WINDOW_S = 30.0
"""Whisper has positions for this many seconds; longer audio is cut into windows of this length."""

STRIDE = 2
"""Log-mel frames an encoder frame."""


def take_encoder(model: Any) -> Any:
    """The encoder of a loaded speech model.

    Raises:
        SpeechLLMError: the model's family is not supported.
    """
    encoder = model.get_encoder() if hasattr(model, "get_encoder") else model
    if not isinstance(encoder, WhisperEncoder):
        raise SpeechLLMError(f"encoder {type(model).__name__} is not supported; use a Whisper model")
    return encoder


def encode(
    encoder: WhisperEncoder, features: torch.Tensor, mask: torch.Tensor, layers: Sequence[int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Runs Whisper's encoder without padding to 30 s.

    transformers' own forward insists on 30 s and attends to padding. Here padding is silenced before each convolution
    (as if the clip ended there) and masked in attention, so a clip gives the same states alone or in any batch.

    Args:
        encoder: the module of transformers; its layers are called as they are.
        features: (B, M, F) log-mel, F even and at most 3000.
        mask: (B, F) bool, True at real frames.
        layers: which layers' outputs to return, counted from 1; the last one comes after the final LayerNorm.

    Returns:
        states (B, L, T, D) and their mask (B, T), where T = F / 2.
    """
    mask = mask.bool()
    silence = mask.unsqueeze(1).to(features.dtype)
    x_BDF = nn.functional.gelu(encoder.conv1(features * silence)) * silence
    x_BTD = nn.functional.gelu(encoder.conv2(x_BDF)).transpose(1, 2)
    mask_BT = mask[:, ::STRIDE]
    x_BTD = x_BTD + encoder.embed_positions.weight[: x_BTD.shape[1]].to(x_BTD.dtype)

    attention_mask = None
    if not bool(mask_BT.all()):
        attention_mask = torch.zeros(mask_BT.shape, dtype=x_BTD.dtype, device=x_BTD.device)
        attention_mask = attention_mask.masked_fill(~mask_BT, torch.finfo(x_BTD.dtype).min)[:, None, None, :]
        attention_mask = attention_mask.expand(-1, 1, mask_BT.shape[1], -1)

    taps: dict[int, torch.Tensor] = {}
    for number, layer in enumerate(encoder.layers, 1):
        out = layer(x_BTD, attention_mask)
        x_BTD = out[0] if isinstance(out, tuple) else out
        taps[number] = x_BTD
    taps[len(encoder.layers)] = encoder.layer_norm(x_BTD)
    return torch.stack([taps[number] for number in layers], dim=1), mask_BT
