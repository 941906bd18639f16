"""Ends a run between two steps when the system asks: SIGTERM, and SIGUSR1, which SLURM can send ahead of time."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from speechllm.errors import SpeechLLMError

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
"""Ask SLURM for the second one with `#SBATCH --signal=USR1@120`."""


class StoppedError(SpeechLLMError):
    """The run saved its state and ended because it was told to; started again, it goes on."""

    exit_status = 75
    """EX_TEMPFAIL of sysexits.h: a script that sees it starts the same command again."""


class StopRequest:
    """The signal that has come, if one has."""

    def __init__(self) -> None:
        self.name: str | None = None

    def receive(self, number: int, _: FrameType | None) -> None:
        """The handler; the step under way is finished first."""
        self.name = signal.Signals(number).name


@contextmanager
def listen() -> Iterator[StopRequest]:
    """Within the block the signals are noted instead of ending the process; outside the main thread none is."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.signal(number, request.receive) for number in SIGNALS}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
