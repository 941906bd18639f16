"""Which model a folder holds, told from its contents alone."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from speechllm.errors import SpeechLLMError

NOT_IDENTITY = {"transformers_version", "_name_or_path", "torch_dtype", "dtype"}
"""Keys of config.json that say who wrote it and how, not which model it is."""

CHUNK = 4096
"""Bytes that `fingerprint` reads at the start, in the middle and at the end of each tensor."""


def fingerprint(folder: Path) -> dict[str, str]:
    """Which model a folder holds, independent of sharding, file names and machine; fast for any size.

    Args:
        folder: a Hugging Face folder (LLM, Whisper, ...).

    Returns:
        SHA-256 in hexadecimal of `config` (config.json without who wrote it), `weights` (name, type and shape of every
        tensor, and the bytes at its start, middle and end; of `*.bin` checkpoints every byte) and `tokenizer`
        (tokenizer.json, else the older files, else ""). It tells models apart; it is no seal against forgery.

    Raises:
        SpeechLLMError: config.json or the weights are missing or damaged.
    """
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        return {
            "config": hashlib.sha256(json.dumps(_identity(config), sort_keys=True).encode()).hexdigest(),
            "weights": _hash_weights(folder),
            "tokenizer": _hash_tokenizer(folder),
        }
    except (OSError, ValueError, KeyError, struct.error) as error:
        raise SpeechLLMError(f"{folder}: is not a whole Hugging Face model folder: {error}") from error


def _identity(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _identity(inner) for key, inner in value.items() if key not in NOT_IDENTITY}
    return [_identity(inner) for inner in value] if isinstance(value, list) else value


def _weight_files(folder: Path, stem: str, ending: str) -> list[Path]:
    """The files that `from_pretrained` would read: the one, or those of the index, or whatever has the ending."""
    one, index = folder / f"{stem}.{ending}", folder / f"{stem}.{ending}.index.json"
    if one.exists():
        return [one]
    if index.exists():
        shards = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
        return [folder / name for name in sorted(set(shards))]
    return sorted(folder.glob(f"*.{ending}"))


def _hash_weights(folder: Path) -> str:
    whole = hashlib.sha256()
    shards = _weight_files(folder, "model", "safetensors")
    if shards:
        tensors = {name: digest for shard in shards for name, digest in _tensor_digests(shard)}
        for name in sorted(tensors):
            whole.update(f"{name} {tensors[name]}\n".encode())
        return whole.hexdigest()
    binaries = _weight_files(folder, "pytorch_model", "bin")
    if not binaries:
        raise ValueError("no *.safetensors and no *.bin")
    for path in binaries:
        with path.open("rb") as file:
            whole.update(hashlib.file_digest(file, "sha256").digest())
    return whole.hexdigest()


def _tensor_digests(path: Path) -> Iterator[tuple[str, str]]:
    """Name and digest of each tensor of a safetensors file: eight bytes of header length, JSON header, data."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        header.pop("__metadata__", None)
        for name, entry in header.items():
            start, end = entry["data_offsets"]
            size = end - start
            places = (
                [0, max(0, size // 2 - CHUNK // 2), max(0, size - CHUNK)] if size > 3 * CHUNK else range(0, size, CHUNK)
            )
            digest = hashlib.sha256(f"{entry['dtype']} {entry['shape']}".encode())
            for place in places:
                file.seek(8 + length + start + place)
                digest.update(file.read(min(CHUNK, size - place)))
            yield name, digest.hexdigest()


def _hash_tokenizer(folder: Path) -> str:
    older = [folder / name for name in ("tokenizer.model", "vocab.json", "merges.txt", "vocab.txt")]
    found = [path for path in [folder / "tokenizer.json"] if path.exists()] or [path for path in older if path.exists()]
    return hashlib.sha256(b"".join(path.read_bytes() for path in found)).hexdigest() if found else ""
