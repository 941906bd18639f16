"""Mixtures of sources by weight or temperature: batches that are a pure function of seed, epoch, rank and world."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from speechllm.data.batching import batches
from speechllm.errors import SpeechLLMError

CHARACTERS_PER_SECOND = 15.0
"""Of read English, about: what a text-only example counts in a batch that is limited by duration."""


@dataclass(frozen=True)
class Source:
    """A corpus (or a replay set) as the mixture sees it: a name and how long each of its examples is.

    `weight` is its share of an epoch beside the other sources' weights; left out by all, the sizes decide.
    """

    name: str
    lengths: Sequence[float]
    """Seconds of each example; `text_length` of one without audio."""
    weight: float | None = None


@dataclass(frozen=True, order=True)
class Draw:
    """One example of a batch: which source, and which of its examples."""

    source: int
    index: int


@dataclass(frozen=True)
class Mixture:
    """Several sources as one, epoch by epoch.

    An epoch holds as many examples as all sources together. A source gives its share of them and goes on in the next
    epoch where it stopped: each of its examples is drawn before any is drawn again, in a new order every time round.
    Shares follow the weights; without them the sizes to the power 1 / `temperature`: 1 is plain concatenation, more
    raises small sources, infinity makes all equal.

    Raises:
        SpeechLLMError: no sources, an empty one, a repeated name, a weight or temperature that is not positive, or
            weights for some sources alone.
    """

    sources: Sequence[Source]
    seed: int
    temperature: float = 1.0
    max_total_duration: float | None = None
    """Seconds of a batch, padding counted."""
    batch_size: int | None = None
    """Examples of a batch at most."""

    def __post_init__(self) -> None:
        names = [source.name for source in self.sources]
        if not names:
            raise SpeechLLMError("mixture: no sources; give at least one")
        for source in self.sources:
            if not len(source.lengths):
                raise SpeechLLMError(f"mixture: the source {source.name!r} is empty; leave it out")
            if source.weight is not None and not 0 < source.weight < float("inf"):
                raise SpeechLLMError(f"mixture: the weight {source.weight:g} of {source.name!r} must be positive")
        if len(set(names)) < len(names):
            raise SpeechLLMError(f"mixture: two sources are called {max(names, key=names.count)!r}; rename one")
        if len({source.weight is None for source in self.sources}) > 1:
            raise SpeechLLMError("mixture: some sources have a weight and some none; give all of them one, or none")
        if not self.temperature > 0:
            raise SpeechLLMError(f"mixture: the temperature {self.temperature:g} must be positive; 1 keeps the sizes")

    def shares(self) -> list[float]:
        """The share of each source in an epoch; they add up to 1."""
        weights = [
            len(source.lengths) ** (1 / self.temperature) if source.weight is None else source.weight
            for source in self.sources
        ]
        return [weight / sum(weights) for weight in weights]

    def epoch(self, epoch: int) -> list[Draw]:
        """What is drawn in an epoch, source by source."""
        draws: list[Draw] = []
        for number, (start, stop) in enumerate(zip(self._drawn_before(epoch), self._drawn_before(epoch + 1))):
            draws += [Draw(number, index) for index in self._drawn(self.sources[number], start, stop)]
        return draws

    def _drawn_before(self, epoch: int) -> list[int]:
        """How many examples of each source the epochs before `epoch` hold.

        The quota runs over the epochs, so that a share that is no whole number of examples comes out in the long run;
        the largest source makes up for the rounding of the others.
        """
        shares = self.shares()
        total = epoch * sum(len(source.lengths) for source in self.sources)
        # A hair above, so that a whole number that floating point puts just below stays one.
        counts = [int(share * total + 1e-9 * total) for share in shares]
        largest = shares.index(max(shares))
        counts[largest] += total - sum(counts)
        return counts

    def _drawn(self, source: Source, start: int, stop: int) -> list[int]:
        """Elements `start` to `stop` of the endless row of permutations of a source's examples."""
        size, key = len(source.lengths), zlib.crc32(source.name.encode())
        found: list[int] = []
        for turn in range(start // size, -(-stop // size)):
            order = np.random.default_rng([self.seed, key, turn]).permutation(size)
            found += order[max(start - turn * size, 0) : stop - turn * size].tolist()
        return found

    def batches(self, epoch: int, rank: int = 0, world: int = 1) -> list[list[Draw]]:
        """The batches of one epoch on one rank, as `speechllm.data.batching.batches` lays them out."""
        draws = self.epoch(epoch)
        laid_out = batches(
            [self.sources[draw.source].lengths[draw.index] for draw in draws],
            max_total_duration=self.max_total_duration,
            batch_size=self.batch_size,
            seed=self.seed,
            epoch=epoch,
            rank=rank,
            world=world,
        )
        return [[draws[k] for k in batch] for batch in laid_out]

    def state(self, epoch: int, batch: int, world: int) -> dict[str, Any]:
        """Where a run stands, for JSON: `batch` batches of `epoch` are done on every one of `world` ranks."""
        facts = [(s.name, s.weight, np.asarray(s.lengths, dtype=np.float64).tobytes()) for s in self.sources]
        limits = (self.seed, self.temperature, self.max_total_duration, self.batch_size)
        return {"epoch": epoch, "batch": batch, "world": world, "mixture": zlib.crc32(repr((facts, limits)).encode())}


class Batches:
    """The endless row of one rank's batches, epoch after epoch, which stops and goes on anywhere."""

    def __init__(self, mixture: Mixture, rank: int = 0, world: int = 1, state: Mapping[str, Any] | None = None) -> None:
        """Begins at the first batch, or where `state` (of `state_dict`, any rank's) was taken.

        Raises:
            SpeechLLMError: the state is of another mixture or number of ranks: its batches do not exist here.
        """
        self._mixture, self._rank, self._world = mixture, rank, world
        self._epoch: int = state["epoch"] if state else 0
        self._batch: int = state["batch"] if state else 0
        if state and mixture.state(self._epoch, self._batch, world) != dict(state):
            what = f"{state['world']} ranks" if state["world"] != world else "other sources, weights, limits or seed"
            raise SpeechLLMError(f"mixture: the saved position is of a run with {what}; go on with the same ones")
        self._now = mixture.batches(self._epoch, rank, world)

    def __iter__(self) -> Iterator[list[Draw]]:
        return self

    def __next__(self) -> list[Draw]:
        if self._batch == len(self._now):
            self._epoch, self._batch = self._epoch + 1, 0
            self._now = self._mixture.batches(self._epoch, self._rank, self._world)
        self._batch += 1
        return self._now[self._batch - 1]

    def state_dict(self) -> dict[str, Any]:
        """Where this row stands: after the last batch that was taken."""
        return self._mixture.state(self._epoch, self._batch, self._world)


def text_length(characters: int) -> float:
    """The seconds that a text-only example counts: as long as it would take to read it out."""
    return characters / CHARACTERS_PER_SECOND
