"""Keys and values of the tokens with which all prompts of a batch begin, computed once for a frozen LLM.

Before the audio, prompts are alike: the system prompt and the opening of the user's turn. No gradient reaches them and
the LLM does not change, so what later tokens attend to there is the same at every step.
"""

from __future__ import annotations

import inspect
from collections import OrderedDict
from typing import Any

import torch
from torch import nn
from torch.distributed.tensor import DTensor
from transformers import Cache, DynamicCache
from transformers.cache_utils import DynamicLayer
from transformers.modeling_layers import GradientCheckpointingLayer

SHORTEST = 4
"""Tokens that are worth a cache."""

KEPT = 16
"""Prefixes that stay in memory; a corpus has few system prompts."""

Layers = list[tuple[torch.Tensor, torch.Tensor]]
"""Keys and values of each layer, (1, heads, P, size of a head)."""


def cached(language_model: Any, cache: Cache) -> dict[str, Cache]:
    """The argument by which an LLM takes its cache: `cache` since transformers 5.24, `past_key_values` before."""
    known = inspect.signature(language_model.forward).parameters
    return {"cache" if "cache" in known else "past_key_values": cache}


class SharedPrefix:
    """Finds what the rows of a batch have in common at their beginning and hands out its keys and values.

    How long it is depends on the batch alone, so that a step rounds alike whatever was seen before it.
    """

    def __init__(self) -> None:
        self.enabled = True
        self._known: OrderedDict[tuple[Any, ...], Layers | None] = OrderedDict()

    def find(
        self,
        language_model: Any,
        input_ids: torch.Tensor,
        labels: torch.Tensor,
        attention_mask: torch.Tensor | None,
        audio_token_id: int,
    ) -> tuple[int, DynamicCache | None]:
        """How many leading tokens of `input_ids` (B, S) may be left out, and the cache that stands for them.

        (0, None) where there are too few, or the LLM cannot do with a cache: it learns, recomputes its activations, is
        compiled or sharded, or keeps a cache of another kind (sliding windows, states).
        """
        length = 0
        if self.enabled and _can_share(language_model):
            length = _common(input_ids, labels, attention_mask, audio_token_id)
        if length < SHORTEST:
            return 0, None
        ids = input_ids[:1, :length]
        key = (id(language_model), language_model.dtype, language_model.device, *ids[0].tolist())
        if key not in self._known:
            self._known[key] = _run(language_model, ids)
            if len(self._known) > KEPT:
                self._known.popitem(last=False)
        self._known.move_to_end(key)
        layers = self._known[key]
        return (0, None) if layers is None else (length, _expanded(layers, len(input_ids)))


def _can_share(language_model: Any) -> bool:
    """A sharded LLM has to run as often on every process, whatever each has in memory."""
    for parameter in language_model.parameters():
        if parameter.requires_grad or isinstance(parameter, DTensor):
            return False
    for module in language_model.modules():
        recomputes = isinstance(module, GradientCheckpointingLayer) and module.gradient_checkpointing
        if recomputes or module._compiled_call_impl is not None:
            return False
    return True


def _common(
    input_ids: torch.Tensor, labels: torch.Tensor, attention_mask: torch.Tensor | None, audio_token_id: int
) -> int:
    """Leading columns that are one token in all rows, before the first audio and the first row that predicts."""
    heard = input_ids == audio_token_id
    if len(input_ids) == 1 and not bool(heard.any()):
        return 0  # all of a lone text would be common to it
    alike = (input_ids == input_ids[:1]).all(0) & ~heard.any(0)
    if attention_mask is not None:
        alike &= attention_mask.bool().all(0)
    alike &= nn.functional.pad((labels[:, 1:] == -100).all(0), (0, 1))  # row t predicts token t + 1
    return int(alike.long().cumprod(0).sum())


@torch.no_grad()
def _run(language_model: Any, ids: torch.Tensor) -> Layers | None:
    out = language_model(input_ids=ids, use_cache=True, logits_to_keep=1)
    cache = out["cache" if "cache" in out else "past_key_values"]
    if not isinstance(cache, DynamicCache) or any(type(layer) is not DynamicLayer for layer in cache.layers):
        return None
    return [(layer.keys, layer.values) for layer in cache.layers]


def _expanded(layers: Layers, rows: int) -> DynamicCache:
    cache = DynamicCache()
    for number, (keys, values) in enumerate(layers):
        cache.update(keys.expand(rows, -1, -1, -1), values.expand(rows, -1, -1, -1), number)
    return cache
