"""Audio in containers that libsndfile does not open (m4a, mp4, aac, webm), through PyAV where it is installed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from speechllm.audio import stored
from speechllm.errors import SpeechLLMError

ENDINGS = (".m4a", ".mp4", ".aac", ".webm", ".mka", ".wma")
"""What is read here; everything else goes to libsndfile."""

LEAD_S = 0.5
"""Decoding begins this much before a segment: frames of AAC depend on those before them."""


def container_info(path: str | Path) -> tuple[float, int]:
    """Duration in seconds and sampling rate in Hz, from the header.

    Raises:
        SpeechLLMError: the file is missing or empty, PyAV is not installed, or it finds no audio that it reads.
    """
    with _opened(path) as (container, stream):
        if stream.duration is not None:
            return float(stream.duration * stream.time_base), stream.rate
        if container.duration is None:
            raise SpeechLLMError(f"{path}: does not tell how long it is; convert it to WAV or FLAC")
        return container.duration / 1e6, stream.rate  # FFmpeg counts a container in microseconds


def read_container(path: str | Path, start: float, end: float) -> tuple[np.ndarray, int]:
    """Decodes from `start` to `end` (s; the file may end before), and no more than `LEAD_S` around it.

    Returns:
        float32 samples (samples, channels), full scale at +-1, and their rate in Hz.

    Raises:
        SpeechLLMError: as `container_info`.
    """
    with _opened(path) as (container, stream):
        rate = stream.rate
        first, last = round(start * rate), round(end * rate)
        if start > LEAD_S:
            container.seek(int((start - LEAD_S) * 1e6))
        pieces = []
        for frame in container.decode(stream):
            begin = round(float(frame.pts * frame.time_base) * rate)
            if begin >= last:
                break
            samples = _as_float(frame)
            pieces.append(samples[max(first - begin, 0) : last - begin])
        pieces = [piece for piece in pieces if len(piece)]
        return (np.concatenate(pieces) if pieces else np.zeros((0, 1), np.float32)), rate


def _as_float(frame: Any) -> np.ndarray:
    """The samples of a decoded frame, (samples, channels)."""
    samples = frame.to_ndarray()
    channels = len(frame.layout.channels)
    samples = samples.T if frame.format.is_planar else samples.reshape(-1, channels)
    if np.issubdtype(samples.dtype, np.integer):
        return samples.astype(np.float32) / -float(np.iinfo(samples.dtype).min)
    return samples.astype(np.float32)


@contextmanager
def _opened(path: str | Path) -> Iterator[tuple[Any, Any]]:
    """The container and its first audio stream; what FFmpeg complains about names the file."""
    source = stored.opened(path)
    try:
        import av
    except ImportError as error:
        raise SpeechLLMError(
            f"{path}: no decoder for {stored.suffix(path)} is installed; pip install 'speechllm[containers]', or"
            " convert it to WAV or FLAC"
        ) from error
    try:
        with av.open(str(source) if isinstance(source, Path) else source) as container:
            if not container.streams.audio:
                raise SpeechLLMError(f"{path}: holds no audio; check that it is the right file")
            yield container, container.streams.audio[0]
    except av.FFmpegError as error:
        raise SpeechLLMError(
            f"{path}: is not audio that can be read ({error.strerror}); convert it to WAV or FLAC"
        ) from error
