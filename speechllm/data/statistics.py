"""What a manifest holds, in numbers: hours, speakers, and how often or how much of every attribute."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from rich.table import Table

from speechllm.data.manifest import Attribute, Utterance
from speechllm.errors import SpeechLLMError

SHOWN = 8
"""Words of one attribute that the table and the figure show, the most frequent first; the rest are counted."""

QUANTILES = (0.0, 0.05, 0.5, 0.95, 1.0)
"""Of numbers: the least, the median and the greatest, and what all but the outermost twentieths lie between."""

FIGURE_ENDINGS = (".png", ".svg", ".pdf")
"""Formats that a figure can be written in."""

_COUNTED = ("dataset", "split", "language")
"""Fields of an utterance that are counted like attributes."""


@dataclass
class Statistics:
    """Sums over the utterances of a manifest; grows by `add`."""

    utterances: int = 0
    seconds: float = 0.0
    with_text: int = 0
    speakers: set[tuple[str | None, str]] = field(default_factory=set)
    words: dict[str, Counter[str]] = field(default_factory=dict)
    numbers: dict[str, list[float]] = field(default_factory=dict)

    def add(self, utterance: Utterance) -> None:
        """Counts one more utterance."""
        self.utterances += 1
        self.seconds += utterance.duration
        self.with_text += utterance.text is not None
        if utterance.speaker is not None:
            self.speakers.add((utterance.dataset, utterance.speaker))
        self._count("duration", utterance.duration)
        for name in _COUNTED:
            self._count(name, getattr(utterance, name))
        for name, value in utterance.attributes.items():
            self._count(f"attributes.{name}" if name in ("duration", *_COUNTED) else name, value)

    def _count(self, name: str, value: Attribute | None) -> None:
        if isinstance(value, str):
            self.words.setdefault(name, Counter())[value] += 1
        elif value is not None:
            self.numbers.setdefault(name, []).append(value)

    def quantiles(self, name: str) -> list[float]:
        """The `QUANTILES` of a number among the utterances that have it."""
        return [float(q) for q in np.quantile(self.numbers[name], QUANTILES)]

    def table(self, title: str) -> Table:
        """The statistics as a table: one row a field or attribute."""
        table = Table("field", "utterances", "values", title=title, title_justify="left")
        table.add_row("all", f"{self.utterances}", f"{self.seconds / 3600:.2f} hours")
        table.add_row("text", f"{self.with_text}", "")
        table.add_row("speaker", "", f"{len(self.speakers)} speakers")
        for name, values in self.numbers.items():
            least, low, median, high, most = (f"{q:.4g}" for q in self.quantiles(name))
            told = f"median {median}, nine tenths in {low} to {high}, all in {least} to {most}"
            table.add_row(name, f"{len(values)}", told)
        for name, counts in self.words.items():
            told = ", ".join(f"{word} {count}" for word, count in counts.most_common(SHOWN))
            more = f", and {len(counts) - SHOWN} more" if len(counts) > SHOWN else ""
            table.add_row(name, f"{counts.total()}", told + more)
        return table


def statistics(utterances: Iterable[Utterance]) -> Statistics:
    """The statistics of utterances, which may be a stream: none of them is kept."""
    sums = Statistics()
    for utterance in utterances:
        sums.add(utterance)
    return sums


def draw(stats: Statistics, path: Path, title: str) -> None:
    """Draws every number as a histogram and every word as a bar, one panel each, to an image file.

    What has one word only is not drawn, the table says it. Histograms leave out the outermost hundredths, so that one
    stray value does not squeeze the rest into one bar.

    Raises:
        SpeechLLMError: the file's ending is not one of `FIGURE_ENDINGS`.
    """
    from matplotlib.figure import Figure

    if path.suffix not in FIGURE_ENDINGS:
        raise SpeechLLMError(f"{path}: no figure format ends so; use {', '.join(FIGURE_ENDINGS)}")
    names = [*stats.numbers, *(name for name, counts in stats.words.items() if len(counts) > 1)]
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(4 * columns, 2.6 * rows + 0.4), layout="constrained")
    figure.suptitle(f"{title}: {stats.utterances} utterances, {stats.seconds / 3600:.2f} hours")
    for place, name in enumerate(names, 1):
        panel = figure.add_subplot(rows, columns, place, title=name)
        if name in stats.numbers:
            low, high = np.quantile(stats.numbers[name], (0.01, 0.99))
            panel.hist(stats.numbers[name], bins=30, range=(low, high) if high > low else None)
            panel.set_ylabel("utterances")
        else:
            shown = stats.words[name].most_common(SHOWN)[::-1]
            panel.barh([word[:24] for word, _ in shown], [count for _, count in shown])
            panel.set_xlabel("utterances")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
