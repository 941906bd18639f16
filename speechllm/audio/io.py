"""The one reader of audio: what libsndfile or PyAV opens, to mono float32 at the rate that is asked for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import soundfile
import soxr

from speechllm.audio import stored
from speechllm.audio.containers import ENDINGS, container_info, read_container
from speechllm.errors import SpeechLLMError

SAMPLING_RATE = 16_000
"""Hz; what every encoder that this package knows expects."""

MAX_DURATION_S = 30 * 60.0
"""Longer files are refused before they are read into memory; segments (`start`, `end`) of them are fine."""

COMPLETE = 0.99
"""A file that holds less than this share of what its header promises was cut short, and is refused."""

_SHORT_CHUNK = re.compile(r"^\s*(?:data|SSND) : (\d+) \(should be (\d+)\)", re.MULTILINE)
"""How libsndfile's log tells that the header of a WAV or AIFF file promises more (or fewer) bytes than there are."""

MP3_LEAD_S = 0.5
"""A segment of an MP3 file is decoded from this much before it: its first frames borrow bits from those before them,
at most 511 bytes, which is half a second at 8 kbit/s. Without, a sine came out with errors as large as itself."""

_STREAMED = 0x7FFF0000
"""Programs that write to a pipe put this much or more where the length would stand: it promises nothing."""


def audio_info(path: str | Path) -> tuple[float, int]:
    """Duration in seconds and sampling rate in Hz, from the header of a file, or of one in a shard.

    Raises:
        SpeechLLMError: the file is missing, empty, cut short, or not audio.
    """
    if _in_container(path):
        return container_info(path)
    with _open(path) as sound:
        return sound.frames / sound.samplerate, sound.samplerate


def load_audio(
    path: str | Path, *, start: float | None = None, end: float | None = None, sampling_rate: int = SAMPLING_RATE
) -> np.ndarray:
    """Reads a file (or one in a shard, `SHARD.tar#NAME:OFFSET:SIZE`), or the part from `start` to `end` (s), as mono.

    Of a segment no more is decoded than itself and a short lead. Several channels are averaged, and other rates
    resampled with soxr at its high quality.

    Returns:
        float32 array (samples,) at `sampling_rate`, full scale at +-1.

    Raises:
        SpeechLLMError: missing, empty, cut short, not audio, no samples, NaN or infinite samples, longer than
            `MAX_DURATION_S`, or in a container for which no decoder is installed.
    """
    if _in_container(path):
        duration, rate = container_info(path)
        _range(path, duration, round(duration * rate), rate, start, end)
        samples, rate = read_container(path, start or 0.0, duration if end is None else min(end, duration))
        return _checked(samples.mean(axis=1), rate, sampling_rate, str(path))
    with _open(path) as sound:
        rate = sound.samplerate
        first, last = _range(path, sound.frames / rate, sound.frames, rate, start, end)
        lead = min(first, round(MP3_LEAD_S * rate)) if sound.format == "MP3" else 0
        sound.seek(first - lead)
        samples = sound.read(last - first + lead, dtype="float32", always_2d=True)[lead:]
        if len(samples) < COMPLETE * (last - first):
            raise _cut_short(path, len(samples) / (last - first))
    return _checked(samples.mean(axis=1), rate, sampling_rate, str(path))


def _range(
    path: str | Path, duration: float, frames: int, rate: int, start: float | None, end: float | None
) -> tuple[int, int]:
    """The first frame to read and the one after the last, checked against what the file holds."""
    if frames == 0:
        raise SpeechLLMError(f"{path}: holds no samples; give a file with sound in it")
    first = round((start or 0.0) * rate)
    last = frames if end is None else min(round(end * rate), frames)
    if not 0 <= first < last:
        raise SpeechLLMError(
            f"{path}: holds no samples from {start or 0.0:g} s to {'its end' if end is None else f'{end:g} s'}"
            f" (it lasts {duration:.2f} s); check start and end"
        )
    if (last - first) / rate > MAX_DURATION_S:
        raise SpeechLLMError(
            f"{path}: is {(last - first) / rate / 60:.0f} minutes long, more than the {MAX_DURATION_S / 60:.0f}"
            " that fit in one prompt; cut it into parts, or give start and end in the manifest"
        )
    return first, last


def _in_container(path: str | Path) -> bool:
    """Whether PyAV reads the file."""
    return stored.suffix(path) in ENDINGS


def as_waveform(samples: np.ndarray, rate: int, sampling_rate: int = SAMPLING_RATE) -> np.ndarray:
    """Samples that are already in memory, (samples,), brought to the form that `load_audio` returns.

    Integers are taken as PCM: their type's whole range is full scale.
    """
    if rate <= 0:
        raise SpeechLLMError(f"audio array: sampling rate {rate} Hz; give the rate at which it was recorded")
    if np.issubdtype(samples.dtype, np.integer):
        info = np.iinfo(samples.dtype)
        middle = (info.max + info.min + 1) // 2
        samples = (samples.astype(np.float64) - middle) / (info.max - middle + 1)
    if samples.ndim != 1:
        raise SpeechLLMError(f"audio array: expected shape (samples,), got {samples.shape}; average the channels first")
    return _checked(samples.astype(np.float32), rate, sampling_rate, "audio array")


def save_audio(path: Path, samples: np.ndarray, sampling_rate: int = SAMPLING_RATE) -> None:
    """Writes mono samples (samples,), full scale at +-1, in the format that the file name's ending asks for."""
    if path.suffix[1:].upper() not in soundfile.available_formats():
        raise SpeechLLMError(f"{path}: cannot be written, no audio format ends so; use .wav or .flac")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, samples, sampling_rate)
    except (OSError, soundfile.SoundFileError) as error:
        reason = getattr(error, "strerror", None) or getattr(error, "error_string", error)
        raise SpeechLLMError(f"{path}: cannot be written ({reason}); free some space or pick another folder") from error


def _checked(samples: np.ndarray, rate: int, sampling_rate: int, name: str) -> np.ndarray:
    if samples.size == 0:
        raise SpeechLLMError(f"{name}: holds no samples; give a file with sound in it")
    if not np.isfinite(samples).all():
        bad = int(np.flatnonzero(~np.isfinite(samples))[0])
        raise SpeechLLMError(f"{name}: sample {bad} is NaN or infinite; export the file again, it is damaged")
    if rate != sampling_rate:
        samples = soxr.resample(samples, rate, sampling_rate)
        if samples.size == 0:
            raise SpeechLLMError(f"{name}: is shorter than one sample at {sampling_rate} Hz; give a longer one")
    return np.ascontiguousarray(samples, dtype=np.float32)


@contextmanager
def _open(path: str | Path) -> Iterator[soundfile.SoundFile]:
    """The opened file; whatever libsndfile complains about, now or while it is read, names the file."""
    try:
        with soundfile.SoundFile(stored.opened(path)) as sound:
            short = _SHORT_CHUNK.search(sound.extra_info)
            promised, present = (int(group) for group in short.groups()) if short else (0, 0)
            if promised < _STREAMED and present < COMPLETE * promised:
                raise _cut_short(path, present / promised)
            yield sound
    except OSError as error:
        raise SpeechLLMError(f"{path}: cannot be read ({error.strerror}); check its permissions") from error
    except soundfile.SoundFileError as error:
        reason = getattr(error, "error_string", str(error)).rstrip(".")
        raise SpeechLLMError(f"{path}: is not audio that can be read ({reason}); convert it to WAV or FLAC") from error


def _cut_short(path: str | Path, share: float) -> SpeechLLMError:
    return SpeechLLMError(f"{path}: is cut short, {share:.0%} of the sound is there; copy or download it again")
