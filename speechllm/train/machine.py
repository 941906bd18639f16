"""What the machine can do and what a run takes of it: arithmetic and memory."""

from __future__ import annotations

import contextlib
import resource
import sys
import time
from pathlib import Path

import torch

SIDE = {"cpu": 2048, "cuda": 8192}
"""Of the square matrices whose product is timed."""

REPEATS = 5


def matmul_peak(device: torch.device, dtype: torch.dtype) -> float:
    """Floating-point operations a second of large matrix products here: the best of a few."""
    side = SIDE.get(device.type, 2048)
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    best = 0.0
    for _ in range(REPEATS):
        synchronize(device)
        started = time.perf_counter()
        torch.mm(a, b)
        synchronize(device)
        best = max(best, 2 * side**3 / (time.perf_counter() - started))
    return best


def synchronize(device: torch.device) -> None:
    """Waits for the work that a GPU has been given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def reset_peak_memory(device: torch.device) -> None:
    """Lets `peak_memory` count from here, where the system can do that."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with contextlib.suppress(OSError):  # Linux alone
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory(device: torch.device) -> float:
    """Most gigabytes held so far: of GPU memory that torch gave out, or of this process's resident memory."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e9
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size * (1 if sys.platform == "darwin" else 1024) / 1e9
