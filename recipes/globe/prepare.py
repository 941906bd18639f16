"""GLOBE: Common Voice's English speakers, cleaned, with their accents (Wang, Song and Jha, 2024)."""

from __future__ import annotations

from pathlib import Path

from speechllm.data.hugging_face import Columns, DatasetSource, read_dataset
from speechllm.data.recipe import require, write_corpus


def prepare(corpus_dir: Path, output_dir: Path) -> dict[str, Path]:
    """Reads `data/<split>-*.parquet`; the audio in them is written to `output_dir/audio`."""
    require(corpus_dir, "data")
    source = DatasetSource(
        dataset=str(corpus_dir),
        language="en",
        columns=Columns(text="transcript", speaker="speaker_id"),
        attributes={name: name for name in ("gender", "age", "accent")},
    )
    return write_corpus("globe", read_dataset(source, output_dir / "audio"), output_dir)
