"""Fetching the archives of a corpus: once, verified, and unpacked where its recipe reads them."""

from __future__ import annotations

import shutil
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from speechllm.errors import SpeechLLMError, did_you_mean
from speechllm.progress import Task, task

TRIES = 3
"""How often a connection that breaks is made again."""

CHUNK_BYTES = 1 << 20
MEGABYTE = 1e6


@dataclass(frozen=True)
class Archive:
    """A file to fetch and unpack."""

    url: str
    checksum: str | None = None
    """`sha256:...` or `md5:...`; None where the server makes the archive on demand, so that its bytes may change."""
    into: str = "."
    """Folder to unpack into, for archives that have no folder of their own."""


def fetch(archives: Mapping[str, Archive], folder: Path, parts: Sequence[str] = ()) -> None:
    """Downloads and unpacks archives; those that were are not fetched again.

    An archive that lies in `folder` already, put there by a browser or another program, is verified and used. It is
    removed when it is unpacked; an empty file `.<archive>.unpacked` then stands for it.

    Args:
        archives: by the name of the part.
        folder: where to.
        parts: the names of those that are wanted; none for all.

    Raises:
        SpeechLLMError: there is no such part, the server does not answer, a checksum differs, or the disk is full.
    """
    for part in parts:
        if part not in archives:
            raise SpeechLLMError(f"{part!r} is no part of this corpus{did_you_mean(part, archives)}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in parts or archives:
            _fetch_one(archives[name], folder)
    except OSError as error:  # requests' errors are OSErrors too
        raise SpeechLLMError(f"{folder}: cannot be filled ({error}); what is complete is kept, try again") from error


def _fetch_one(archive: Archive, folder: Path) -> None:
    import pooch

    name = archive.url.rpartition("/")[2]
    marker = folder / f".{name}.unpacked"
    if marker.is_file():
        return
    pooch.get_logger().setLevel("WARNING")
    with task(f"download {name}") as bar:
        downloader = pooch.HTTPDownloader(chunk_size=CHUNK_BYTES, progressbar=_Megabytes(bar))
        source = pooch.create(
            path=folder,
            base_url="",
            registry={name: archive.checksum},
            urls={name: archive.url},
            retry_if_failed=TRIES - 1,
        )
        try:
            source.fetch(name, downloader=downloader)
        except ValueError as error:  # how pooch tells that a checksum differs
            raise SpeechLLMError(f"{archive.url}: what came is not what was published ({error}); try again") from error
    unpack(folder / name, folder / archive.into)
    marker.touch()
    (folder / name).unlink()


class _Megabytes:
    """What pooch advances while it downloads, shown behind the bar."""

    def __init__(self, bar: Task) -> None:
        self._bar = bar
        self._total = self._done = 0

    @property
    def total(self) -> int:
        """Bytes to come; pooch sets it at the start of every try."""
        return self._total

    @total.setter
    def total(self, count: int) -> None:
        self._total, self._done = count, 0

    def update(self, count: int) -> None:
        self._done += count
        self._bar.advance(0, f"{self._done / MEGABYTE:.0f} of {self.total / MEGABYTE:.0f} MB")

    def reset(self) -> None:
        """pooch rewinds before it reports the whole once more at the end."""
        self._done = 0

    def close(self) -> None:
        """The task closes the bar itself."""


def unpack(archive: Path, folder: Path) -> None:
    """Unpacks a tar or zip archive; nothing in it can land outside `folder`.

    Raises:
        SpeechLLMError: it is damaged, or of a format that is not known.
    """
    safe = {} if archive.suffix == ".zip" else {"filter": "data"}  # zipfile is safe by itself
    try:
        shutil.unpack_archive(archive, folder, **safe)  # type: ignore[arg-type]
    except (shutil.ReadError, tarfile.TarError, zipfile.BadZipFile, EOFError) as error:
        raise SpeechLLMError(f"{archive}: cannot be unpacked ({error}); remove it and download it again") from error
