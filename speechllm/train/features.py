"""A bounded folder of what the adapter reads of each clip, so that later runs need no encoder pass.

Content-addressed: a file's name is the hash of the encoder's weights, of how it was run and of the audio, so nothing in
it is ever stale, and runs of different models may share a folder.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch

from speechllm import hub
from speechllm.audio.stored import read_bytes
from speechllm.config import DataConfig
from speechllm.data.manifest import Utterance
from speechllm.errors import SpeechLLMError
from speechllm.models.modeling import SpeechLLM
from speechllm.train.bounded import BoundedFolder

Windows = list[torch.Tensor]
"""What the adapter reads of each window of a clip, (L, R, K)."""

Encoded = tuple[Windows, list[int]]
"""The windows of a clip, and how many log-mel frames each had."""

FRAMES = "frames"


class FeatureCache:
    """What the adapter reads of clips, in a folder of at most `max_bytes`."""

    def __init__(self, folder: Path, max_bytes: int, model: SpeechLLM) -> None:
        self._kept = BoundedFolder(folder, max_bytes, "data.feature_cache")
        self._model = _model_hash(model)

    def get(self, utterance: Utterance) -> Encoded | None:
        """What was kept of the clip, bit for bit, or None."""
        found = self._kept.get(self._key(utterance))
        if found is None:
            return None
        frames = found.pop(FRAMES).tolist()
        return [found[str(number)] for number in range(len(found))], frames

    def holds(self, utterance: Utterance) -> bool:
        """Whether anything was kept of the clip; not where its file is missing."""
        try:
            return self._kept.holds(self._key(utterance))
        except SpeechLLMError:
            return False

    def put(self, utterance: Utterance, windows: Windows, frames: list[int]) -> None:
        """Keeps a clip's windows and numbers of log-mel frames."""
        tensors = {str(number): window for number, window in enumerate(windows)}
        self._kept.put(self._key(utterance), tensors | {FRAMES: torch.tensor(frames)})

    def _key(self, utterance: Utterance) -> str:
        digest = hashlib.sha256(f"{self._model}/{utterance.start}/{utterance.end}/".encode())
        try:
            digest.update(read_bytes(utterance.audio))
        except OSError as error:
            raise SpeechLLMError(f"{utterance.audio}: cannot be read: {error.strerror}") from error
        return digest.hexdigest()


def _model_hash(model: SpeechLLM) -> str:
    """Of all that decides what the adapter reads of a clip."""
    projector, config = model.multi_modal_projector, model.config
    encoders = [name for name in (config.encoder, config.paralinguistic_encoder) if name]
    what = {
        "encoders": [hub.fingerprint(hub.resolve(name)) for name in encoders],
        "layers": [config.audio_layers, config.paralinguistic_layers],
        "heard": [config.audio_final_norm, config.audio_padded],
        "dtype": str(model.audio_tower.dtype),
        "reduce": f"{type(projector).reduce.__module__}.{type(projector).reduce.__qualname__}",
    }
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()


def feature_cache(config: DataConfig, model: SpeechLLM) -> FeatureCache | None:
    """The folder that the config names, if it does."""
    if config.feature_cache is None:
        return None
    return FeatureCache(config.feature_cache, int(config.feature_cache_gb * 1e9), model)
