"""Generation as a job: pieces of work with addresses, done in fixed batches, kept one by one, and joined at the end.

What is finished stands in a file beside the output, one line a batch, appended and synced; a last line torn by a kill
is dropped and its batch done again. Batches and their seeds depend on the work alone, so a run that was killed
anywhere ends with the file of one that was not, byte for byte.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from speechllm import progress
from speechllm.data.jsonl import append_synced, whole_lines
from speechllm.errors import SpeechLLMError
from speechllm.models.reply import Sampling
from speechllm.targets.strategies.base import Item, Strategy, Writer, Written

BATCH = 256
"""Pieces of work a batch: what a kill can cost."""


@dataclass(frozen=True)
class Work:
    """An item and the strategy that writes its reply."""

    item: Item
    strategy: str


def address(work: Work, strategy: Strategy, generator: tuple[str, str], sampling: Sampling) -> str:
    """SHA-256 of all that decides the reply: utterance, prompt, strategy, model revision and sampling.

    Where the audio lies does not decide it, nor does the name of the output.
    """
    item = work.item
    told = {
        "id": item.id,
        "utterance": item.utterance.model_dump(exclude={"audio"}) if item.utterance else None,
        "prompt": item.prompt.model_dump(),
        "description": item.description,
        "gold": item.gold,
        "strategy": [strategy.name, strategy.settings],
        "generator": list(generator),
        "sampling": asdict(sampling),
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()


def batches(work: Sequence[Work], size: int) -> list[list[int]]:
    """Indices of the work, one strategy a batch, long prompts together."""
    length = [sum(len(str(m["content"])) for m in w.item.described) for w in work]
    done: list[list[int]] = []
    for name in sorted({w.strategy for w in work}):
        mine = sorted((k for k, w in enumerate(work) if w.strategy == name), key=lambda k: (-length[k], k))
        done += [mine[at : at + size] for at in range(0, len(mine), size)]
    return done


def job_key(addresses: Sequence[str], size: int) -> str:
    """The address of a whole job."""
    return hashlib.sha256("\n".join([str(size), *addresses]).encode()).hexdigest()


@contextlib.contextmanager
def only_writer(out: Path) -> Iterator[None]:
    """Holds the output for this process.

    Raises:
        SpeechLLMError: another process is writing it.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(out.parent / f".{out.name}.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise SpeechLLMError(f"{out}: another process is writing it; wait for it or name another output") from error
    try:
        yield
    finally:
        # Taken away while it is held: who opened it before finds it gone once he has it, and looks again (filelock).
        with contextlib.suppress(OSError):
            Path(lock.lock_file).unlink()
        lock.release()


def partial_path(out: Path, key: str) -> Path:
    """Where the finished batches of a job wait."""
    return out.parent / f".{out.name}.{key[:16]}.partial"


def write_all(
    work: Sequence[Work],
    strategies: Mapping[str, Strategy],
    writer: Writer,
    out: Path,
    addresses: Sequence[str],
    *,
    size: int = BATCH,
) -> list[Written]:
    """Does what has not been done; returns all results in the order of `work`. Hold `only_writer(out)` meanwhile."""
    groups = batches(work, size)
    partial = partial_path(out, job_key(addresses, size))
    done = _read_partial(partial, addresses, groups)
    results = {k: written for at in done for k, written in zip(groups[at], done[at], strict=True)}
    with progress.task("generate targets", len(work)) as bar, partial.open("ab") as file:
        bar.advance(len(results))
        for at, group in enumerate(groups):
            if at in done:
                continue
            key = job_key([addresses[k] for k in group], size)
            seeded = replace(writer, sampling=replace(writer.sampling, seed=_seed(key, writer.sampling)))
            written = strategies[work[group[0]].strategy].write([work[k].item for k in group], seeded)
            results |= dict(zip(group, written, strict=True))
            line = json.dumps({"batch": at, "key": key, "written": [asdict(w) for w in written]}, ensure_ascii=False)
            append_synced(file, line)
            bar.advance(len(group))
    return [results[k] for k in range(len(work))]


def _seed(key: str, sampling: Sampling) -> int:
    """Of a batch: greedy replies need none, others draw the same after a resume."""
    return sampling.seed if sampling.temperature == 0 else int(key[:8], 16)


def _read_partial(path: Path, addresses: Sequence[str], groups: Sequence[Sequence[int]]) -> dict[int, list[Written]]:
    """The batches that are finished; cuts off a torn last line, so that the next one begins on a line of its own."""
    done = {}
    for line in whole_lines(path):
        try:
            row = json.loads(line)
            done[row["batch"]] = [_written(values) for values in row["written"]]
            complete = len(done[row["batch"]]) == len(groups[row["batch"]])
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise SpeechLLMError(f"{path}: is damaged ({error}); delete it to generate its replies again") from error
        if not complete:
            raise SpeechLLMError(f"{path}: is damaged (batch {row['batch']}); delete it to generate its replies again")
    return done


def _written(values: dict[str, Any]) -> Written:
    generator = values.pop("generator")
    return Written(**values, generator=tuple(generator) if generator else None)
