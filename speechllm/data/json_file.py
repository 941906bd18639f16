"""JSON files of results, whatever the numbers in them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from speechllm import progress
from speechllm.data.jsonl import written_aside

MOST_LOST = 5
"""Places of numbers that JSON cannot hold which a message names."""


def write_json(value: Any, path: Path) -> Any:
    """Writes JSON aside and renames it; numbers that JSON cannot hold (NaN, infinite) become null and are reported.

    Returns:
        what was written.
    """
    lost: list[str] = []
    told = _finite(value, "", lost)
    with written_aside(path) as file:
        json.dump(told, file, indent=2, ensure_ascii=False, allow_nan=False)
        file.write("\n")
    if lost:
        more = f" and {len(lost) - MOST_LOST} more" if len(lost) > MOST_LOST else ""
        progress.console.print(
            f"{path}: {', '.join(lost[:MOST_LOST])}{more}: not a finite number, written as null", markup=False
        )
    return told


def _finite(value: Any, where: str, lost: list[str]) -> Any:
    """The same structure with None for numbers that are not finite, whose places go to `lost`."""
    if isinstance(value, Mapping):
        return {key: _finite(inner, f"{where}.{key}" if where else str(key), lost) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner, f"{where}.{k}", lost) for k, inner in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        lost.append(where)
        return None
    return value
