"""Miniature corpora in the official layouts: the files, and what the recipe makes of them.

Expected rows leave out what is the same everywhere: audio, duration, sampling rate, dataset and split.
"""

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
    tables: dict[str, str] = field(default_factory=dict)
    """Path -> content of the corpus's text files."""

    def write(self, folder: Path) -> Path:
        for name in self.audio:
            save_audio(folder / name, 0.1 * np.sin(np.arange(SECONDS * 16_000) / 20), 16_000)
        for name, content in self.tables.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(content, encoding="utf-8")
        return folder


MINIATURES = {
    "crema_d": Miniature(
        audio=["AudioWAV/1001_IEO_ANG_HI.wav", "AudioWAV/1002_WSI_NEU_XX.wav"],
        tables={
            "VideoDemographics.csv": '"ActorID","Age","Sex","Race","Ethnicity"\n'
            '1001,51,"Male","Caucasian","Not Hispanic"\n1002,21,"Female","Caucasian","Not Hispanic"\n'
        },
        expected={
            "all": [
                {
                    "id": "1001_IEO_ANG_HI",
                    "text": "It's eleven o'clock.",
                    "language": "en",
                    "speaker": "1001",
                    "attributes": {"gender": "male", "age": 51, "emotion": "angry", "emotion_intensity": "high"},
                },
                {
                    "id": "1002_WSI_NEU_XX",
                    "text": "We'll stop in a couple of minutes.",
                    "language": "en",
                    "speaker": "1002",
                    "attributes": {"gender": "female", "age": 21, "emotion": "neutral"},
                },
            ]
        },
    ),
}
