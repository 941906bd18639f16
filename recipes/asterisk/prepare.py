"""The prompts of the Asterisk telephone system, in five languages, as Debian packages them."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

from speechllm.data.recipe import Clip, audio_files, gender, require, write_corpus
from speechllm.errors import SpeechLLMError

SOUNDS = "usr/share/asterisk/sounds"
TEXTS = "usr/share/doc/asterisk-core-sounds-{language}/core-sounds-{language}.txt.gz"
SILENCE = "silence"


def prepare(corpus_dir: Path, output_dir: Path) -> dict[str, Path]:
    """Reads unpacked `asterisk-core-sounds-<language>` and `-<language>-wav` packages; one split, `all`.

    A voice's folder says who speaks: `fr_CA_f_June`.
    """
    require(corpus_dir, SOUNDS)
    voices = sorted(path for path in (corpus_dir / SOUNDS).glob("*_*_[fm]_*") if not path.is_symlink())
    return write_corpus("asterisk", (clip for voice in voices for clip in _clips(corpus_dir, voice)), output_dir)


def _clips(corpus_dir: Path, voice: Path) -> Iterator[Clip]:
    language, country, sex, name = voice.name.split("_", 3)
    texts = _texts(corpus_dir / TEXTS.format(language=language))
    for path in audio_files(voice, ".wav"):
        prompt = path.relative_to(voice).with_suffix("").as_posix()
        if prompt.startswith(f"{SILENCE}/"):
            continue
        yield Clip(
            id=f"{voice.name}/{prompt}",
            audio=path,
            text=texts.get(prompt),
            language=language,
            speaker=name,
            attributes={"gender": gender(sex), "accent": f"{language}-{country}"},
        )


def _texts(path: Path) -> dict[str, str]:
    """`digits/0: zero`; lines that begin with a semicolon are comments, and some prompts have no text."""
    try:
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            pairs = [line.partition(":") for line in lines if not line.startswith(";")]
    except (OSError, EOFError, UnicodeDecodeError) as error:
        package = path.parent.name
        raise SpeechLLMError(f"{path}: cannot be read; unpack the package {package} into the same folder") from error
    return {name.strip(): text.strip() for name, _, text in pairs}
