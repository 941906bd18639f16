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
    "common_voice": Miniature(
        audio=["clips/common_voice_cy_1.mp3", "clips/common_voice_cy_2.mp3", "clips/common_voice_cy_3.mp3"],
        tables={
            "train.tsv": "client_id\tpath\tsentence_id\tsentence\tsentence_domain\tup_votes\tdown_votes\tage\tgender"
            "\taccents\tvariant\tlocale\tsegment\n"
            'ab12\tcommon_voice_cy_2.mp3\tf00\t"Bore da," meddai.\t\t2\t0\tfourties\tfemale_feminine\tGwynedd\t\tcy\t\n'
            "cd34\tcommon_voice_cy_1.mp3\tf01\tNos da.\t\t2\t0\t\t\t\t\tcy\t\n",
            "test.tsv": "client_id\tpath\tsentence\tup_votes\tdown_votes\tage\tgender\taccent\n"
            "ef56\tcommon_voice_cy_3.mp3\tDiolch.\t2\t0\ttwenties\tmale\tDyfed\n",
            "validated.tsv": "client_id\tpath\tsentence\nxx\tnot_official.mp3\tNa.\n",
        },
        expected={
            "train": [
                {
                    "id": "common_voice_cy_2",
                    "text": '"Bore da," meddai.',
                    "language": "cy",
                    "speaker": "ab12",
                    "attributes": {"gender": "female", "age": "forties", "accent": "Gwynedd"},
                },
                {"id": "common_voice_cy_1", "text": "Nos da.", "language": "cy", "speaker": "cd34"},
            ],
            "test": [
                {
                    "id": "common_voice_cy_3",
                    "text": "Diolch.",
                    "language": "corpus",  # the old tables have no locale, so the folder's name stands for it
                    "speaker": "ef56",
                    "attributes": {"gender": "male", "age": "twenties", "accent": "Dyfed"},
                }
            ],
        },
    ),
    "free_spoken_digit": Miniature(
        audio=["recordings/7_jackson_5.wav", "recordings/0_jackson_4.wav", "recordings/1_lucas_12.wav"],
        tables={
            "metadata.py": '"""Speakers."""\n\nmetadata = {\n    "jackson": {\n'
            "    \t'gender': 'male',\n    \t'accent': 'USA/neutral',\n    },\n}\n"
        },
        expected={
            "test": [
                {
                    "id": "0_jackson_4",
                    "text": "zero",
                    "language": "en",
                    "speaker": "jackson",
                    "attributes": {"gender": "male", "accent": "USA/neutral"},
                }
            ],
            "train": [
                {"id": "1_lucas_12", "text": "one", "language": "en", "speaker": "lucas"},
                {
                    "id": "7_jackson_5",
                    "text": "seven",
                    "language": "en",
                    "speaker": "jackson",
                    "attributes": {"gender": "male", "accent": "USA/neutral"},
                },
            ],
        },
    ),
    "librispeech": Miniature(
        audio=["dev-clean/84/121123/84-121123-0000.flac", "train-other-500/20/205/20-205-0003.flac"],
        tables={
            "SPEAKERS.TXT": ";ID  |SEX| SUBSET           |MINUTES| NAME\n"
            "84   | F | dev-clean        | 8.02  | Christie Nowak\n20   | M | train-other-500  | 30.07 | A | B\n",
            "dev-clean/84/121123/84-121123.trans.txt": "84-121123-0000 GO DO YOU HEAR\n",
            "train-other-500/20/205/20-205.trans.txt": "20-205-0003 IT'S LATE\n",
        },
        expected={
            "dev-clean": [
                {
                    "id": "84-121123-0000",
                    "text": "GO DO YOU HEAR",
                    "language": "en",
                    "speaker": "84",
                    "attributes": {"gender": "female"},
                }
            ],
            "train-other-500": [
                {
                    "id": "20-205-0003",
                    "text": "IT'S LATE",
                    "language": "en",
                    "speaker": "20",
                    "attributes": {"gender": "male"},
                }
            ],
        },
    ),
}
