"""The same function for every utterance, over processes; results are kept on disk as they come."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from speechllm.data.jsonl import numbered_lines
from speechllm.data.recipe import MAX_BROKEN, report_skipped
from speechllm.errors import SpeechLLMError
from speechllm.progress import task

Item = TypeVar("Item")

CHUNK = 16
"""Items that a process is handed at once, and the most that a kill loses for each process."""


def kept_path(out: Path) -> Path:
    """Where finished results wait until `out` is written; delete it then."""
    return out.parent / f".{out.name}.partial"


def each_kept(
    function: Callable[[Item], Any],
    items: Sequence[Item],
    keys: Sequence[str],
    out: Path,
    description: str,
    processes: int | None = None,
) -> list[Any]:
    """What `function` gives for every item, in order; None, after a report, where it raised a SpeechLLMError.

    Results are appended to `kept_path(out)`, so that a run that was killed goes on where it was.

    Args:
        function: what to do; can be pickled, and its results can be written as JSON.
        items: what to do it to.
        keys: for each item what its result depends on: a result that was kept counts only under the same key.
        out: the file that will be written from the results.
        description: for the progress bar.
        processes: how many work at once; None for one a processor.

    Raises:
        SpeechLLMError: more than `MAX_BROKEN` of the items raised one, or a process was killed.
    """
    kept = kept_path(out)
    kept.parent.mkdir(parents=True, exist_ok=True)
    done = _read(kept)
    waiting = {key: item for key, item in zip(keys, items, strict=True) if key not in done}
    limit, broken = math.ceil(MAX_BROKEN * len(items)), list[str]()
    work = partial(_attempt, function)
    with (
        task(description, len(items)) as bar,
        kept.open("a", encoding="utf-8") as file,
        closing(_over_processes(work, list(waiting.values()), processes)) as results,  # an error cancels what waits
    ):
        bar.advance(len(items) - len(waiting))
        for at, (key, (result, error)) in enumerate(zip(waiting, results), 1):
            if error is None:
                done[key] = result
                file.write(json.dumps([key, result]) + "\n")
            else:
                broken.append(error)
                if len(broken) > limit or len(broken) == len(items):
                    raise SpeechLLMError(
                        f"more than {MAX_BROKEN:.0%} of the {len(items)} utterances cannot be read, the first: "
                        f"{broken[0]}"
                    )
            if at % CHUNK == 0:
                file.flush()
            bar.advance()
    report_skipped(broken)
    return [done.get(key) for key in keys]


def _attempt(function: Callable[[Item], Any], item: Item) -> tuple[Any, str | None]:
    try:
        return function(item), None
    except SpeechLLMError as error:
        return None, str(error)


def _over_processes(
    function: Callable[[Item], Any], items: Sequence[Item], processes: int | None
) -> Generator[Any, None, None]:
    processes = processes or os.cpu_count() or 1
    if processes == 1 or len(items) <= CHUNK:
        yield from map(function, items)
        return
    # Fresh processes: a forked one would inherit the locks of threads that it does not have.
    try:
        with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
            yield from pool.map(function, items, chunksize=CHUNK)
    except BrokenProcessPool as error:
        raise SpeechLLMError(
            "a process was killed, for want of memory perhaps; run the command again, with fewer --processes: what is"
            " finished is kept"
        ) from error


def _read(path: Path) -> dict[str, Any]:
    """The finished results; a last line that a kill tore is cut off, and done again."""
    if not path.exists():
        return {}
    data = path.read_bytes()
    os.truncate(path, data.rfind(b"\n") + 1)
    done = {}
    for number, line in numbered_lines(path):
        try:
            key, result = json.loads(line)
        except ValueError as error:
            raise SpeechLLMError(f"{path}:{number}: is damaged; delete the file to begin again") from error
        done[key] = result
    return done
