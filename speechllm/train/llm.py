"""How the frozen LLM runs in training: attention kernels, activation checkpointing, compiled layers."""

from __future__ import annotations

from typing import Any

from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer

from speechllm.config import ModelConfig
from speechllm.errors import SpeechLLMError
from speechllm.models.lora import Gate
from speechllm.models.modeling import SpeechLLM


def set_up(language_model: Any, config: ModelConfig, gate: Gate | None = None) -> None:
    """Prepares a loaded LLM as the config says; but for quantisation none of it changes more than rounding.

    `gate` is that of its low-rank updates, which have to act in recomputed layers where they acted before.

    Raises:
        SpeechLLMError: the attention implementation is not known or not installed, or torchao is not.
    """
    if config.quantization is not None:
        _quantise(language_model, config)
    if config.attention is not None:
        try:
            language_model.set_attn_implementation(config.attention)
        except (ValueError, ImportError) as error:
            raise SpeechLLMError(f"model.attention {config.attention!r}: {error}") from error
    if config.activation_checkpointing:
        # transformers 5.2x gives the method a new name and warns of the old one
        new = getattr(language_model, "activation_checkpointing_enable", None)
        (new or language_model.gradient_checkpointing_enable)(
            {"use_reentrant": False} | ({} if gate is None else {"context_fn": gate.checkpoint_contexts})
        )
    if config.compile:
        for layer in language_model.get_decoder().layers:
            layer.compile(dynamic=True)  # lengths differ from batch to batch


def _quantise(language_model: Any, config: ModelConfig) -> None:
    """Weights of the layers to 8 bits; embeddings and output matrix, which are often one, keep their type."""
    if config.shard:
        raise SpeechLLMError("model.quantization and model.shard: quantised weights cannot be sharded; leave out one")
    try:
        from torchao.quantization import Int8WeightOnlyConfig, quantize_
    except ImportError as error:
        raise SpeechLLMError(
            f"model.quantization: torchao is not installed ({error}); pip install speechllm[quantization]"
        ) from error
    quantize_(language_model.get_decoder(), Int8WeightOnlyConfig(), filter_fn=_is_frozen_linear)


def _is_frozen_linear(module: nn.Module, name: str) -> bool:
    """Not what LoRA has put beside the weights: that is trained."""
    return isinstance(module, nn.Linear) and not any(p.requires_grad for p in module.parameters())


def training_mode(model: SpeechLLM) -> None:
    """Puts the adapter into training mode, and lets the LLM's layers recompute their activations if they are to.

    The LLM is in eval mode, and transformers recomputes only in layers that are training. The flag is set on the
    layers alone, not on what is in them, so dropout stays off.
    """
    model.train()
    for module in model.language_model.modules():
        if isinstance(module, GradientCheckpointingLayer) and module.gradient_checkpointing:
            module.training = True
