"""Miniatures of corpora that are distributed as Parquet files of `datasets`, audio within."""

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile
from miniature import SECONDS, Miniature


def sound(kind: str = "FLAC") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, 0.1 * np.sin(np.arange(SECONDS * 16_000) / 20), 16_000, format=kind)
    return file.getvalue()


def parquet(rows: list[dict], **features: dict) -> bytes:
    """Rows with a column `audio`, marked as `datasets` marks them; the types of other columns are found."""
    known = {"audio": {"_type": "Audio"}} | features
    table = pa.Table.from_pylist(rows)
    types = {name: {"dtype": str(table.schema.field(name).type), "_type": "Value"} for name in table.column_names}
    info = {"info": {"features": types | known}}
    file = io.BytesIO()
    pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps(info)}), file)
    return file.getvalue()


def spoken(**facts: object) -> dict:
    return {"audio": {"bytes": sound(), "path": "common_voice_en_1.wav"}, **facts}


PARQUET = {
    "globe": Miniature(
        audio=[],
        tables={
            "data/train-00000-of-00001.parquet": parquet(
                [
                    spoken(
                        speaker_id="S_000658",
                        transcript="each member has one share.",
                        gender="female",
                        age="thirties",
                        accent="New Zealand English",
                        duration=2.9,
                    )
                ]
            ),
            "data/test-00000-of-00001.parquet": parquet(
                [spoken(speaker_id="S_2", transcript="No.", gender="", age="", accent="", duration=1.0)]
            ),
        },
        expected={
            "train": [
                {
                    "id": "train/00000000",
                    "text": "each member has one share.",
                    "language": "en",
                    "speaker": "S_000658",
                    "attributes": {"gender": "female", "age": "thirties", "accent": "New Zealand English"},
                }
            ],
            "test": [{"id": "test/00000000", "text": "No.", "language": "en", "speaker": "S_2"}],
        },
    ),
}
