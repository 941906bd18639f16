"""L2-ARCTIC: English sentences read by people whose first language is another (Zhao et al., 2018)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from speechllm.data.recipe import Clip, audio_files, gender, read_lines, require, write_corpus
from speechllm.errors import SpeechLLMError

# The table of speakers on the corpus's page, https://psi.engr.tamu.edu/l2-arctic-corpus/: women, men by language.
SPEAKERS = {
    "Arabic": (("SKA", "ZHAA"), ("ABA", "YBAA")),
    "Hindi": (("SVBI", "TNI"), ("ASI", "RRBI")),
    "Korean": (("HJK", "YDCK"), ("HKK", "YKWK")),
    "Mandarin": (("LXC", "NCC"), ("BWC", "TXHC")),
    "Spanish": (("MBMPS", "NJS"), ("EBVS", "ERMS")),
    "Vietnamese": (("PNV", "THV"), ("HQTV", "TLV")),
}
FACTS = {
    name: {"gender": gender(sex), "accent": accent}
    for accent, sexes in SPEAKERS.items()
    for sex, names in zip("FM", sexes, strict=True)
    for name in names
}


def prepare(corpus_dir: Path, output_dir: Path) -> dict[str, Path]:
    """Reads `<speaker>/wav/*.wav` and `<speaker>/transcript/*.txt` of the speakers that are there; one split, `all`."""
    require(corpus_dir)
    speakers = sorted(path.parent for path in corpus_dir.glob("*/wav") if path.parent.name in FACTS)
    if not speakers:
        raise SpeechLLMError(f"{corpus_dir}: has no folder of a speaker (ABA/wav); give the unpacked corpus")
    return write_corpus("l2_arctic", (clip for speaker in speakers for clip in _clips(speaker)), output_dir)


def _clips(folder: Path) -> Iterator[Clip]:
    for path in audio_files(folder / "wav", ".wav"):
        yield Clip(
            id=f"{folder.name}/{path.stem}",
            audio=path,
            text=" ".join(read_lines(folder / "transcript" / f"{path.stem}.txt")),
            language="en",
            speaker=folder.name,
            attributes=FACTS[folder.name],
        )
