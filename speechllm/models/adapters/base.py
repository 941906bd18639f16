"""The protocol of adapters and their registry."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from speechllm.errors import SpeechLLMError, did_you_mean


class Adapter(nn.Module, ABC):
    """(states of the tapped layers, mask) -> (vectors, mask).

    A subclass takes `num_layers`, `audio_size` and `text_size` first, then its own settings as keywords with defaults.
    """

    def reduce(self, states: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The part of the adapter that has no parameters: what `forward` reads, and what is worth keeping of a clip.

        Maps states (B, L, T, D_audio) with mask (B, T) to (B, L, R, K) with mask (B, R); here the states themselves.
        """
        return states, mask

    @abstractmethod
    def forward(self, states: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Maps what `reduce` returns, (B, L, R, K) with mask (B, R), to vectors (B, N, D_text) with mask (B, N)."""

    @staticmethod
    @abstractmethod
    def num_vectors(frames: int, **settings: Any) -> int:
        """How many vectors a window of `frames` encoder frames becomes."""

    @staticmethod
    def sizes_from(audio_config: Any) -> dict[str, Any]:
        """Settings that follow from the configuration of the speech model; those of the user go before them."""
        return {}

    def start_from(self, load: Callable[[], Any]) -> None:
        """Told once, before training, how to load the whole speech model that the encoder was taken out of."""

    def calibrate(self, states: torch.Tensor, mask: torch.Tensor) -> None:
        """Told once, before training, what a sample of the training data looks like (as `reduce` returns it)."""

    def set_text_scale(self, scale: float) -> None:
        """Told once, before training, the root mean square of the LLM's token embeddings."""


ADAPTERS: dict[str, type[Adapter]] = {}


def register(name: str) -> Callable[[type[Adapter]], type[Adapter]]:
    """Makes an adapter known under the name that configs use."""

    def add(kind: type[Adapter]) -> type[Adapter]:
        ADAPTERS[name] = kind
        return kind

    return add


def _find(settings: dict[str, Any]) -> tuple[type[Adapter], dict[str, Any]]:
    rest = dict(settings)
    name = rest.pop("type", None)
    if name not in ADAPTERS:
        raise SpeechLLMError(f"adapter.type {name!r} is not known{did_you_mean(str(name), ADAPTERS)}")
    return ADAPTERS[name], rest


def at_least_one(**settings: int) -> None:
    """For constructors: sizes and counts have to be positive.

    Raises:
        ValueError: one is not; names it.
    """
    for name, value in settings.items():
        if value < 1:
            raise ValueError(f"{name} is {value}, give at least 1")


def build_adapter(settings: dict[str, Any], *, num_layers: int, audio_size: int, text_size: int) -> Adapter:
    """The adapter that `{"type": name, ...}` describes.

    Raises:
        SpeechLLMError: unknown type or setting, or a value that the type cannot be built with.
    """
    kind, rest = _find(settings)
    try:
        return kind(num_layers, audio_size, text_size, **rest)
    except (TypeError, ValueError) as error:
        raise SpeechLLMError(f"adapter: {error}; see speechllm.models.adapters.{kind.__name__}") from error


def complete(settings: dict[str, Any], audio_config: Any) -> dict[str, Any]:
    """The settings together with those that follow from the speech model; what a checkpoint's config holds."""
    kind, _ = _find(settings)
    return kind.sizes_from(audio_config) | settings


def num_vectors(settings: dict[str, Any], frames: int) -> int:
    """How many vectors a window of `frames` encoder frames becomes, without building the adapter."""
    kind, rest = _find(settings)
    return kind.num_vectors(frames, **rest)
