"""Reads clips for the encoder, those of the step to come ahead, in threads."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch

from speechllm.audio.io import load_audio
from speechllm.data.augmentation import Recipe, change_signal
from speechllm.data.manifest import Utterance
from speechllm.errors import SpeechLLMError
from speechllm.models.processing import SpeechLLMProcessor

THREADS = 4
"""They decode, resample and wait for storage, mostly outside the interpreter's lock."""


class Reader:
    """What the encoder reads of clips: features of each window, as they are or changed anew each time."""

    def __init__(self, processor: SpeechLLMProcessor, augmentation: Recipe | None) -> None:
        self._processor = processor
        self._augmentation = augmentation
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="read audio")
        self._ahead: dict[str, Future[np.ndarray | list[torch.Tensor]]] = {}

    def expect(self, utterances: Iterable[Utterance]) -> None:
        """Begins to read these, and forgets all others."""
        self._ahead = {u.id: self._ahead.get(u.id) or self._pool.submit(self._read, u) for u in utterances}

    def complaint(self, utterance: Utterance) -> str | None:
        """What is wrong with the sound of a clip that `expect` was told of; None where nothing is."""
        error = self._ahead[utterance.id].exception()
        if error is None:
            return None
        if not isinstance(error, SpeechLLMError):
            raise error
        return f"{utterance.id!r}: {error}"

    def features(self, utterance: Utterance) -> list[torch.Tensor]:
        """Of each window, (M, F) or (F,), as `SpeechLLMProcessor.features` gives them.

        Changes are drawn from torch's generator, which the loop seeds for every step: a resumed run hears the same.

        Raises:
            SpeechLLMError: the clip cannot be decoded.
        """
        known = self._ahead.get(utterance.id)
        read = self._read(utterance) if known is None else known.result()
        if isinstance(read, list):
            return read
        assert self._augmentation is not None
        rng = np.random.default_rng(int(torch.randint(2**62, ())))
        return self._processor.features(change_signal(read, self._augmentation, rng))

    def _read(self, utterance: Utterance) -> np.ndarray | list[torch.Tensor]:
        """The features; the waveform where that is yet to be changed."""
        waveform = load_audio(utterance.audio, start=utterance.start, end=utterance.end)
        return waveform if self._augmentation is not None else self._processor.features(waveform)
