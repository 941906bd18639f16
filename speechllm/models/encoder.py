"""Runs a frozen speech encoder on clips of their own length and returns the layers that the adapter reads.

Whisper hears log-mel frames; wav2vec 2.0, HuBERT and WavLM hear the waveform itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from transformers import HubertModel, Wav2Vec2Model, WavLMModel
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from speechllm.errors import SpeechLLMError

HOP_S = 0.01
"""Seconds a log-mel frame."""

WINDOW_S = 30.0
"""Whisper has positions for this many seconds; longer audio is cut into windows of this length, for every encoder."""

STRIDE = 2
"""Log-mel frames an encoder frame of Whisper."""

WAVEFORM_ENCODERS = (Wav2Vec2Model, HubertModel, WavLMModel)


def take_encoder(model: Any) -> Any:
    """The encoder of a loaded speech model.

    Raises:
        SpeechLLMError: the model's family is not supported.
    """
    if isinstance(model, WAVEFORM_ENCODERS):
        return model
    encoder = model.get_encoder() if hasattr(model, "get_encoder") else model
    if not isinstance(encoder, WhisperEncoder):
        raise SpeechLLMError(
            f"encoder {type(model).__name__} is not supported; use a Whisper, wav2vec2, HuBERT or WavLM model"
        )
    return encoder


def hears_waveform(config: Any) -> bool:
    """Whether an encoder of this configuration hears samples rather than log-mel frames."""
    return hasattr(config, "conv_kernel")


def num_frames(config: Any, length: int) -> int:
    """How many encoder frames `length` log-mel frames (or samples, see `hears_waveform`) become."""
    if not hears_waveform(config):
        return length // STRIDE
    for kernel, stride in zip(config.conv_kernel, config.conv_stride, strict=True):
        length = (length - kernel) // stride + 1
    return length


def encode(
    encoder: Any, features: torch.Tensor, mask: torch.Tensor, layers: Sequence[int], *, final_norm: bool = True
) -> tuple[torch.Tensor, torch.Tensor]:
    """Runs an encoder so that a clip gives the same states alone or in any batch.

    Args:
        encoder: the module of transformers; its layers are called as they are.
        features: (B, M, F) log-mel, F even and at most 3000; or (B, F) samples at 16 kHz.
        mask: (B, F) bool, True at real frames.
        layers: which layers' outputs to return, counted from 1.
        final_norm: whether the last layer is read after the encoder's final LayerNorm, where it has one, as
            `last_hidden_state` of transformers is.

    Returns:
        states (B, L, T, D) and their mask (B, T), T = `num_frames(F)`.
    """
    run = _run_whisper if isinstance(encoder, WhisperEncoder) else _run_waveform
    blocks = encoder.layers if isinstance(encoder, WhisperEncoder) else encoder.encoder.layers
    with outputs_of(blocks) as taps:
        last, mask_BT = run(encoder, features, mask.bool())
    if final_norm:
        taps[len(blocks)] = last
    return torch.stack([taps[number] for number in layers], dim=1), mask_BT


@contextmanager
def outputs_of(blocks: nn.ModuleList) -> Iterator[dict[int, torch.Tensor]]:
    """What each block writes while the context lasts, by its number from 1."""
    seen: dict[int, torch.Tensor] = {}

    def keep(number: int) -> Any:
        def hook(module: nn.Module, args: Any, out: Any) -> None:
            seen[number] = out[0] if isinstance(out, tuple) else out

        return hook

    hooks = [block.register_forward_hook(keep(number)) for number, block in enumerate(blocks, 1)]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _run_whisper(
    encoder: WhisperEncoder, features: torch.Tensor, mask: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Last hidden state (B, F / 2, D) and its mask, without padding to 30 s.

    transformers' own forward insists on 30 s and attends to padding. Here padding is silenced before each convolution
    (as if the clip ended there) and masked in attention.
    """
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

    for layer in encoder.layers:
        out = layer(x_BTD, attention_mask)
        x_BTD = out[0] if isinstance(out, tuple) else out
    return encoder.layer_norm(x_BTD), mask_BT


def _run_waveform(encoder: Any, samples: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Last hidden state (B, T, D) and its mask, of wav2vec 2.0, HuBERT or WavLM.

    Called in parts, because their convolutions cannot be told about padding: where the first of them has a GroupNorm
    (`feat_extract_norm = "group"`: the base sizes), each channel is normalised over all of time, padding included. So
    those clips go through the convolutions one by one. With "layer" every frame is normalised alone, and no frame that
    counts reaches beyond its clip. The transformer silences and masks padding itself.
    """
    lengths = torch.tensor([num_frames(encoder.config, int(length)) for length in mask.sum(1)], device=mask.device)
    if encoder.config.feat_extract_norm == "group" and not bool(mask.all()):
        clips = [encoder.feature_extractor(row[real][None])[0].T for row, real in zip(samples, mask, strict=True)]
        x_BTC = nn.utils.rnn.pad_sequence(clips, batch_first=True)
    else:
        x_BTC = encoder.feature_extractor(samples).transpose(1, 2)
    mask_BT = torch.arange(x_BTC.shape[1], device=mask.device) < lengths[:, None]
    projected = encoder.feature_projection(x_BTC)
    x_BTD = projected[0] if isinstance(projected, tuple) else projected
    attention_mask = None if bool(mask_BT.all()) else mask_BT
    return encoder.encoder(x_BTD, attention_mask=attention_mask).last_hidden_state, mask_BT
