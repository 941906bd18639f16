"""Mixtures of sources by weight or temperature: what an epoch holds is a pure function of the seed and its number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from speechllm.errors import SpeechLLMError


@dataclass(frozen=True)
class Source:
    """A corpus (or a replay set) as the mixture sees it: a name and how many examples.

    `weight` is its share of an epoch beside the other sources' weights; left out by all, the sizes decide.
    """

    name: str
    size: int
    """Examples."""
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

    def __post_init__(self) -> None:
        names = [source.name for source in self.sources]
        if not names:
            raise SpeechLLMError("mixture: no sources; give at least one")
        for source in self.sources:
            if not source.size:
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
            source.size ** (1 / self.temperature) if source.weight is None else source.weight for source in self.sources
        ]
        return [weight / sum(weights) for weight in weights]

    def epoch(self, epoch: int) -> list[Draw]:
        """What is drawn in an epoch, source by source."""
        draws: list[Draw] = []
        for number, (start, stop) in enumerate(zip(self._drawn_before(epoch), self._drawn_before(epoch + 1))):
            draws += [Draw(number, index) for index in self._drawn(number, start, stop)]
        return draws

    def _drawn_before(self, epoch: int) -> list[int]:
        """How many examples of each source the epochs before `epoch` hold.

        The quota runs over the epochs, so that a share that is no whole number of examples comes out in the long run;
        the largest source makes up for the rounding of the others.
        """
        shares = self.shares()
        total = epoch * sum(source.size for source in self.sources)
        # A hair above, so that a whole number that floating point puts just below stays one.
        counts = [int(share * total + 1e-9 * total) for share in shares]
        largest = shares.index(max(shares))
        counts[largest] += total - sum(counts)
        return counts

    def _drawn(self, number: int, start: int, stop: int) -> list[int]:
        """Elements `start` to `stop` of the endless row of permutations of a source's examples."""
        size = self.sources[number].size
        found: list[int] = []
        for turn in range(start // size, -(-stop // size)):
            order = np.random.default_rng([self.seed, number, turn]).permutation(size)
            found += order[max(start - turn * size, 0) : stop - turn * size].tolist()
        return found
