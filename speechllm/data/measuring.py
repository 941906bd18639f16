"""Measured attributes for a whole manifest: numbers from the audio, and words for them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from speechllm.audio.io import load_audio
from speechllm.data.bins import Limits, words_for
from speechllm.data.manifest import Utterance
from speechllm.data.parallel import each_kept


def measure_all(utterances: Sequence[Utterance], out: Path, processes: int | None = None) -> list[Utterance]:
    """Measures every utterance and returns them with the numbers as attributes; broken audio is reported and left out.

    Args:
        utterances: with `audio` as `read_manifest` gives it.
        out: the manifest that will be written; what is finished is kept beside it, see `each_kept`.
        processes: how many measure at once; None for one a processor.

    Raises:
        SpeechLLMError: more than `speechllm.data.recipe.MAX_BROKEN` of the utterances cannot be read.
    """
    results = each_kept(_measure, utterances, [_key(u) for u in utterances], out, "Measuring", processes)
    return [
        utterance.model_copy(update={"attributes": utterance.attributes | found})
        for utterance, found in zip(utterances, results)
        if found is not None
    ]


def put_into_words(utterances: Sequence[Utterance], limits: Limits) -> list[Utterance]:
    """Adds the word for every measure; where the corpus has a word of its own for an attribute, that one stays."""
    worded = []
    for utterance in utterances:
        words = words_for(utterance.duration, utterance.attributes, limits)
        new = {name: word for name, word in words.items() if name not in utterance.attributes}
        worded.append(utterance.model_copy(update={"attributes": utterance.attributes | new}))
    return worded


def _measure(utterance: Utterance) -> dict[str, float]:
    """The numbers of one utterance by the names of `DECIMALS`."""
    from speechllm.audio.measure.clip import measure_clip

    signal = load_audio(utterance.audio, start=utterance.start, end=utterance.end)
    return measure_clip(signal, utterance.text, utterance.language)


def _key(utterance: Utterance) -> str:
    """What the numbers depend on: another text or file under the same id is measured anew."""
    fields = (utterance.audio, utterance.start, utterance.end, utterance.text, utterance.language)
    return hashlib.blake2b(json.dumps(fields).encode(), digest_size=12).hexdigest()
