"""Progress of long work: one live display on a terminal, a plain line now and then everywhere else."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import TimeRemainingColumn as _TimeRemaining

T = TypeVar("T")

console = Console(stderr=True, highlight=False)
"""Messages and progress go to standard error, so that standard output holds results only."""

PLAIN_INTERVAL_S = 15.0
"""Without a terminal (logs of a cluster, CI) a line is printed at most this often."""

_current: ContextVar[Display | None] = ContextVar("speechllm_progress", default=None)


class Display:
    """The running display; made by `display()`, found again by every `track()` and `task()` inside it."""

    def __init__(self) -> None:
        self.live = console.is_terminal
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            _TimeRemaining(),
            TextColumn("{task.fields[note]}"),
            console=console,
            disable=not self.live,
        )


class Task:
    """One bar: `advance()` it, and `note` what is worth seeing (loss, learning rate, megabytes)."""

    def __init__(self, owner: Display, description: str, total: float | None) -> None:
        self._owner = owner
        self._description = description
        self._started = self._printed = time.monotonic()
        self._id: TaskID = owner.progress.add_task(description, total=total, note="")
        if not owner.live:
            console.print(f"{description} ...", markup=False)

    def advance(self, n: float = 1, note: str | None = None) -> None:
        """Moves the bar by `n` and, if given, replaces the note behind it."""
        fields: dict[str, Any] = {} if note is None else {"note": note}
        self._owner.progress.update(self._id, advance=n, **fields)
        now = time.monotonic()
        if not self._owner.live and now - self._printed >= PLAIN_INTERVAL_S:
            self._printed = now
            console.print(self._line(now), markup=False)

    def _line(self, now: float) -> str:
        task = self._owner.progress.tasks[self._owner.progress.task_ids.index(self._id)]
        elapsed = now - self._started
        line = f"{self._description}: {task.completed:g}"
        if task.total:
            left = elapsed * (task.total - task.completed) / task.completed if task.completed else float("nan")
            line += f"/{task.total:g}, {left:.0f} s left"
        return f"{line} {task.fields['note']}".rstrip()

    def finish(self) -> None:
        """Leaves the bar standing, complete."""
        self._owner.progress.stop_task(self._id)
        if not self._owner.live:
            console.print(f"{self._description}: done in {time.monotonic() - self._started:.1f} s", markup=False)


@contextmanager
def display() -> Iterator[Display]:
    """Opens the live display, or joins the one that is already open, so that chained stages share one."""
    outer = _current.get()
    if outer is not None:
        yield outer
        return
    inner = Display()
    token = _current.set(inner)
    try:
        with inner.progress:
            yield inner
    finally:
        _current.reset(token)


@contextmanager
def task(description: str, total: float | None = None) -> Iterator[Task]:
    """A bar for work whose steps are not an iterable."""
    with display() as owner:
        bar = Task(owner, description, total)
        yield bar
        bar.finish()


def track(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Yields `items` and advances a bar by one for each."""
    if total is None and isinstance(items, Sequence):
        total = len(items)
    with task(description, total) as bar:
        for item in items:
            yield item
            bar.advance()
