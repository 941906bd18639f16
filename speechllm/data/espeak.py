"""espeak-ng in a process of its own: text in, 16-bit samples out.

The library keeps hidden state from one sentence to the next (the flutter of its voices) and is not thread-safe. A fresh
process makes its output a function of what was asked of it, in order, and keeps a crash of it out of this one.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import IO, NoReturn

from speechllm.errors import SpeechLLMError


class Espeak:
    """A running espeak-ng; use it in a `with` block, from one thread.

    Raises:
        SpeechLLMError: espeak-ng is not installed, or stopped.
    """

    def __init__(self) -> None:
        try:
            import espeakng_loader
        except ImportError as error:
            raise SpeechLLMError("espeak-ng is not installed; run: pip install 'speechllm[quickstart]'") from error
        worker = Path(__file__).with_name("espeak_worker.py")
        # -I -S: the worker sees the standard library only, and so starts in milliseconds.
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", worker, espeakng_loader.get_library_path(), espeakng_loader.get_data_path()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._requests: IO[bytes] = self._process.stdin
        self._replies: IO[bytes] = self._process.stdout
        self.sampling_rate = self._read_number()

    def speak(self, text: str, *, voice: str, words_per_minute: int, pitch: int) -> bytes:
        """Speaks `text`; returns little-endian 16-bit mono samples at `sampling_rate`."""
        try:
            self._requests.write(json.dumps([text, voice, words_per_minute, pitch]).encode() + b"\n")
            self._requests.flush()
        except OSError:
            self._stopped()
        return self._read(self._read_number())

    def _read_number(self) -> int:
        return int.from_bytes(self._read(4), "little")

    def _read(self, size: int) -> bytes:
        data = self._replies.read(size)
        if len(data) < size:
            self._stopped()
        return data

    def _stopped(self) -> NoReturn:
        self.close()
        raise SpeechLLMError(
            f"espeak-ng stopped with exit status {self._process.returncode} (what it said stands above);"
            " try: pip install --force-reinstall espeakng-loader"
        )

    def close(self) -> None:
        """Ends the process; closing twice does no harm."""
        with contextlib.suppress(OSError):
            self._requests.close()
        self._replies.close()
        self._process.wait()

    def __enter__(self) -> Espeak:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
