"""The process that holds espeak-ng: run as a script by `speechllm.data.espeak`, it needs only the standard library.

Arguments: the shared library, its data folder. First reply: the sampling rate (4 bytes, little-endian). Then, for each
line `[text, voice, words_per_minute, pitch]` on standard input: the number of bytes (4) and 16-bit samples.
"""

from __future__ import annotations

import ctypes
import json
import signal
import sys
from typing import IO

SYNCHRONOUS = 2
UTF8 = 1
RATE, PITCH = 1, 3


def serve(library: str, data: str, requests: IO[bytes], replies: IO[bytes]) -> None:
    """Answers requests until the input ends."""
    espeak = ctypes.CDLL(library)
    chunks: list[bytes] = []

    @ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)
    def collect(samples: int | None, count: int, _events: int | None) -> int:
        if samples and count > 0:
            chunks.append(ctypes.string_at(samples, 2 * count))
        return 0

    rate = espeak.espeak_Initialize(SYNCHRONOUS, 0, data.encode(), 0)
    if rate <= 0:
        sys.exit(f"espeak-ng cannot read its data in {data}")
    espeak.espeak_SetSynthCallback(collect)
    espeak.espeak_ng_SetRandSeed(ctypes.c_long(1))  # breath is noise; its own seed would be the time of day
    replies.write(rate.to_bytes(4, "little"))
    replies.flush()
    for request in requests:
        text, voice, words_per_minute, pitch = json.loads(request)
        if espeak.espeak_SetVoiceByName(voice.encode()):
            sys.exit(f"espeak-ng has no voice {voice!r}")
        espeak.espeak_SetParameter(RATE, words_per_minute, 0)
        espeak.espeak_SetParameter(PITCH, pitch, 0)
        encoded = text.encode() + b"\0"
        chunks.clear()
        if espeak.espeak_Synth(encoded, ctypes.c_size_t(len(encoded)), 0, 0, 0, UTF8, None, None):
            sys.exit(f"espeak-ng cannot speak {text!r}")
        sound = b"".join(chunks)
        replies.write(len(sound).to_bytes(4, "little") + sound)
        replies.flush()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then closes the input
    serve(sys.argv[1], sys.argv[2], sys.stdin.buffer, sys.stdout.buffer)
