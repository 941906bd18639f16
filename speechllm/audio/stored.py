"""Where the sound of a clip lies: in a file of its own, or in a tar file, here or wherever fsspec reaches."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from pathlib import Path

from speechllm.errors import SpeechLLMError

_MEMBER = re.compile(r"(?P<shard>.+\.tar)#(?P<name>[^#]+):(?P<offset>\d+):(?P<size>\d+)", re.DOTALL)


@dataclass(frozen=True)
class Member:
    """A file inside a tar file, found without reading the rest of it."""

    shard: str
    """Path of the tar file, or its address: `s3://...`, `hf://datasets/...`, `https://...`."""
    name: str
    """In the tar file; its ending tells the format."""
    offset: int
    """Bytes before it."""
    size: int
    """Bytes."""

    def __str__(self) -> str:
        return f"{self.shard}#{self.name}:{self.offset}:{self.size}"


def member(audio: str | Path) -> Member | None:
    """What `SHARD.tar#NAME:OFFSET:SIZE` names; None for a file of its own."""
    found = _MEMBER.fullmatch(str(audio))
    if found is None:
        return None
    return Member(found["shard"], found["name"], int(found["offset"]), int(found["size"]))


def is_remote(audio: str | Path) -> bool:
    """Whether this is an address, which no folder goes before."""
    return "://" in str(audio)


def suffix(audio: str | Path) -> str:
    """Lower-case ending of the file's name, with its dot."""
    inside = member(audio)
    return Path(inside.name if inside is not None else audio).suffix.lower()


def opened(audio: str | Path) -> Path | io.BytesIO:
    """What a decoder opens: the file itself, or what was read of the tar file.

    Raises:
        SpeechLLMError: missing or empty; a tar file that is missing, cut short or cannot be reached.
    """
    inside = member(audio)
    if inside is not None:
        return io.BytesIO(_read(inside, str(audio)))
    path = Path(audio)
    if not path.is_file():
        raise SpeechLLMError(f"{path}: no such audio file; check the path")
    if path.stat().st_size == 0:
        raise SpeechLLMError(f"{path}: is an empty file; give a file with sound in it")
    return path


def read_bytes(audio: str | Path) -> bytes:
    """The file as it is stored.

    Raises:
        SpeechLLMError: as `opened`.
    """
    found = opened(audio)
    return found.getvalue() if isinstance(found, io.BytesIO) else found.read_bytes()


def _read(inside: Member, audio: str) -> bytes:
    import fsspec  # slow to import, and needed by those alone who have shards

    try:
        system, path = fsspec.core.url_to_fs(inside.shard)
        data = system.cat_file(path, inside.offset, inside.offset + inside.size)
    except Exception as error:  # whatever the storage raises: each of fsspec's has errors of its own
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise SpeechLLMError(f"{audio}: {inside.shard} cannot be read ({reason}); check the path") from error
    if len(data) < inside.size:
        raise SpeechLLMError(f"{audio}: {inside.shard} is cut short; copy or download it again")
    return data
