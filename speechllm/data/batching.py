"""Batches by total duration, of utterances of similar length: pure functions of lengths, seed, epoch and rank."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from speechllm.errors import SpeechLLMError

POOL = 64
"""Batches that are laid out together, sorted by length. More waste less padding, fewer mix lengths more freely."""


def batches(
    lengths: Sequence[float] | np.ndarray,
    *,
    max_total_duration: float | None = None,
    batch_size: int | None = None,
    seed: int,
    epoch: int = 0,
    rank: int = 0,
    world: int = 1,
) -> list[list[int]]:
    """The batches of one epoch that one rank trains on, in order, as indices into `lengths`.

    Together the ranks see each index once, and each rank has as many batches as every other: where the number does not
    divide, the fullest batches are halved; where all hold a single example, fewer than `world` of them are seen twice.

    Args:
        lengths: seconds of each example.
        max_total_duration: seconds of a batch as it lies in memory, padding counted: its longest length times its
            size. A longer example makes a batch of its own.
        batch_size: at most this many examples. Give this, max_total_duration, or both.
        seed: together with `epoch` fixes everything that is drawn.
        epoch: from 0.
        rank: from 0 to `world` - 1.
        world: number of ranks.

    Raises:
        SpeechLLMError: no limit, a limit that is not positive, a rank outside the world, or nothing to batch.
    """
    if max_total_duration is None and batch_size is None:
        raise SpeechLLMError("batches: no limit; give max_total_duration (s), batch_size, or both")
    if (max_total_duration is not None and not max_total_duration > 0) or (batch_size is not None and batch_size < 1):
        raise SpeechLLMError(
            f"batches: max_total_duration {max_total_duration} s and batch_size {batch_size} must be positive"
        )
    if not 0 <= rank < world:
        raise SpeechLLMError(f"batches: rank {rank} is outside a world of {world}; count ranks from 0")
    seconds = np.asarray(lengths, dtype=np.float64)
    if not len(seconds):
        raise SpeechLLMError("batches: nothing to batch; the corpus is empty")
    limit, most = max_total_duration or float("inf"), batch_size or len(seconds)
    rng = np.random.default_rng([seed, epoch])
    shuffled = rng.permutation(len(seconds))
    # About as many examples as make POOL batches.
    fitting = int(max(1, min(most, limit / max(float(seconds.mean()), 1e-9))))
    laid_out: list[list[int]] = []
    for at in range(0, len(shuffled), POOL * fitting):
        pool = shuffled[at : at + POOL * fitting]
        by_length = pool[np.argsort(seconds[pool], kind="stable")]
        laid_out += _cut(by_length.tolist(), seconds[by_length].tolist(), limit, most)
    laid_out = _divisible([laid_out[k] for k in rng.permutation(len(laid_out))], world)
    return laid_out[rank::world]


def _cut(indices: list[int], seconds: list[float], limit: float, most: int) -> list[list[int]]:
    """Consecutive batches of indices that are sorted by length: the last is a batch's longest."""
    found: list[list[int]] = [[]]
    for index, length in zip(indices, seconds, strict=True):
        if found[-1] and (len(found[-1]) == most or length * (len(found[-1]) + 1) > limit):
            found.append([])
        found[-1].append(index)
    return found


def _divisible(laid_out: list[list[int]], world: int) -> list[list[int]]:
    """The same examples in a number of batches that `world` divides."""
    missing = -len(laid_out) % world
    for _ in range(missing):
        fullest = max(range(len(laid_out)), key=lambda k: len(laid_out[k]))
        batch = laid_out[fullest]
        half = len(batch) // 2
        laid_out[fullest] = batch[half:]
        laid_out.append(batch[:half] or batch)
    return laid_out
