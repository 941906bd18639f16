"""TOML files that build on one another: `base = "base.toml"` takes over what the file does not say itself."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from speechllm.errors import SpeechLLMError


def read_toml(path: Path, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Reads a TOML file on top of the one that its `base` names, relative to itself.

    Tables are merged key by key, at any depth; anything else, lists too, replaces what the base says.

    Args:
        path: the file.
        above: the files that are built on it, the first of them the one that was asked for.

    Raises:
        SpeechLLMError: missing file, bad syntax (duplicate keys too), bases in a circle; names all files on the way.
    """
    path = Path(path)
    way = " <- ".join(str(file) for file in (path, *reversed(above)))
    if path.resolve() in {file.resolve() for file in above}:
        raise SpeechLLMError(f"{way}: the bases go in a circle; take one `base` out")
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SpeechLLMError(f"{way}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SpeechLLMError(f"{way}: is not valid TOML: {error}") from error
    base = values.pop("base", None)
    if base is None:
        return values
    if not isinstance(base, str):
        raise SpeechLLMError(f"{way}: base: write the path of one TOML file in quotes")
    return _merged(read_toml(path.parent / base, (*above, path)), values)


def files_of(path: Path) -> list[Path]:
    """A TOML file and those that it builds on, the nearest first; for a message that names them all."""
    found = [Path(path)]
    while isinstance(base := tomllib.loads(found[-1].read_text(encoding="utf-8")).get("base"), str):
        found.append(found[-1].parent / base)
    return found


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        inner = merged.get(key)
        merged[key] = _merged(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return merged
