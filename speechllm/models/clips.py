"""What the LLM hears of clips, each encoded once however many prompts are about it."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import torch

from speechllm.data.render import Message, audio_parts
from speechllm.models.processing import pad_features, read_audio_part

Heard = tuple[list[int], torch.Tensor]
"""The frames of each window of a clip's features, and its audio vectors (N, D)."""


class Clips:
    """Encodes the audio of conversations; what was heard before is not encoded again."""

    def __init__(self, model: Any, processor: Any) -> None:
        self._model = model
        self._processor = processor
        self._kept: dict[Any, Heard] = {}

    def hear(self, conversations: Sequence[Sequence[Message]]) -> list[list[Heard]]:
        """For each conversation, for each of its audio parts, what is heard; new clips are encoded in one batch."""
        parts = [audio_parts(messages) for messages in conversations]
        new = {_key(part): part for several in parts for part in several if _key(part) not in self._kept}
        windows = {key: self._processor.features(read_audio_part(part)) for key, part in new.items()}
        if flat := [window for several in windows.values() for window in several]:
            padded = pad_features(flat)
            vectors, valid = self._model.get_audio_features(padded["input_features"], padded["input_features_mask"])
            of_windows = iter(vectors[valid].split(valid.sum(1).tolist()))
            for key, several in windows.items():
                heard = torch.cat([next(of_windows) for _ in several])
                self._kept[key] = ([window.shape[-1] for window in several], heard)
        return [[self._kept[_key(part)] for part in several] for several in parts]

    def keys(self, messages: Sequence[Message]) -> Hashable:
        """Equal for conversations in which the same is heard."""
        return tuple(_key(part) for part in audio_parts(messages))


def _key(part: dict[str, Any]) -> Any:
    """Equal for parts that sound the same; an array in memory is only itself, and is what is read beside a URL."""
    if part.get("path") is None and part.get("audio") is not None:
        return id(part)
    return str(part.get("path") or part.get("url")), part.get("start"), part.get("end")
