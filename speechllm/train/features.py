"""A bounded folder of what the adapter reads of each clip, so that later runs need no encoder pass.

Content-addressed: a file's name is the hash of the encoder's weights, of how it was run and of the audio, so nothing in
it is ever stale, and runs of different models may share a folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from speechllm import hub
from speechllm.config import DataConfig
from speechllm.data.manifest import Utterance
from speechllm.errors import SpeechLLMError
from speechllm.models.modeling import SpeechLLM

Windows = list[torch.Tensor]
"""What the adapter reads of each window of a clip, (L, R, K)."""

Encoded = tuple[Windows, list[int]]
"""The windows of a clip, and how many log-mel frames each had."""

FRAMES = "frames"

SHRINK = 0.9
"""A folder that is full is emptied to this share of its bound, the longest unused first."""


class FeatureCache:
    """Files `ab/abcdef....safetensors`, together at most `max_bytes`."""

    def __init__(self, folder: Path, max_bytes: int, model: SpeechLLM) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._model = _model_hash(model)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._size = sum(file.stat().st_size for file in folder.glob("*/*.safetensors"))
        except OSError as error:
            raise SpeechLLMError(f"data.feature_cache {folder}: {error.strerror}; name a folder to write to") from error

    def get(self, utterance: Utterance) -> Encoded | None:
        """What was kept of the clip, bit for bit, or None."""
        file = self._file(utterance)
        try:
            found = load_file(file)
            os.utime(file)  # used now: the last to be removed
        except (OSError, SafetensorError):  # absent, removed by another run, or cut short by a full disk
            return None
        frames = found.pop(FRAMES).tolist()
        return [found[str(number)] for number in range(len(found))], frames

    def put(self, utterance: Utterance, windows: Windows, frames: list[int]) -> None:
        """Keeps a clip's windows and numbers of log-mel frames; a full disk keeps nothing, and the run goes on."""
        data = save(
            {str(number): window.contiguous() for number, window in enumerate(windows)} | {FRAMES: torch.tensor(frames)}
        )
        if len(data) > self._max_bytes:
            return
        if self._size + len(data) > self._max_bytes:
            self._shrink()
        file = self._file(utterance)
        aside = file.with_name(f".{file.name}.{os.getpid()}")
        try:
            file.parent.mkdir(exist_ok=True)
            aside.write_bytes(data)
            aside.replace(file)
            self._size += len(data)
        except OSError:
            aside.unlink(missing_ok=True)

    def _file(self, utterance: Utterance) -> Path:
        digest = hashlib.sha256(f"{self._model}/{utterance.start}/{utterance.end}/".encode())
        try:
            digest.update(Path(utterance.audio).read_bytes())
        except OSError as error:
            raise SpeechLLMError(f"{utterance.audio}: cannot be read: {error.strerror}") from error
        key = digest.hexdigest()
        return self._folder / key[:2] / f"{key}.safetensors"

    def _shrink(self) -> None:
        """Counts anew, since other runs write too, and removes what was used longest ago."""
        kept = []
        for file in self._folder.glob("*/*.safetensors"):
            with contextlib.suppress(OSError):
                status = file.stat()
                kept.append((status.st_mtime_ns, status.st_size, file))
        self._size = sum(size for _, size, _ in kept)
        for _, size, file in sorted(kept):
            if self._size <= SHRINK * self._max_bytes:
                return
            file.unlink(missing_ok=True)
            self._size -= size


def _model_hash(model: SpeechLLM) -> str:
    """Of all that decides what the adapter reads of a clip."""
    projector = model.multi_modal_projector
    what = {
        "encoder": hub.fingerprint(hub.resolve(model.config.encoder)),
        "layers": model.config.audio_layers,
        "dtype": str(model.audio_tower.dtype),
        "reduce": f"{type(projector).reduce.__module__}.{type(projector).reduce.__qualname__}",
    }
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()


def feature_cache(config: DataConfig, model: SpeechLLM) -> FeatureCache | None:
    """The folder that the config names, if it does."""
    if config.feature_cache is None:
        return None
    return FeatureCache(config.feature_cache, int(config.feature_cache_gb * 1e9), model)
