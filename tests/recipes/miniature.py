"""Miniature corpora in the official layouts: the files, and what the recipe makes of them.

Expected rows leave out what is the same everywhere: audio, duration, sampling rate, dataset and split.
"""

import gzip
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from speechllm.audio.io import save_audio

SECONDS = 0.5


@dataclass(frozen=True)
class Miniature:
    audio: list[str]
    expected: dict[str, list[dict[str, Any]]]
    """Split -> rows in order."""
    tables: dict[str, str | bytes] = field(default_factory=dict)
    """Path -> content of the corpus's text files."""
    seconds: float = SECONDS
    """How long each recording is."""

    def write(self, folder: Path) -> Path:
        for name in self.audio:
            save_audio(folder / name, 0.1 * np.sin(np.arange(self.seconds * 16_000) / 20), 16_000)
        for name, content in self.tables.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            data = content if isinstance(content, bytes) else content.encode()
            (folder / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return folder
