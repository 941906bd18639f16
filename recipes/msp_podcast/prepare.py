"""MSP-Podcast: turns of podcasts with the emotion that listeners heard (Lotfian and Busso, 2019)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from speechllm.data.recipe import Clip, gender, read_lines, read_table, require, write_corpus

# What most of the listeners chose; O (other) and X (no agreement) give no attribute.
EMOTIONS = {
    "A": "angry",
    "C": "contemptuous",
    "D": "disgusted",
    "F": "fearful",
    "H": "happy",
    "N": "neutral",
    "S": "sad",
    "U": "surprised",
}
LABELS = "Labels/labels_consensus.csv"


def prepare(corpus_dir: Path, output_dir: Path) -> dict[str, Path]:
    """Reads `Labels/labels_consensus.csv`, `Audios/` and, where it has the turn, `Transcripts/<name>.txt`."""
    require(corpus_dir, LABELS, "Audios")
    return write_corpus("msp_podcast", _clips(corpus_dir), output_dir)


def _clips(corpus_dir: Path) -> Iterator[Clip]:
    for row in read_table(corpus_dir / LABELS, "FileName", "EmoClass", "SpkrID", "Gender", "Split_Set"):
        name = row["FileName"].removesuffix(".wav")
        text = corpus_dir / "Transcripts" / f"{name}.txt"
        yield Clip(
            id=name,
            audio=corpus_dir / "Audios" / row["FileName"],
            split=row["Split_Set"].lower(),
            text=" ".join(read_lines(text, "cp1252")) if text.is_file() else None,
            language="en",
            speaker=None if row["SpkrID"] == "Unknown" else row["SpkrID"],
            attributes={"gender": gender(row["Gender"]), "emotion": EMOTIONS.get(row["EmoClass"])},
        )
