"""Any dataset of the Hugging Face Hub, or a folder that `datasets` reads: `dataset.toml` says what its columns mean."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from speechllm.config import load_toml
from speechllm.data.hugging_face import DatasetSource, read_dataset
from speechllm.data.recipe import require, write_corpus

DESCRIPTION = "dataset.toml"


def prepare(corpus_dir: Path, output_dir: Path) -> dict[str, Path]:
    """Streams the dataset that `corpus_dir/dataset.toml` names; its audio is written to `output_dir/audio`."""
    require(corpus_dir, DESCRIPTION)
    source = load_toml(corpus_dir / DESCRIPTION, DatasetSource)
    local = corpus_dir / source.dataset
    name = source.dataset.rstrip("/").rpartition("/")[2] or "hugging_face"
    if local.is_dir():  # a folder is meant relative to the description
        source, name = replace(source, dataset=str(local)), local.resolve().name
    return write_corpus(name, read_dataset(source, output_dir / "audio"), output_dir)
