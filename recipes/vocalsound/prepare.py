"""VocalSound: laughter, sighs, coughs, throat clearing, sneezes and sniffs (Gong, Yu and Glass, 2022)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from speechllm.data.recipe import Clip, audio_files, gender, read_lines, require, write_corpus
from speechllm.errors import SpeechLLMError

LISTS = {"train": "tr.json", "val": "val.json", "test": "te.json"}
META = "meta/all_meta.json"
NAME = re.compile(r"([fm]\d+)_\d+_(\w+)")
SOUNDS = {"throatclearing": "throat clearing"}


def prepare(corpus_dir: Path, output_dir: Path) -> dict[str, Path]:
    """Reads `audio_16k/<sex><speaker>_<session>_<sound>.wav`, else `audio_44k/`, with `datafiles/` and `meta/`."""
    require(corpus_dir, "datafiles", META)
    folder = next((f for f in (corpus_dir / "audio_16k", corpus_dir / "audio_44k") if f.is_dir()), corpus_dir)
    splits = {name: split for split, list_ in LISTS.items() for name in _names(corpus_dir / "datafiles" / list_)}
    return write_corpus("vocalsound", _clips(folder, splits, _speakers(corpus_dir / META)), output_dir)


def _clips(folder: Path, splits: dict[str, str], speakers: dict[str, dict[str, str | int]]) -> Iterator[Clip]:
    for path in audio_files(folder, ".wav"):
        name = NAME.fullmatch(path.stem)
        if name is None:
            raise SpeechLLMError(f"{path}: is not named <sex><speaker>_<session>_<sound>.wav; remove it")
        speaker, sound = name.groups()
        yield Clip(
            id=path.stem,
            audio=path,
            split=splits.get(path.stem, "unlisted"),
            speaker=speaker,
            attributes={
                "sound": SOUNDS.get(sound, sound),
                "gender": gender(speaker[0]),
                **speakers.get(speaker, {}),
            },
        )


def _names(path: Path) -> list[str]:
    """`{"data": [{"wav": ".../f0003_0_cough.wav", "labels": ...}, ...]}`: the files of a split."""
    try:
        return [Path(row["wav"]).stem for row in json.loads("\n".join(read_lines(path)))["data"]]
    except (KeyError, TypeError, ValueError) as error:
        raise SpeechLLMError(f"{path}: is not a list of files under 'data'; download it again") from error


def _speakers(path: Path) -> dict[str, dict[str, str | int]]:
    """`[["f0003", "female", 25, "USA", "English", "no"], ...]`: the last but one is the native language."""
    try:
        return {
            speaker: {"age": int(age), "country": country, "native_language": language}
            for speaker, _, age, country, language, _ in json.loads("\n".join(read_lines(path)))
        }
    except (TypeError, ValueError) as error:
        raise SpeechLLMError(
            f"{path}: is not a list of [speaker, gender, age, country, native language, health]; download it again"
        ) from error
