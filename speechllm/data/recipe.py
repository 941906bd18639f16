"""What recipes share: the clips that a corpus lists -> one manifest a split, and readers of the files that list them.

A recipe is `recipes/<corpus>/prepare.py` with `prepare(corpus_dir, output_dir)`. It reads the corpus's own files,
makes a `Clip` of each recording, and hands them to `write_corpus`.
"""

from __future__ import annotations

import csv
import importlib.util
import io
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import speechllm
from speechllm.audio.io import audio_info
from speechllm.data.manifest import Attribute, Utterance, relocated, write_manifest
from speechllm.errors import SpeechLLMError, did_you_mean
from speechllm.progress import console, track

Prepare = Callable[[Path, Path], dict[str, Path]]
"""`prepare(corpus_dir, output_dir)`: writes the manifests of a corpus and returns them by split."""

MAX_BROKEN = 0.01
"""The share of a corpus's files that may be missing or unreadable; rounded up, so that one never ends a run."""

REPORTED = 10
"""Broken files that are named one by one; the rest are counted."""

AUDIO_ENDINGS = (".wav", ".flac", ".mp3", ".ogg", ".opus", ".aiff", ".aif")
"""What `audio_files` takes for audio: the common formats among those that libsndfile reads."""

_GENDERS = {"f": "female", "w": "female", "female_feminine": "female", "m": "male", "male_masculine": "male"} | {
    word: word for word in ("female", "male")
}


@dataclass(frozen=True, kw_only=True)
class Clip:
    """One recording of a corpus and what the corpus says about it; its duration is read from the file.

    Empty texts and attributes whose value is None or empty are facts that the corpus lacks, and are left out.
    """

    id: str
    audio: Path
    split: str = "all"
    text: str | None = None
    language: str | None = None
    speaker: str | None = None
    attributes: Mapping[str, Attribute | None] = field(default_factory=dict)


def write_corpus(dataset: str, clips: Iterable[Clip], output_dir: Path) -> dict[str, Path]:
    """Writes `output_dir/<split>.jsonl` for every split among `clips`, in their order; returns the paths by split.

    Duration (s) and sampling rate (Hz) come from the header of each file. Files that are missing, unreadable or
    without samples are reported and skipped.

    Raises:
        SpeechLLMError: there are no clips, two share an id, or more than `MAX_BROKEN` of the files are broken; then
            nothing is written.
    """
    listed = list(clips)
    if not listed:
        raise SpeechLLMError(f"{dataset}: the folder lists no recordings; check that it is the unpacked corpus")
    limit = math.ceil(MAX_BROKEN * len(listed))
    splits: dict[str, list[Utterance]] = {}
    seen: dict[str, Path] = {}
    broken: list[str] = []
    for clip in track(listed, f"prepare {dataset}"):
        if clip.id in seen:
            raise SpeechLLMError(f"{clip.audio}: has the id {clip.id!r} that {seen[clip.id]} has already; rename one")
        seen[clip.id] = clip.audio
        try:
            utterance = _utterance(dataset, clip)
        except SpeechLLMError as error:
            broken.append(str(error))
            if len(broken) > limit or len(broken) == len(listed):
                raise SpeechLLMError(
                    f"{dataset}: more than {MAX_BROKEN:.0%} of the {len(listed)} files cannot be read, the first: "
                    f"{broken[0]}"
                ) from error
            continue
        splits.setdefault(clip.split, []).append(utterance)
    report_skipped(broken)
    paths = {split: output_dir / f"{split}.jsonl" for split in splits}
    for split, path in paths.items():
        write_manifest(path, relocated(splits[split], output_dir))
    return paths


def _utterance(dataset: str, clip: Clip) -> Utterance:
    duration, sampling_rate = audio_info(clip.audio)
    if duration == 0:
        raise SpeechLLMError(f"{clip.audio}: holds no samples; download it again")
    facts = {
        "text": (clip.text or "").strip(),
        "language": clip.language,
        "speaker": clip.speaker,
        "attributes": {name: value for name, value in clip.attributes.items() if value not in (None, "")},
    }
    return Utterance(
        id=clip.id,
        audio=str(clip.audio),
        duration=round(duration, 6),
        sampling_rate=sampling_rate,
        dataset=dataset,
        split=clip.split,
        **{name: value for name, value in facts.items() if value},  # type: ignore[arg-type]
    )


def report_skipped(broken: list[str]) -> None:
    """Names the first `REPORTED` broken files and counts the rest."""
    for message in broken[:REPORTED]:
        console.print(f"skipped: {message}", markup=False, soft_wrap=True)
    if len(broken) > REPORTED:
        console.print(f"skipped: {len(broken) - REPORTED} more", markup=False, soft_wrap=True)


def require(corpus_dir: Path, *names: str) -> None:
    """Checks that the folder has the files or folders that mark the corpus's layout.

    Raises:
        SpeechLLMError: one of them is missing; names it.
    """
    if not corpus_dir.is_dir():
        raise SpeechLLMError(f"{corpus_dir}: no such folder; give the folder of the unpacked corpus")
    for name in names:
        if not (corpus_dir / name).exists():
            raise SpeechLLMError(f"{corpus_dir}: has no {name}; give the folder of the unpacked corpus that holds it")


def audio_files(folder: Path, *endings: str) -> list[Path]:
    """Every audio file below `folder`, sorted by path; those with one of `endings`, else with any of AUDIO_ENDINGS.

    Hidden files are left out: `._x.wav` is what macOS leaves in archives.

    Raises:
        SpeechLLMError: there are none.
    """
    wanted = endings or AUDIO_ENDINGS
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in wanted and not p.name.startswith("."))
    if not files:
        raise SpeechLLMError(f"{folder}: holds no {' or '.join(wanted)} files; give the folder of the unpacked corpus")
    return files


def read_lines(path: Path) -> list[str]:
    """The lines of a UTF-8 text file that are not empty, without white space around them.

    Raises:
        SpeechLLMError: it cannot be read or is not UTF-8.
    """
    return [line.strip() for line in _text(path).split("\n") if line.strip()]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise SpeechLLMError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except UnicodeDecodeError as error:
        raise SpeechLLMError(f"{path}: is not UTF-8 text; download it again") from error


def read_table(path: Path, *columns: str, delimiter: str = ",") -> Iterator[dict[str, str]]:
    """The rows of a table with a header line; a tab as `delimiter` means that quotation marks are plain text.

    Raises:
        SpeechLLMError: it cannot be read, a column of `columns` is missing, or a row is too short.
    """
    quoting: Literal[0, 3] = csv.QUOTE_NONE if delimiter == "\t" else csv.QUOTE_MINIMAL
    reader = csv.DictReader(io.StringIO(_text(path)), delimiter=delimiter, quoting=quoting)
    header = reader.fieldnames or []
    for column in columns:
        if column not in header:
            raise SpeechLLMError(f"{path}: has no column {column!r}{did_you_mean(column, header)}")
    for row in reader:
        if any(row[column] is None for column in columns):
            raise SpeechLLMError(f"{path}:{reader.line_num}: has fewer fields than the header; download it again")
        yield {name: (value or "").strip() for name, value in row.items() if name is not None}


def gender(word: str) -> str | None:
    """`female` or `male` for what corpora write (F, W, male_masculine, ...); None for everything else.

    Other genders are not mapped: the vocabulary of descriptions has these two, and withholds what it cannot name.
    """
    return _GENDERS.get(word.strip().lower())


def find_recipe(corpus: str) -> Prepare:
    """The `prepare` of a recipe: a name in `recipes/` of the working folder or of the source tree, or a folder's path.

    Raises:
        SpeechLLMError: there is no such recipe, or its file defines no `prepare`.
    """
    homes = [Path("recipes"), Path(speechllm.__file__).parent.parent / "recipes"]
    candidates = [home / corpus for home in homes] if Path(corpus).name == corpus else []
    file = next((p for folder in [*candidates, Path(corpus)] if (p := folder / "prepare.py").is_file()), None)
    if file is None:
        known = {path.parent.name for home in homes for path in home.glob("*/prepare.py")}
        raise SpeechLLMError(f"there is no recipe {corpus!r}{did_you_mean(corpus, known)}")
    spec = importlib.util.spec_from_file_location(f"recipes.{file.parent.name}", file)
    if spec is None or spec.loader is None:
        raise SpeechLLMError(f"{file}: cannot be imported; give a folder with a prepare.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not callable(getattr(module, "prepare", None)):
        raise SpeechLLMError(f"{file}: defines no prepare(corpus_dir, output_dir); add it")
    prepare: Prepare = module.prepare
    return prepare
