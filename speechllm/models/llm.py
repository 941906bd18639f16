"""Loads text LLMs: the one place where a published causal LLM becomes part of this package."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM

from speechllm import hub


def load_llm(reference: str, dtype: torch.dtype | str = "auto") -> Any:
    """The causal LLM that a model reference names, as published, on the CPU.

    Its output projection reads rows that lie one after the other: transformers cuts the last position out of a batch
    (`logits_to_keep=1`), and in bfloat16 on a CPU the product with such a slice is 500 times as slow (64 rows onto
    SmolLM2's vocabulary: 19.6 s and 0.04, torch 2.13).
    """
    llm: Any = AutoModelForCausalLM.from_pretrained(hub.resolve(reference), dtype=dtype)
    head = llm.get_output_embeddings()
    if head is not None:
        head.register_forward_pre_hook(_contiguous)
    return llm


def _contiguous(module: nn.Module, args: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
    return (args[0].contiguous(),)
