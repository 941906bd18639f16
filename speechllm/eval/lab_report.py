"""The page of an experiment of several arms: skill against forgetting, both over training, table, replies."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path

import jinja2
import matplotlib
from markupsafe import Markup
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from speechllm.data.jsonl import written_aside
from speechllm.eval.lab import Ceiling, Course, Point, arm_rows, examples, read_courses, task_rows

PAGE, TABLE, AGAINST, CURVES = "lab.html", "lab.md", "against.png", "curves.png"

Measure = Callable[[Point], float | None]


def _lost(kept: float | None) -> float | None:
    return None if kept is None else 100 * (1 - kept)


MEASURES: tuple[tuple[str, Measure, Callable[[Ceiling], float | None]], ...] = (
    ("questions about audio not answered in the JSON asked for (%)", lambda p: _lost(p.json), lambda c: _lost(c.json)),
    ("rules under audio not kept to (%)", lambda p: _lost(p.followed), lambda c: _lost(c.followed)),
    (
        "replies to text instructions that changed (%)",
        lambda p: None if p.changed is None else 100 * p.changed,
        lambda c: 0.0,
    ),
    ("speech-text gap (nats a token)", lambda p: p.gap, lambda c: 0.0),
)
"""What may be lost, of a checkpoint and of the untouched LLM: horizontal axes. What was not measured is left out."""


def write_lab_report(folder: Path) -> list[Path]:
    """Reads what `speechllm lab run` left in `folder`; writes the page, its tables and its figures there.

    Returns:
        The paths: lab.html, lab.md, against.png and curves.png.

    Raises:
        SpeechLLMError: nothing there is evaluated yet, or a file is broken; names it.
    """
    courses, ceiling = read_courses(folder)
    tables = [arm_rows(courses, ceiling), task_rows(courses, ceiling)]
    first = _first_seeds(courses)
    against, curves = _against(courses, ceiling), _over_steps(first)
    template = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
        resources.files("speechllm.eval").joinpath("lab.html.jinja").read_text(encoding="utf-8")
    )
    shown = [(course.arm, examples(course)) for course in first]
    with written_aside(folder / PAGE) as file:
        file.write(template.render(tables=tables, against=_svg(against), curves=_svg(curves), examples=shown))
    with written_aside(folder / TABLE) as file:
        file.write("\n".join(map(markdown, tables)))
    against.savefig(folder / AGAINST, metadata={"Software": None})
    curves.savefig(folder / CURVES, metadata={"Software": None})
    return [folder / name for name in (PAGE, TABLE, AGAINST, CURVES)]


def markdown(rows: Sequence[dict[str, str]]) -> str:
    """The rows as a Markdown table; arms and figures hold no `|`."""
    names = list(rows[0])
    lines = [names, ["---", *["---:"] * (len(names) - 1)], *([row[name] for name in names] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _first_seeds(courses: Sequence[Course]) -> list[Course]:
    first: dict[str, Course] = {}
    for course in sorted(courses, key=lambda course: course.seed):
        first.setdefault(course.arm, course)
    return [first[arm] for arm in dict.fromkeys(course.arm for course in courses)]


def _against(courses: Sequence[Course], ceiling: Ceiling) -> Figure:
    """Accuracy upwards, what is lost to the right; a line for each run, its end marked: up and left is good."""
    points = [point for course in courses for point in course.points]
    measured = [m for m in MEASURES if any(m[1](point) is not None for point in points)]
    figure, panels = _grid(len(measured), 2, 5.2, 3.6)
    colours = matplotlib.colormaps["tab20"]
    arms = list(dict.fromkeys(course.arm for course in courses))
    lines: dict[str, Artist] = {}
    for axes, (name, measure, untouched) in zip(panels, measured, strict=False):
        for course in courses:
            pairs = [(measure(point), point.skill) for point in course.points]
            known = [(x, 100 * y) for x, y in pairs if x is not None and y is not None]
            if known:
                colour = colours(arms.index(course.arm) % 20)
                (line,) = axes.plot(*zip(*known, strict=True), color=colour, linewidth=1.2, alpha=0.7)
                axes.plot(*known[-1], "o", color=colour)
                lines.setdefault(course.arm, line)
        if ceiling.skill is not None:
            axes.axhline(100 * ceiling.skill, color="grey", linewidth=0.8, linestyle="--")
        if (at := untouched(ceiling)) is not None:
            axes.axvline(at, color="grey", linewidth=0.8, linestyle="--")
        _bare(axes, name)
    figure.supylabel("accuracy of what is heard (%)", fontsize=9)
    figure.legend(list(lines.values()), list(lines), loc="outside right upper", fontsize=8, frameon=False)
    return figure


def _over_steps(courses: Sequence[Course]) -> Figure:
    """Skill, JSON and rules over the steps, a panel for each run of several points, or for each where none has them."""
    courses = [course for course in courses if len(course.points) > 1] or courses
    figure, panels = _grid(len(courses), 5, 2.8, 2.5)
    curves: tuple[tuple[str, Measure], ...] = (
        ("accuracy", lambda p: p.skill),
        ("JSON", lambda p: p.json),
        ("rules", lambda p: p.followed),
    )
    for axes, course in zip(panels, courses, strict=False):
        for name, measure in curves:
            known = [(point.step, 100 * value) for point in course.points if (value := measure(point)) is not None]
            axes.plot([x for x, _ in known], [y for _, y in known], marker=".", label=name)
        axes.set_ylim(-3, 103)
        axes.set_title(course.arm, fontsize=10)
        _bare(axes, "steps")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper right", fontsize=8, frameon=False, ncols=3)
    return figure


def _grid(n: int, across: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """A figure of `n` panels that share the vertical axis, `across` in a row; `width` and `height` of one in inches."""
    across = max(1, min(n, across))
    down = max(1, math.ceil(n / across))
    figure = Figure(figsize=(width * across, height * down), layout="constrained")
    panels = list(figure.subplots(down, across, sharey=True, squeeze=False).flat)
    for axes in panels[n:]:
        axes.set_axis_off()
    return figure, panels


def _bare(axes: Axes, x: str) -> None:
    axes.set_xlabel(x, fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)


def _svg(figure: Figure) -> Markup:
    """The figure for the middle of a page; letters become outlines, so that no font is missing."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    return Markup(text[text.index("<svg") :])
