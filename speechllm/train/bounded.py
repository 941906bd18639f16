"""A bounded folder of tensors that are dear to compute, under content-addressed keys."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from speechllm.errors import SpeechLLMError

Tensors = dict[str, torch.Tensor]

SHRINK = 0.9
"""A folder that is full is emptied to this share of its bound, the longest unused first."""


class BoundedFolder:
    """Files `ab/abcdef....safetensors`, together at most `max_bytes`.

    A key is the hex hash of all that decides what is kept under it, so nothing is ever stale, and runs of different
    models may share a folder.
    """

    def __init__(self, folder: Path, max_bytes: int, setting: str) -> None:
        """`setting` is the key of the config that names the folder, for the error where it cannot be made."""
        self._folder = folder
        self._max_bytes = max_bytes
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._size = sum(file.stat().st_size for file in folder.glob("*/*.safetensors"))
        except OSError as error:
            raise SpeechLLMError(f"{setting} {folder}: {error.strerror}; name a folder to write to") from error

    def holds(self, key: str) -> bool:
        """Whether anything was kept; another run may remove it at any time."""
        return self._file(key).exists()

    def get(self, key: str) -> Tensors | None:
        """What was kept, bit for bit, or None."""
        file = self._file(key)
        try:
            found = load_file(file)
            os.utime(file)  # used now: the last to be removed
        except (OSError, SafetensorError):  # absent, removed by another run, or cut short by a full disk
            return None
        return found

    def put(self, key: str, tensors: Tensors) -> None:
        """Keeps tensors on the CPU; what is larger than the bound is not kept; a full disk keeps nothing, no error."""
        data = save({name: tensor.contiguous() for name, tensor in tensors.items()})
        if len(data) > self._max_bytes:
            return
        if self._size + len(data) > self._max_bytes:
            self._shrink()
        file = self._file(key)
        aside = file.with_name(f".{file.name}.{os.getpid()}")
        try:
            file.parent.mkdir(exist_ok=True)
            aside.write_bytes(data)
            aside.replace(file)
            self._size += len(data)
        except OSError:
            aside.unlink(missing_ok=True)

    def _file(self, key: str) -> Path:
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
