"""Measured attributes for a whole manifest: in parallel, kept as they come, put into words."""

from __future__ import annotations

import hashlib
import json
import math
import multiprocessing
import os
from collections.abc import Generator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from pathlib import Path

from speechllm.audio.io import load_audio
from speechllm.data.bins import Limits, words_for
from speechllm.data.jsonl import numbered_lines
from speechllm.data.manifest import Utterance
from speechllm.data.recipe import MAX_BROKEN, report_skipped
from speechllm.errors import SpeechLLMError
from speechllm.progress import task

CHUNK = 16
"""Utterances that a process is handed at once, and the most a kill loses for each process."""

Found = dict[str, float]
"""Numbers by the names of `speechllm.audio.measure.clip.DECIMALS`."""


def measure_all(utterances: Sequence[Utterance], out: Path, processes: int | None = None) -> list[Utterance]:
    """Measures every utterance and returns them with the numbers as attributes; broken audio is reported and skipped.

    What is finished stands in a hidden file beside `out`, so that a run that was killed goes on where it was.
    Delete `partial_path(out)` when the manifest is written.

    Args:
        utterances: with `audio` as `read_manifest` gives it.
        out: the manifest that will be written.
        processes: how many measure at once; None for one a processor.

    Raises:
        SpeechLLMError: more than `MAX_BROKEN` of the utterances cannot be read.
    """
    partial = partial_path(out)
    done = _read_partial(partial)
    waiting = [u for u in utterances if _key(u) not in done]
    limit, broken = math.ceil(MAX_BROKEN * len(utterances)), list[str]()
    partial.parent.mkdir(parents=True, exist_ok=True)
    with (
        task("Measuring", len(utterances)) as bar,
        partial.open("a", encoding="utf-8") as file,
        closing(_measured(waiting, processes or os.cpu_count() or 1)) as results,  # an error cancels what waits
    ):
        bar.advance(len(utterances) - len(waiting))
        for at, (utterance, found) in enumerate(zip(waiting, results), 1):
            if isinstance(found, str):
                broken.append(found)
                if len(broken) > limit or len(broken) == len(utterances):
                    raise SpeechLLMError(
                        f"more than {MAX_BROKEN:.0%} of the {len(utterances)} utterances cannot be read, the first: "
                        f"{broken[0]}"
                    )
            else:
                done[_key(utterance)] = found
                file.write(json.dumps([_key(utterance), found]) + "\n")
            if at % CHUNK == 0:
                file.flush()
            bar.advance()
    report_skipped(broken)
    return [u.model_copy(update={"attributes": u.attributes | done[_key(u)]}) for u in utterances if _key(u) in done]


def put_into_words(utterances: Sequence[Utterance], limits: Limits) -> list[Utterance]:
    """Adds the word for every measure; where the corpus has a word of its own for an attribute, that one stays."""
    worded = []
    for utterance in utterances:
        words = words_for(utterance.duration, utterance.attributes, limits)
        new = {name: word for name, word in words.items() if name not in utterance.attributes}
        worded.append(utterance.model_copy(update={"attributes": utterance.attributes | new}))
    return worded


def partial_path(out: Path) -> Path:
    """Where finished measures wait until the manifest is written."""
    return out.parent / f".{out.name}.measured.partial"


def _measured(utterances: Sequence[Utterance], processes: int) -> Generator[Found | str, None, None]:
    if processes == 1 or len(utterances) <= CHUNK:
        yield from map(_measure, utterances)
        return
    # Fresh processes: a forked one would inherit the locks of threads that it does not have.
    try:
        with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
            yield from pool.map(_measure, utterances, chunksize=CHUNK)
    except BrokenProcessPool as error:
        raise SpeechLLMError(
            "a process that measured was killed, for want of memory perhaps; run the command again, with fewer"
            " --processes: what is finished is kept"
        ) from error


def _measure(utterance: Utterance) -> Found | str:
    """The numbers of one utterance, or why it has none."""
    from speechllm.audio.measure.clip import measure_clip

    try:
        signal = load_audio(utterance.audio, start=utterance.start, end=utterance.end)
    except SpeechLLMError as error:
        return str(error)
    return measure_clip(signal, utterance.text, utterance.language)


def _key(utterance: Utterance) -> str:
    """What the numbers depend on: another text or file under the same id is measured anew."""
    fields = (utterance.audio, utterance.start, utterance.end, utterance.text, utterance.language)
    return hashlib.blake2b(json.dumps(fields).encode(), digest_size=12).hexdigest()


def _read_partial(path: Path) -> dict[str, Found]:
    """The finished measures; a last line that a kill tore is cut off, and its utterance measured again."""
    if not path.exists():
        return {}
    data = path.read_bytes()
    os.truncate(path, data.rfind(b"\n") + 1)
    done = {}
    for number, line in numbered_lines(path):
        try:
            key, found = json.loads(line)
        except ValueError as error:
            raise SpeechLLMError(f"{path}:{number}: is damaged; delete the file to measure again") from error
        done[key] = found
    return done
