"""Packs the audio of a manifest into tar files: a few large files to copy, or to read from where they are stored."""

from __future__ import annotations

import os
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from speechllm.audio import stored
from speechllm.data.jsonl import umask
from speechllm.data.manifest import Utterance, read_manifest, relocated, write_manifest
from speechllm.data.readable import readable
from speechllm.data.recipe import MAX_BROKEN
from speechllm.errors import SpeechLLMError
from speechllm.progress import Task, task


@dataclass(frozen=True)
class Sharded:
    """What was written."""

    manifest: Path
    utterances: int
    shards: list[Path]


def write_shards(
    manifest: Path, out: Path, shard_bytes: int, address: str | None = None, max_broken: float = MAX_BROKEN
) -> Sharded:
    """Writes `out/NAME-00000.tar`, ... and `out/NAME.jsonl`, the same manifest with its audio in them.

    Audio is copied as it is, in the order of the manifest, a file that several segments share once. A shard takes its
    name when it is whole; what an interrupted call has finished is kept by the next one.

    Args:
        manifest: utterance manifest.
        out: folder to write.
        shard_bytes: audio in a shard; a larger file makes a shard of its own.
        address: where the shards will be read from (`s3://bucket/folder`, a folder elsewhere); beside the manifest
            where left out.
        max_broken: share of utterances whose audio may be missing or unreadable; they are reported and left out.

    Raises:
        SpeechLLMError: more is broken, or the disk is full.
    """
    utterances = readable(read_manifest(manifest), max_broken)
    files = list(dict.fromkeys(utterance.audio for utterance in utterances))
    found: dict[str, stored.Member] = {}
    shards = []
    plan = list(_planned(files, shard_bytes))
    with task("write shards", len(files)) as bar:
        for number, part in enumerate(plan):
            shard = out / f"{manifest.stem}-{number:05d}.tar"
            names = {f"{at:08d}{stored.suffix(audio)}": audio for at, audio in enumerate(part)}
            members = _members(shard) if shard.exists() else []
            if [(m.name, m.size) for m in members] != [(name, _size(audio)) for name, audio in names.items()]:
                _write(shard, names, bar)
                members = _members(shard)
            else:
                bar.advance(len(part))
            found |= dict(zip(part, members, strict=True))
            shards.append(shard)
    told = _told(utterances, found, out, address)
    return Sharded(out / manifest.name, write_manifest(out / manifest.name, told), shards)


def _planned(files: Sequence[str], shard_bytes: int) -> Iterator[list[str]]:
    """The files of each shard."""
    part: list[str] = []
    room = shard_bytes
    for audio in files:
        size = _size(audio)
        if part and size > room:
            yield part
            part, room = [], shard_bytes
        part.append(audio)
        room -= size
    yield part


def _size(audio: str) -> int:
    inside = stored.member(audio)
    return inside.size if inside is not None else Path(audio).stat().st_size


def _write(shard: Path, names: dict[str, str], bar: Task) -> None:
    """Writes a tar file aside and renames it; nothing in it depends on who wrote it or when."""
    shard.parent.mkdir(parents=True, exist_ok=True)
    handle, aside = tempfile.mkstemp(dir=shard.parent, prefix=f".{shard.name}.")
    try:
        with os.fdopen(handle, "wb") as file, tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for name, audio in names.items():
                source = stored.opened(audio)
                info = tarfile.TarInfo(name)
                info.size = _size(audio)
                with source.open("rb") if isinstance(source, Path) else source as content:
                    tar.addfile(info, content)
                bar.advance(1, shard.name)
        Path(aside).chmod(0o666 & ~umask())
        Path(aside).replace(shard)
    except OSError as error:
        raise SpeechLLMError(f"{shard}: cannot be written ({error}); free some space, then run it again") from error
    finally:
        Path(aside).unlink(missing_ok=True)


def _members(shard: Path) -> list[stored.Member]:
    try:
        with tarfile.open(shard) as tar:
            return [stored.Member(shard.name, info.name, info.offset_data, info.size) for info in tar]
    except tarfile.TarError:
        return []  # something else of that name: written anew


def _told(
    utterances: Sequence[Utterance], found: dict[str, stored.Member], out: Path, address: str | None
) -> list[Utterance]:
    """The utterances as they stand in the manifest in `out`."""
    folder = str(out) if address is None else address.rstrip("/")
    return relocated([u.model_copy(update={"audio": f"{folder}/{found[u.audio]}"}) for u in utterances], out)
