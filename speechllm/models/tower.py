"""The audio tower: one encoder, or Whisper with a second, paralinguistic encoder beside it.

WavLLM (arXiv 2404.00656) pairs Whisper, for what is said, with WavLM, for how it is said; AZeroS (arXiv 2601.06086)
pairs two Zipformers. Whisper and the waveform encoders both write a frame every 20 ms, so the two are joined frame by
frame and tap by tap: every adapter reads the pair as one encoder whose width is the sum of theirs.
"""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn
from transformers import AutoModel
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from speechllm import hub
from speechllm.errors import SpeechLLMError
from speechllm.models.configuration import SpeechLLMConfig, default_audio_layers
from speechllm.models.encoder import encode, hears_waveform, take_encoder
from speechllm.models.lora import add_encoder_lora

HOP = 160
"""Samples a log-mel frame."""


class DualEncoder(nn.Module):
    """Two encoders whose frames lie side by side; to `SpeechLLM` it looks like one."""

    def __init__(self, semantic: Any, paralinguistic: Any) -> None:
        super().__init__()
        if not isinstance(semantic, WhisperEncoder) or not hears_waveform(paralinguistic.config):
            raise SpeechLLMError(
                "a paralinguistic_encoder (wav2vec2, HuBERT or WavLM) goes beside a Whisper as encoder; these are a"
                f" {paralinguistic.config.model_type} beside a {semantic.config.model_type}"
            )
        stride = math.prod(paralinguistic.config.conv_stride)
        if stride != 2 * HOP:
            raise SpeechLLMError(
                f"paralinguistic_encoder writes a frame every {stride} samples, Whisper every {2 * HOP}"
            )
        self.semantic, self.paralinguistic = semantic, paralinguistic
        self.config = SimpleNamespace(
            num_hidden_layers=semantic.config.num_hidden_layers,
            hidden_size=semantic.config.hidden_size + paralinguistic.config.hidden_size,
        )

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights."""
        return next(self.parameters()).dtype


def load_tower(config: SpeechLLMConfig, dtype: torch.dtype | str) -> Any:
    """The encoder, or the two encoders, that `config` names; puts the layers of the second into `config` if need be.

    Raises:
        SpeechLLMError: one is not supported, or the two do not go together.
    """
    tower = _load(config.encoder, config, dtype)
    if not config.paralinguistic_encoder:
        return tower
    other = _load(config.paralinguistic_encoder, config, dtype)
    taps, depth = len(config.audio_layers or []), other.config.num_hidden_layers
    if config.paralinguistic_layers is None:
        config.paralinguistic_layers = default_audio_layers(depth, taps)
    layers = config.paralinguistic_layers
    if len(layers) != taps or not all(1 <= number <= depth for number in layers):
        raise SpeechLLMError(
            f"paralinguistic_layers {layers}: give {taps} of 1 to {depth}, one for each of audio_layers"
        )
    return DualEncoder(tower, other)


def _load(reference: str, config: SpeechLLMConfig, dtype: torch.dtype | str) -> Any:
    """One encoder, frozen, and the low-rank updates of it that are trained, if any."""
    encoder = take_encoder(AutoModel.from_pretrained(hub.resolve(reference), dtype=dtype)).requires_grad_(False)
    if config.encoder_lora:
        add_encoder_lora(encoder, config.encoder_lora)
    return encoder


def run_tower(
    tower: Any, features: torch.Tensor, mask: torch.Tensor, config: SpeechLLMConfig
) -> tuple[torch.Tensor, torch.Tensor]:
    """What `encode` returns for the layers that `config` names; two encoders hear what `pack` made."""
    layers, final_norm = config.audio_layers or [], config.audio_final_norm
    if not isinstance(tower, DualEncoder):
        return encode(tower, features, mask, layers, final_norm=final_norm)
    log_mel, samples = features[:, :-HOP], features[:, -HOP:].transpose(1, 2).flatten(1)
    states, states_mask = encode(tower.semantic, log_mel, mask, layers, final_norm=final_norm)
    sample_mask = mask.repeat_interleave(HOP, dim=1)
    others, others_mask = encode(tower.paralinguistic, samples, sample_mask, config.paralinguistic_layers or [])
    # Without padding at the edges a waveform encoder writes a frame less than Whisper; its place stays zero.
    others = others.masked_fill(~others_mask[:, None, :, None], 0.0)
    missing = states.shape[2] - others.shape[2]
    return torch.cat([states, nn.functional.pad(others, (0, 0, 0, missing))], dim=-1), states_mask


def pack(log_mel: torch.Tensor, samples: torch.Tensor) -> torch.Tensor:
    """Log-mel (M, F) over the samples of each frame, (M + HOP, F): what both encoders hear as one tensor.

    `samples` (N,) with N <= F * HOP are filled up with zeros.
    """
    filled = nn.functional.pad(samples, (0, log_mel.shape[1] * HOP - len(samples)))
    return torch.cat([log_mel, filled.view(-1, HOP).T])
