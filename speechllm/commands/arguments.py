"""Positional arguments that several commands take, with the names that `--help` shows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

Positional = tyro.conf.Positional

Checkpoint = Annotated[str, Positional, tyro.conf.arg(metavar="CHECKPOINT")]
Config = Annotated[Path, Positional, tyro.conf.arg(metavar="CONFIG")]
Corpus = Annotated[str, Positional, tyro.conf.arg(metavar="CORPUS")]
CorpusDir = Annotated[Path, Positional, tyro.conf.arg(metavar="CORPUS_DIR")]
Manifest = Annotated[Path, Positional, tyro.conf.arg(metavar="MANIFEST")]
Manifests = Annotated[tuple[Path, ...], Positional, tyro.conf.arg(metavar="MANIFEST...")]
Out = Annotated[Path, Positional, tyro.conf.arg(metavar="OUT")]
Question = Annotated[str, Positional, tyro.conf.arg(metavar="QUESTION")]
Reference = Annotated[str, Positional, tyro.conf.arg(metavar="REFERENCE")]
Targets = Annotated[Path, Positional, tyro.conf.arg(metavar="TARGETS")]
