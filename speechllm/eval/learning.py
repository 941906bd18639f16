"""The course of training as panels of a page: the loss of each stage, and what validation measured on the way."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from speechllm.data.jsonl import text_lines
from speechllm.errors import SpeechLLMError
from speechllm.eval.figures import curve_figure, svg, validation_figure
from speechllm.eval.table import number, part, percent

LOG = "log.jsonl"
"""In the folder of a training run."""

_OBJECTIVES = {
    "embedding_alignment": "Warm-up: onto the LLM's own embeddings",
    "cross_entropy": "Self-output: the LLM's own replies",
    "distillation": "Distillation: what the LLM says that reads",
}


def read_log(folder: Path) -> list[dict[str, Any]]:
    """The lines of a training run's log; the last may be half written.

    Raises:
        SpeechLLMError: it cannot be read, or another line is no JSON object.
    """
    path = folder / LOG
    try:
        lines = text_lines(path)
    except (OSError, UnicodeDecodeError) as error:
        raise SpeechLLMError(f"{path}: cannot be read ({error}); name a folder that speechllm train wrote") from error
    entries = []
    for count, line in enumerate(lines, 1):
        try:
            entries.append(dict(json.loads(line)))
        except (ValueError, TypeError) as error:
            if count < len(lines):
                raise SpeechLLMError(f"{path}:{count}: is no JSON object ({error}); take the line out") from error
    return entries


def validations(log: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What validation measured, in order.

    Returns:
        rows with `stage`, `step` (of its stage), `at` (over all stages), `loss`, `kl`, `kept` (share of text replies as
        published; None where nothing acts on text) and `samples`.
    """
    rows, before, last = [], 0, {"stage": 0, "step": 0}
    for entry in log:
        if number(entry.get("step")) is None:
            continue
        if entry.get("stage", 0) != last["stage"]:
            before += last["step"]
        last = {"stage": entry.get("stage", 0), "step": entry["step"]}
        measured = part(entry, "validation")
        if not measured:
            continue
        same, n = (number(part(measured, "text").get(key)) for key in ("identical_replies", "n"))
        rows.append(
            {
                **last,
                "at": before + entry["step"],
                "loss": number(measured.get("loss")),
                "kl": number(measured.get("kl")),
                "kept": same / n if same is not None and n else None,
                "samples": list(measured.get("samples") or ()),
            }
        )
    return rows


def _validation_panels(rows: Sequence[Mapping[str, Any]], ids: str) -> list[dict[str, Any]]:
    wanted = {"Held out": {"loss": "loss", "kl": "speech-text gap"}, "What is left of the text LLM": {"kept": "kept"}}
    panels: list[dict[str, Any]] = []
    for name, keys in wanted.items():
        series = {shown: [row[key] for row in rows] for key, shown in keys.items()}
        series = {shown: values for shown, values in series.items() if any(value is not None for value in values)}
        if len(rows) < 2 or not series:
            continue
        share = "kept" in series
        said = "; ".join(f"{shown} {_change(values, share)}" for shown, values in series.items())
        figure = validation_figure([row["at"] for row in rows], series, share=share)
        drawn = svg(figure, f"{ids}{len(panels)}", f"Validation, {name}: {said}.")
        note = f"text replies as published {_change(series['kept'], True)}" if share else f"nats a token: {said}"
        panels.append({"name": name, "note": note, "svg": drawn})
    return panels


def _change(values: Sequence[float | None], share: bool) -> str:
    known = [value for value in values if value is not None]
    first, last = (percent(v) if share else f"{v:.3g}" for v in (known[0], known[-1]))
    return f"{first} at first, {last} at last"


def curve_panels(log: Sequence[Mapping[str, Any]], run: str = "", count: int = 0) -> list[dict[str, Any]]:
    """A panel a stage of training, and up to two of what validation measured: `name`, `note` and `svg`.

    Args:
        log: lines of `log.jsonl`.
        run: which run this is, where the page shows several.
        count: and how many come before it.
    """
    panels = [*_stage_panels(log, f"curve{count}-"), *_validation_panels(validations(log), f"validation{count}-")]
    return [{**panel, "name": f"{run}: {panel['name']}" if run else panel["name"]} for panel in panels]


def _stage_panels(log: Iterable[Mapping[str, Any]], ids: str) -> list[dict[str, Any]]:
    stages: dict[tuple[Any, str], list[Mapping[str, Any]]] = {}
    for entry in log:
        if number(entry.get("loss")) is not None and number(entry.get("step")) is not None:
            stages.setdefault((entry.get("stage", 0), str(entry.get("objective", ""))), []).append(entry)
    panels: list[dict[str, Any]] = []
    for (_, objective), entries in stages.items():
        steps = list({entry["step"]: entry for entry in entries}.values())  # of a step taken twice, the last
        if len(steps) < 2:
            continue
        steps.sort(key=lambda entry: entry["step"])
        loss = np.array([entry["loss"] for entry in steps], dtype=float)
        few = max(len(loss) // 10, 1)
        first, last = float(loss[:few].mean()), float(loss[-few:].mean())
        said = f"{len(loss)} steps; loss {first:.3g} at first, {last:.3g} at last"
        speeds = [s for s in (number(entry.get("examples_per_second")) for entry in steps) if s is not None]
        name = _OBJECTIVES.get(objective, objective.replace("_", " ")) or "Training"
        figure = curve_figure(steps, loss, logarithmic=objective == "embedding_alignment" and bool((loss > 0).all()))
        drawn = svg(figure, f"{ids}{len(panels)}", f"Learning curve of {name}: {said}.")
        said += f"; {np.median(speeds):.3g} examples/s" if speeds else ""
        panels.append({"name": f"{len(panels) + 1}. {name}", "note": said, "svg": drawn})
    return panels
