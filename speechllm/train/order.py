"""The order in which examples are seen: shuffled anew each epoch, those of similar length in one batch."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Sequence

from speechllm.config import DataConfig
from speechllm.data.mixture import Mixture, Source
from speechllm.train.data import Example

WINDOW = 16
"""Batches whose examples are sorted by length among themselves: little padding, and still other company each epoch. At
least four such windows an epoch, as in transformers' sampler that groups by length."""

CHARACTERS_A_TOKEN = 4
VECTORS_A_SECOND = 10
"""Of an adapter whose vectors grow with the audio; where their number is fixed, it hardly orders what the text does
not."""


class BatchOrder:
    """Indices of the batch at any step, a pure function of the arguments: every epoch is one of the mixture's.

    Args:
        mixture: of the sources that the examples come from; the examples stand source by source.
        lengths: of the examples, in any unit; None leaves batches mixed.
        batch_size: examples a batch; a batch may reach over the end of an epoch.
        seed: of the permutations.
    """

    def __init__(self, mixture: Mixture, lengths: Sequence[float] | None, batch_size: int, seed: int) -> None:
        self._mixture = mixture
        self._lengths = lengths
        self._begins = [0, *itertools.accumulate(source.size for source in mixture.sources)]
        self._n = self._begins.pop()
        self._batch_size = batch_size
        self._seed = seed
        self._epochs: dict[int, list[int]] = {}

    def __getitem__(self, step: int) -> list[int]:
        chosen = []
        for position in range(step * self._batch_size, (step + 1) * self._batch_size):
            epoch, at = divmod(position, self._n)
            chosen.append(self._epoch(epoch)[at])
        return chosen

    def _epoch(self, epoch: int) -> list[int]:
        if epoch not in self._epochs:
            self._epochs = {number: order for number, order in self._epochs.items() if number >= epoch - 1}
            self._epochs[epoch] = self._permutation(epoch)
        return self._epochs[epoch]

    def _permutation(self, epoch: int) -> list[int]:
        draw = random.Random(f"{self._seed}/{epoch}")
        indices = sorted(self._begins[drawn.source] + drawn.index for drawn in self._mixture.epoch(epoch))
        draw.shuffle(indices)
        lengths = self._lengths
        if lengths is None:
            return indices
        begun = -epoch * self._n % self._batch_size  # places left in the batch that the epoch before began
        head, rest = indices[:begun], indices[begun:]
        span = self._batch_size * max(1, min(WINDOW, self._n // (4 * self._batch_size)))
        ordered = [i for at in range(0, len(rest), span) for i in sorted(rest[at : at + span], key=lengths.__getitem__)]
        batches = [ordered[at : at + self._batch_size] for at in range(0, len(ordered), self._batch_size)]
        tail = batches.pop() if batches and len(batches[-1]) < self._batch_size else []
        draw.shuffle(batches)
        return head + [i for batch in batches for i in batch] + tail


def one_source(num_examples: int, seed: int) -> Mixture:
    """Examples that all come from one source."""
    return Mixture([Source("0", num_examples)], seed)


def mixture_of(examples: Sequence[Example], config: DataConfig, seed: int) -> Mixture:
    """The mixture of the sources that have any of the examples, which stand source by source."""
    sizes = Counter(example.source for example in examples)
    told = config.mixed()
    sources = [Source(f"{told[n].targets} ({n})", sizes[n], told[n].weight) for n in sorted(sizes)]
    return Mixture(sources, seed, config.temperature)


def length(example: Example) -> float:
    """About how many tokens the LLM reads: those of text, and vectors of audio."""
    text = 0
    if example.target is not None:
        text = len(example.target.response) + sum(len(_text(m["content"])) for m in example.target.messages)
    return text / CHARACTERS_A_TOKEN + example.utterance.duration * VECTORS_A_SECOND


def _text(content: object) -> str:
    if isinstance(content, str):
        return content
    assert isinstance(content, list)
    return "".join(part.get("text", "") for part in content)
