"""Evaluations side by side as an HTML page that needs nothing else, and the same as Markdown and JSON beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from speechllm.data.json_file import write_json
from speechllm.data.jsonl import written_aside
from speechllm.errors import SpeechLLMError
from speechllm.eval.asking import CASCADE, CEILING, MODEL, SYSTEMS
from speechllm.eval.comparison import compare
from speechllm.eval.evaluation import RESULTS
from speechllm.eval.figures import course_figure, group_figure, svg
from speechllm.eval.learning import LOG, curve_panels, read_log, validations
from speechllm.eval.official_table import shown
from speechllm.eval.page import embedded_audio, render
from speechllm.eval.paired import FORMS
from speechllm.eval.runs import distinct_names, read_runs
from speechllm.eval.table import number, percent

LONGEST_CLIP_S = 15.0
"""Of a longer clip the page carries the beginning."""

FEWEST_FOR_COURSE = 3
"""Runs from which on values are drawn over their order."""

CHANCE = "chance"


def write_comparison(folders: Sequence[Path], out: Path) -> list[Path]:
    """Writes `out` (HTML), and the same with the endings .md and .json.

    Args:
        folders: what `speechllm eval --out` wrote, in the order to show; of a run's checkpoints, that of training. And
            folders of training runs, whose course is drawn.
        out: ends in .html.

    Returns:
        the three files.

    Raises:
        SpeechLLMError: `out` has another ending, or a folder holds no evaluation (see `read_runs`).
    """
    if out.suffix != ".html":
        raise SpeechLLMError(f"{out}: --out is the HTML page; let its name end in .html")
    trained = [folder for folder in folders if (folder / LOG).is_file() and not (folder / RESULTS).is_file()]
    found = compare(read_runs([folder for folder in folders if folder not in trained]))
    logs = dict(zip(distinct_names(trained), map(read_log, trained), strict=True))
    if logs:
        found["training"] = [{"run": name, "validations": validations(log)} for name, log in logs.items()]
    values = {
        "training": [],
        **found,
        "rows": [_shown_row(row) for row in found["tasks"] if row["group"] not in FORMS],
        "forms": [_shown_row(row) for row in found["tasks"] if row["group"] in FORMS],
        "against_first": [
            {**row, "runs": [_shown_difference(cell) for cell in row["runs"]]} for row in found["against_first"]
        ],
        "retention": _retention_rows(found),
        **_official(found),
    }
    page = render(
        "comparison.html.jinja",
        **values,
        title="What speech LLMs hear and keep",
        bars=_group_panels(found),
        course=_course_panels(found),
        curves=[panel for n, (name, log) in enumerate(logs.items()) for panel in curve_panels(log, name, n)],
        matrices=[_matrix(told) for told in found["confusion"]],
        clips=[_playable(example) for example in found["examples"]],
    )
    texts = {out: page, out.with_suffix(".md"): render("comparison.md.jinja", autoescape=False, **_in_cells(values))}
    for path, text in texts.items():
        with written_aside(path) as file:
            file.write(text)
    write_json(found, out.with_suffix(".json"))
    return [*texts, out.with_suffix(".json")]


def _shown_row(row: Mapping[str, Any]) -> dict[str, Any]:
    return {**row, "runs": [cell and _shown_cell(cell, row["metric"]) for cell in row["runs"]]}


def _shown_cell(cell: Mapping[str, Any], metric: str) -> dict[str, str]:
    """Words for what a run scored: the model with its interval, the others beside it."""

    def said(value: Any, digits: int = 0) -> str:
        share = number(value)
        if metric in ("pearson", "bleu", "chrf"):
            return "–" if share is None else f"{share:.2f}".replace("-", "−")
        return percent(share, digits)

    systems = cell["systems"]
    model = systems.get(MODEL, {})
    interval = model.get("interval")
    return {
        "model": said(model.get("value"), 1),
        "interval": f"{said(interval[0])} to {said(interval[1])}" if interval else "",
        "ceiling": said(systems.get(CEILING, {}).get("value")),
        "cascade": said(systems.get(CASCADE, {}).get("value")),
        "chance": said(cell["chance"]),
        "n": str(cell["n"]),
    }


def _shown_difference(cell: Mapping[str, Any] | None) -> dict[str, str]:
    """Words for how a run differs from the first, or for why there is no number."""
    if cell is None:
        return {"difference": "", "beside": "not asked"}
    if "reason" in cell:
        return {"difference": "", "beside": cell["reason"]}
    points, p = 100 * cell["difference"], cell["p_value"]
    chance = "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"
    return {"difference": f"{points:+.1f}".replace("-", "−") + " points", "beside": f"{chance}, n {cell['n']}"}


def _official(found: Mapping[str, Any]) -> dict[str, Any]:
    """Rows of `official` with a text for each run: the model's value, and behind it those of the other systems."""

    def said(values: Mapping[str, float | None]) -> str:
        order = [s for s in SYSTEMS if s in values]
        return ", ".join(f"{'' if s == MODEL else f'{s} '}{shown(values[s])}" for s in order) or "not asked"

    return {"official": [{**row, "runs": [said(values) for values in row["runs"]]} for row in found["official"]]}


def _retention_rows(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {"name": row["name"].replace("_", " ").replace(".", ": "), "values": [_plain(v) for v in row["values"]]}
        for row in found["retention"]
    ]


def _plain(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if value == round(value) else f"{value:.4g}"


def _group_panels(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    panels: list[dict[str, Any]] = []
    for row in found["groups"]:
        said = "; ".join(
            f"{name}: " + ", ".join(f"{key} {percent(share)}" for key, share in cell.items())
            for name, cell in zip(found["runs"], row["runs"], strict=True)
            if cell
        )
        drawn = svg(group_figure(found["runs"], row["runs"]), f"group{len(panels)}", f"{row['group']}: {said}.")
        panels.append({"name": row["group"].replace("_", " "), "svg": drawn})
    return panels


def _course_panels(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Learning against forgetting: mean accuracy and each retention number over the order of the runs."""
    names, means = found["runs"], found["mean_accuracy"]
    if len(names) < FEWEST_FOR_COURSE:
        return []
    lines = {key: [number(mean.get(key)) for mean in means] for key in (MODEL, CEILING, CASCADE, CHANCE)}
    series = {"mean accuracy": {key: line for key, line in lines.items() if any(v is not None for v in line)}}
    for row in found["retention"]:
        measured = [value for value in row["values"] if number(value) is not None]
        course = row["name"].rpartition(".")[2] not in ("n", "tokens") and not row["name"].startswith("gap.by_")
        if course and len(measured) > 1:  # one point is no course
            series[row["name"]] = {row["name"]: row["values"]}
    panels: list[dict[str, Any]] = []
    for name, drawn in series.items():
        if drawn:
            said = "; ".join(f"{key}: " + ", ".join(map(_plain, line)) for key, line in drawn.items())
            figure = svg(course_figure(names, drawn), f"course{len(panels)}", f"{name} over the runs: {said}.")
            panels.append({"name": name.replace("_", " ").replace(".", ": "), "svg": figure})
    return panels


def _matrix(told: Mapping[str, Any]) -> dict[str, Any]:
    """Rows of a confusion matrix with each count's share of its row."""
    rows = [
        {
            "label": label,
            "cells": [
                {"count": c, "share": c / max(sum(counts), 1), "right": told["labels"][at] == label}
                for at, c in enumerate(counts)
            ],
        }
        for label, counts in zip(told["labels"], told["counts"], strict=False)  # columns may be more than rows
    ]
    return {**told, "rows": rows}


def _playable(example: Mapping[str, Any]) -> dict[str, Any]:
    sounds = [embedded_audio(Path(path), LONGEST_CLIP_S) for path in example["audio"]]
    return {**example, "sounds": [{"source": source, "cut": cut} for source, cut in sounds]}


def _in_cells(value: Any) -> Any:
    """The same structure, each text fit for a cell of a Markdown table."""
    if isinstance(value, Mapping):
        return {key: _in_cells(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_in_cells(inner) for inner in value]
    if not isinstance(value, str):
        return value
    safe = value.replace("&", "&amp;").replace("<", "&lt;").replace("\\", "\\\\").replace("|", "\\|")
    return " ".join(safe.split())
