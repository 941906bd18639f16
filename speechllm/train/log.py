"""The log of a run: a JSON line a step."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from speechllm.data.jsonl import written_aside
from speechllm.train.state import Position


class Log:
    """A file of JSON lines that is written through at every line."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="utf-8")

    def write(self, entry: dict[str, Any]) -> None:
        """Adds a line."""
        self._file.write(json.dumps(entry, ensure_ascii=False) + "\n")
        self._file.flush()

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def cut_log(path: Path, position: Position) -> None:
    """Drops the lines of steps that were taken after the state was saved: they are taken again."""
    if position == Position():
        path.unlink(missing_ok=True)
    if not path.exists():
        return
    entries = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.endswith("}")]
    kept = [e for e in entries if (e["stage"], e["step"]) < (position.stage, position.step)]
    with written_aside(path) as out:
        out.writelines(json.dumps(entry, ensure_ascii=False) + "\n" for entry in kept)
