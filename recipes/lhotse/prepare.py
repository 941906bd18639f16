"""Any corpus that lhotse prepares (Żelasko et al., 2021): recordings and supervisions, or cuts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from speechllm.audio.io import save_audio
from speechllm.data.recipe import Clip, gender, require, write_corpus
from speechllm.errors import SpeechLLMError

MANIFEST = re.compile(r"(?:(.*)[_.-])?(recordings|supervisions|cuts)(?:[_.-](.*))?\.jsonl?(?:\.gz)?")
UNSAFE = re.compile(r"[^-.\w]")


def prepare(corpus_dir: Path, output_dir: Path) -> dict[str, Path]:
    """Reads `<corpus>_recordings_<split>.jsonl.gz` with `<corpus>_supervisions_<split>.jsonl.gz`, and `*cuts*`.

    Each supervision becomes an utterance: a part of its file where lhotse's recording is one plain file with one
    channel, else a FLAC file in `output_dir/audio` that holds what lhotse reads. Recordings without become one each.
    """
    require(corpus_dir)
    clips = (_clip(cut, split, corpus_dir, output_dir / "audio") for cut, split in _cuts(corpus_dir))
    return write_corpus("lhotse", clips, output_dir)


def _cuts(corpus_dir: Path) -> Iterator[tuple[Any, str]]:
    """Every cut that the folder's manifests hold, with one supervision or none, and the name of its split."""
    try:
        from lhotse import CutSet, load_manifest
        from lhotse.serialization import load_manifest_lazy_or_eager
    except ImportError as error:
        raise SpeechLLMError("lhotse is not installed; pip install 'speechllm[lhotse]'") from error

    for path in sorted(p for p in corpus_dir.iterdir() if p.is_file()):
        name = MANIFEST.fullmatch(path.name)
        if name is None or name[2] == "supervisions":
            continue
        supervisions = path.with_name(path.name.replace("recordings", "supervisions"))
        try:
            if name[2] == "cuts":
                cuts = load_manifest_lazy_or_eager(path).trim_to_supervisions(keep_overlapping=False)
            elif supervisions.is_file():
                cuts = CutSet.from_manifests(recordings=load_manifest(path), supervisions=load_manifest(supervisions))
                cuts = cuts.trim_to_supervisions(keep_overlapping=False)
            else:  # a corpus of sounds
                cuts = CutSet.from_manifests(recordings=load_manifest(path))
            yield from ((cut, name[3] or "all") for cut in cuts)
        except (AttributeError, AssertionError, KeyError, TypeError, ValueError) as error:
            raise SpeechLLMError(f"{path}: lhotse cannot read it ({error!r}); make it again") from error


def _clip(cut: Any, split: str, corpus_dir: Path, audio_dir: Path) -> Clip:
    said = cut.supervisions[0] if cut.supervisions else None
    custom = (said.custom if said else cut.custom) or {}
    name = said.id if said else cut.recording.id
    path = _plain_file(cut, corpus_dir)
    part = path is not None and cut.duration < cut.recording.duration - 1 / cut.sampling_rate
    return Clip(
        id=name,
        audio=path or _written(cut, audio_dir / f"{UNSAFE.sub('_', name)}.flac"),
        split=split,
        text=said.text if said else None,
        language=said.language if said else None,
        speaker=said.speaker if said else None,
        attributes={
            "gender": gender(said.gender or "") if said else None,
            **{key: value for key, value in custom.items() if isinstance(value, str | int | float)},
        },
        start=cut.start if part else None,
        end=cut.end if part else None,
    )


def _plain_file(cut: Any, corpus_dir: Path) -> Path | None:
    """The recording's file, if it alone holds the recording as it is; else None."""
    recording = getattr(cut, "recording", None)  # a mix of cuts has none
    if recording is None or recording.transforms or len(recording.sources) != 1 or recording.num_channels != 1:
        return None
    (source,) = recording.sources
    if source.type != "file":
        return None
    beside = corpus_dir / source.source  # lhotse's relative paths are relative to wherever it ran
    return beside if beside.is_file() else Path(source.source)


def _written(cut: Any, path: Path) -> Path:
    """What lhotse reads as a file: one channel of a conversation, a transformed or mixed recording, a remote one."""
    if not path.is_file():
        save_audio(path, cut.load_audio().mean(axis=0), cut.sampling_rate)
    return path
