"""The figures of a report as SVG in the page's own font and colours."""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, LogLocator, MaxNLocator, NullLocator, PercentFormatter, StrMethodFormatter

from speechllm.eval.table import duration, number, percent

MOST_POINTS = 600
"""Points of a curve that are drawn; more could not be told apart."""

_INK, _MUTED, _LINE, _MODEL, _CEILING, _CASCADE = ("#010203", "#010204", "#010205", "#010206", "#010207", "#010208")
_THEME = {_INK: "ink", _MUTED: "muted", _LINE: "line", _MODEL: "model", _CEILING: "ceiling", _CASCADE: "cascade"}
"""Figures are drawn in stand-in colours that become the page's CSS variables, so they follow light and dark."""

_STYLE = {
    "svg.fonttype": "none",  # text stays text: it takes the page's font and can be selected
    "text.parse_math": False,
    "font.size": 13,
    "text.color": _INK,
    "axes.edgecolor": _LINE,
    "axes.labelcolor": _MUTED,
    "xtick.color": _LINE,
    "ytick.color": _LINE,
    "xtick.labelcolor": _MUTED,
    "ytick.labelcolor": _MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
}

_NARROW, _WIDE = 5.0, 6.0
"""Inches at 72 points: 360 and 432 units, about a phone's width, so that letters keep their size on one."""

BARS = {"model": _MODEL, "ceiling": _CEILING, "cascade": _CASCADE}
"""Systems that have a bar, from top to bottom, and their colours."""


@matplotlib.rc_context(_STYLE)
def accuracy_figure(row: Mapping[str, float | None], interval: tuple[float, float] | None) -> Figure:
    """Bars of who answers how often right, from top to bottom, with chance as a line across them."""
    shown = [key for key in BARS if row[key] is not None]
    figure, axes = _figure(_NARROW, 0.8 + 0.4 * len(shown))
    for at, key in enumerate(shown):
        share, chance = row[key] or 0.0, row["chance"]
        axes.barh(at, share, height=0.62, color=BARS[key])
        end = share
        if key == "model" and interval:
            low, high = interval
            axes.errorbar([(low + high) / 2], [at], xerr=[(high - low) / 2], color=_INK, linewidth=1.4, capsize=4)
            end = max(high, share)
        if chance is not None and end <= chance < end + 0.17:  # keep the number clear of the line
            end = chance
        axes.text(end + 0.02, at, percent(row[key]), va="center", weight="bold" if key == "model" else "normal")
    axes.set_yticks(range(len(shown)), shown)
    axes.set_ylim(len(shown) - 0.5, -0.9)  # room above the bars for the name of the line
    chance = row["chance"]
    if chance is not None:
        axes.axvline(chance, color=_INK, linewidth=1.2, linestyle=(0, (3, 2)), ymax=1 - 0.18 / (len(shown) + 0.4))
        axes.text(chance, -0.72, f"chance {percent(chance)}", ha="center", va="bottom", color=_MUTED, size=12)
    axes.set_xlim(0, 1.18)
    axes.xaxis.set_major_locator(FixedLocator([0, 0.5, 1]))
    axes.xaxis.set_major_formatter(PercentFormatter(1, symbol="\N{NO-BREAK SPACE}%"))
    axes.spines["bottom"].set_bounds(0, 1)
    axes.tick_params(axis="y", length=0, labelcolor=_INK)
    return figure


@matplotlib.rc_context(_STYLE)
def curve_figure(steps: Sequence[Mapping[str, Any]], loss: np.ndarray, *, logarithmic: bool) -> Figure:
    """Loss over steps, each and smoothed, and the learning rate from zero at the bottom to its peak."""
    figure, axes = _figure(_WIDE, 3.4)
    x = np.array([entry["step"] for entry in steps], dtype=float)
    every = math.ceil(len(x) / MOST_POINTS)
    axes.plot(x[::every], loss[::every], color=_MODEL, linewidth=0.7, alpha=0.6)
    axes.plot(x[::every], _smoothed(loss)[::every], color=_MODEL, linewidth=2.4)
    if logarithmic:
        axes.set_yscale("log")
        wide = loss.max() / loss.min() > 10
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)) if wide else MaxNLocator(5))
        axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.set_xlabel("step")
    axes.set_ylabel("loss (log scale)" if logarithmic else "loss", color=_MODEL)
    rates = np.array([number(entry.get("learning_rate")) or 0.0 for entry in steps], dtype=float)
    if rates.max() > 0:
        _draw_learning_rate(axes.twinx(), x[::every], rates[::every])
    return figure


@matplotlib.rc_context(_STYLE)
def validation_figure(steps: Sequence[float], series: Mapping[str, Sequence[float | None]], *, share: bool) -> Figure:
    """Values that were measured after some steps, a line each; shares from 0 to 100 %."""
    figure, axes = _figure(_WIDE, 3.4)
    for (name, values), colour in zip(series.items(), (_MODEL, _CEILING), strict=False):
        y = np.array([np.nan if value is None else value for value in values], dtype=float)
        axes.plot(steps, y, color=colour, marker="o", markersize=5, label=name)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.set_xlabel("step")
    axes.set_ylim(0, 1.05 if share else None)
    if share:
        axes.yaxis.set_major_formatter(PercentFormatter(1, symbol="\N{NO-BREAK SPACE}%"))
    if len(series) > 1:
        axes.legend(frameon=False, fontsize=12, ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return figure


def _draw_learning_rate(axes: Axes, x: np.ndarray, rates: np.ndarray) -> None:
    """A line without an axis, from zero at the bottom to its peak, which stands beside it."""
    peak = float(rates.max())
    axes.plot(x, rates, color=_MUTED, linewidth=0.9, linestyle=(0, (4, 2)))
    axes.set_ylim(0, 1.12 * peak)
    axes.axis("off")
    at = int(np.flatnonzero(rates >= 0.9 * peak)[-1])
    room = at < 0.5 * len(x)
    axes.annotate(
        f"learning rate, up to {peak:g}",
        (x[at], rates[at]),
        xytext=(6, 2) if room else (-2, 5),
        textcoords="offset points",
        ha="left" if room else "right",
        color=_MUTED,
        size=12,
    )


def _smoothed(values: np.ndarray) -> np.ndarray:
    """The mean over a window of a twentieth of the curve around each point, (steps,) -> (steps,)."""
    half = max(len(values) // 40, 1)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    at = np.arange(len(values))
    low, high = np.maximum(at - half, 0), np.minimum(at + half + 1, len(values))
    return (sums[high] - sums[low]) / (high - low)


@matplotlib.rc_context(_STYLE)
def times_figure(stages: Mapping[str, float]) -> Figure:
    """A bar for the seconds of each stage, in the order they ran."""
    figure, axes = _figure(_WIDE, 0.25 + 0.36 * len(stages))
    longest = max(stages.values()) or 1.0
    axes.barh(range(len(stages)), list(stages.values()), height=0.62, color=_MODEL)
    for at, seconds in enumerate(stages.values()):
        axes.text(seconds + 0.015 * longest, at, duration(seconds), va="center")
    names = [name.replace("_", " ") for name in stages]
    axes.set_yticks(range(len(names)), [name if len(name) <= 24 else name[:23] + "…" for name in names])
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(0, 1.35 * longest)
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    axes.tick_params(axis="y", length=0, labelcolor=_INK)
    return figure


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="none")
    return figure, figure.add_subplot(facecolor="none")


def svg(figure: Figure, name: str, alt: str) -> Markup:
    """The figure as SVG for the middle of a page, with ids of its own and `alt` for who cannot see it."""
    buffer = io.StringIO()
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": name}), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # letters that the measuring font lacks: the page's font has them
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->|<style.*?</style>", "", buffer.getvalue(), flags=re.DOTALL)
    opening, drawing = text[text.index("<svg") :].split(">", 1)
    box = re.search(r'viewBox="[^"]*"', opening)
    drawing = re.sub(r'\bid="', f'id="{name}-', drawing)
    drawing = drawing.replace("url(#", f"url(#{name}-").replace('xlink:href="#', f'href="#{name}-')
    return Markup(f'<svg {box[0] if box else ""} role="img" aria-label="{escape(alt)}">{_themed(drawing)}')


def _themed(drawing: str) -> str:
    """The drawing in the page's font and in the page's colours."""
    # Older matplotlib writes `font: 700 13px 'DejaVu Sans', ...`, newer one property each.
    font = r"font: (?:(\w+) )?([\d.]+px)[^;\"]*"
    drawing = re.sub(font, lambda found: f"font-size: {found[2]}; font-weight: {found[1] or 400}", drawing)
    drawing = re.sub(r"font-family:[^;\"]*(?:; ?)?", "", drawing)
    for colour, variable in _THEME.items():
        drawing = drawing.replace(colour, f"var(--{variable})")
    return drawing


@matplotlib.rc_context(_STYLE)
def group_figure(names: Sequence[str], cells: Sequence[Mapping[str, float]]) -> Figure:
    """A bar a run for the model's accuracy, with ceiling, cascade and chance as marks on it.

    Args:
        names: of the runs, from top to bottom.
        cells: shares of each run by `model`, `ceiling`, `cascade` and `chance`; what is missing is not drawn.
    """
    figure, axes = _figure(_NARROW, 0.5 + 0.42 * len(names))
    for at, cell in enumerate(cells):
        if "model" in cell:
            axes.barh(at, cell["model"], height=0.56, color=_MODEL)
            axes.text(1.03, at, percent(cell["model"]), va="center", weight="bold")
        for key, colour, line in (("ceiling", _CEILING, "-"), ("cascade", _CASCADE, "-"), ("chance", _INK, ":")):
            if key in cell:
                axes.vlines(cell[key], at - 0.4, at + 0.4, color=colour, linewidth=3 if line == "-" else 1.6, ls=line)
    axes.set_yticks(range(len(names)), [name if len(name) <= 20 else "…" + name[-19:] for name in names])
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(0, 1.2)
    axes.xaxis.set_major_locator(FixedLocator([0, 0.5, 1]))
    axes.xaxis.set_major_formatter(PercentFormatter(1, symbol="\N{NO-BREAK SPACE}%"))
    axes.spines["bottom"].set_bounds(0, 1)
    axes.tick_params(axis="y", length=0, labelcolor=_INK)
    return figure


@matplotlib.rc_context(_STYLE)
def course_figure(names: Sequence[str], series: Mapping[str, Sequence[float | None]]) -> Figure:
    """Values over the runs in the order given, a line each of `model`, `ceiling`, `cascade`, `chance` or another."""
    figure, axes = _figure(_NARROW, 2.6)
    colours = {**BARS, "chance": _MUTED}
    for key, values in series.items():
        y = np.array([np.nan if value is None else value for value in values], dtype=float)
        dashed = "--" if key == "chance" else "-"
        axes.plot(range(len(names)), y, dashed, color=colours.get(key, _MODEL), marker="o", markersize=5, label=key)
    short = [name if len(name) <= 14 else "…" + name[-13:] for name in names]
    axes.set_xticks(
        range(len(names)), short, rotation=30 if len(names) > 3 else 0, ha="right" if len(names) > 3 else "center"
    )
    axes.margins(x=0.08, y=0.15)
    if len(series) > 1:
        axes.legend(frameon=False, fontsize=12, ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return figure
