"""What a run is: its config and data as flat keys, so that a resumed run can say which of them changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from speechllm.config import TrainConfig
from speechllm.errors import SpeechLLMError, did_you_mean
from speechllm.models.modeling import WEIGHTS

Identity = dict[str, str]
"""Dotted keys of a config (`stages.0.learning_rate`), and `data.manifest.sha256` and the like, to their values."""

FREE = (
    "out",
    "trackers",
    "save_every",
    "keep_last",
    "max_skipped_steps",
    "data.feature_cache",
    "data.feature_cache_gb",
    "data.teacher_cache_gb",
)
"""Keys that change nothing that is learned: a run may be moved off a full disk and save more often."""

_SHOWN = 6


def identity(config: TrainConfig) -> Identity:
    """The flat keys of a run that decide its outcome, and the hashes of the data it names."""
    flat = dict(_flatten(json.loads(json.dumps(asdict(config), default=str))))
    flat = {key: value for key, value in flat.items() if not any(_covers(free, key) for free in FREE)}
    for number, source in enumerate(config.data.mixed()):
        where = f"data.sources.{number}" if config.data.sources else "data"
        for name, file in (("manifest", source.manifest), ("targets", source.targets)):
            if file is not None and file.exists():
                flat[f"{where}.{name}.sha256"] = hashlib.sha256(file.read_bytes()).hexdigest()
    if config.model.start is not None and (weights := Path(config.model.start) / WEIGHTS).exists():
        flat["model.start.sha256"] = hashlib.sha256(weights.read_bytes()).hexdigest()
    if config.data.augmentation is not None and config.data.augmentation.exists():
        flat["data.augmentation.sha256"] = hashlib.sha256(config.data.augmentation.read_bytes()).hexdigest()
    return flat


def check_unchanged(path: Path, then: Mapping[str, str], now: Mapping[str, str], allowed: Sequence[str] = ()) -> None:
    """Compares the run that a state at `path` belongs to with the one that wants to go on from it.

    Args:
        path: the state, for the message.
        then: identity that was saved.
        now: identity of the run at hand.
        allowed: keys that may differ, or the beginnings of keys (`stages.1`).

    Raises:
        SpeechLLMError: a key differs that is not allowed to; names all such keys. Or an allowed key differs nowhere.
    """
    different = sorted(key for key in then.keys() | now.keys() if then.get(key) != now.get(key))
    for key in allowed:
        if not any(_covers(key, other) for other in different):
            raise SpeechLLMError(f"--allow-change {key}: that key has not changed{did_you_mean(key, different)}")
    refused = [key for key in different if not any(_covers(key_, key) for key_ in allowed)]
    if not refused:
        return
    told = ", ".join(_told(key, then, now) for key in refused[:_SHOWN])
    more = f" and {len(refused) - _SHOWN} more" if len(refused) > _SHOWN else ""
    raise SpeechLLMError(
        f"{path}: belongs to a run with another config or other data: {told}{more}; take the old ones, or another out"
        f" folder, or delete it, or say that the change is meant: --allow-change {' '.join(refused[:_SHOWN])}"
    )


def _covers(allowed: str, key: str) -> bool:
    return key == allowed or key.startswith(f"{allowed}.")


def _told(key: str, then: Mapping[str, str], now: Mapping[str, str]) -> str:
    if key.endswith(".sha256"):
        return f"{key} (the file's content)"
    return f"{key} ({then.get(key, 'absent')} then, {now.get(key, 'absent')} now)"


def _flatten(value: Any, key: str = "") -> Iterable[tuple[str, str]]:
    """Leaves of nested plain values as (dotted key, JSON)."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    if not inner:
        yield key, json.dumps(value)
    for name, item in inner:
        yield from _flatten(item, f"{key}.{name}" if key else str(name))
