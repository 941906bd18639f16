"""PromptTTS's PromptSpeech: sentences with a description of how they are said (Guo et al., 2023)."""

from __future__ import annotations

from pathlib import Path

from speechllm.data.recipe import Clip, gender, read_table, require, write_corpus

TABLE = "metadata.csv"
# The five factors that the paper names, as the table's columns -> the attributes of the manifest.
FACTORS = {"pitch": "pitch", "speed": "speaking_rate", "volume": "volume", "emotion": "emotion"}


def prepare(corpus_dir: Path, output_dir: Path) -> dict[str, Path]:
    """Reads `metadata.csv`: file_name, text, gender, pitch, speed, volume, emotion, style_prompt; one split, `all`."""
    require(corpus_dir, TABLE)
    rows = read_table(corpus_dir / TABLE, "file_name", "text", "gender", *FACTORS, "style_prompt")
    return write_corpus("prompttts", (_clip(corpus_dir, row) for row in rows), output_dir)


def _clip(corpus_dir: Path, row: dict[str, str]) -> Clip:
    return Clip(
        id=Path(row["file_name"]).stem,
        audio=corpus_dir / row["file_name"],
        text=row["text"],
        language="en",
        attributes={
            "gender": gender(row["gender"]),
            **{attribute: row[column] for column, attribute in FACTORS.items()},
            "caption": row["style_prompt"],
        },
    )
