"""The log of a run: a JSON line a step."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from speechllm.data.jsonl import text_lines, written_aside
from speechllm.train.run import Run
from speechllm.train.state import Position
from speechllm.train.trackers import Tracker, open_tracker, scalars


class Log:
    """The log's file, written through at every line, and the trackers that take the same figures."""

    def __init__(self, path: Path, trackers: Sequence[Tracker], stages: Sequence[int]) -> None:
        """`stages`: how many steps each has; trackers count over all of them."""
        self._file = path.open("a", encoding="utf-8")
        self._trackers = trackers
        self._before = [sum(stages[:number]) for number in range(len(stages))]

    def write(self, entry: dict[str, Any]) -> None:
        """Adds a line about a `step` of a `stage`."""
        self._file.write(json.dumps(entry, ensure_ascii=False) + "\n")
        self._file.flush()
        for tracker in self._trackers:
            tracker.log(dict(scalars(entry)), self._before[entry["stage"]] + entry["step"])

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        for tracker in self._trackers:
            tracker.close()


def open_log(run: Run) -> Log:
    """The log of a run; only the first of several processes writes one."""
    stages = [stage.steps for stage in run.config.stages]
    if not run.ranks.main:
        return Log(Path(os.devnull), [], stages)
    values = json.loads(json.dumps(asdict(run.config), default=str))
    return Log(run.log_file, [open_tracker(name, run.config.out, values) for name in run.config.trackers], stages)


def cut_log(path: Path, position: Position) -> None:
    """Drops the lines of steps that were taken after the state was saved: they are taken again."""
    if position == Position():
        path.unlink(missing_ok=True)
    if not path.exists():
        return
    entries = [json.loads(line) for line in text_lines(path) if line.endswith("}")]
    kept = [e for e in entries if (e["stage"], e["step"]) < (position.stage, position.step)]
    with written_aside(path) as out:
        out.writelines(json.dumps(entry, ensure_ascii=False) + "\n" for entry in kept)
