"""A run as one page to look at: figures, sound and words in a single HTML file that needs nothing else."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speechllm.data.jsonl import written_aside
from speechllm.eval.figures import BARS, accuracy_figure, svg, times_figure
from speechllm.eval.learning import curve_panels
from speechllm.eval.page import embedded_audio, render
from speechllm.eval.table import COLUMNS, duration, memory, number, part, percent, stage_seconds, total_seconds

LONGEST_CLIP_S = 60.0
"""Of a longer clip the page carries the beginning, so that it stays a page."""

_NAMES = {
    "llm": "LLM",
    "cpu": "CPU",
    "trainable_parameters": "trained weights",
    "train_hours": "train audio",
    "test_hours": "test audio",
}


@dataclass(frozen=True)
class Answer:
    """What was asked about a clip, and the two replies."""

    prompt: str
    model: str
    """The reply of the model, which hears."""
    ceiling: str
    """The reply of the text LLM, which reads the true description."""
    correct: bool | None
    """Whether the model's reply is true of the clip; None where nobody can say."""


@dataclass(frozen=True)
class Clip:
    """A clip to listen to."""

    id: str
    audio: Path
    reference: str
    """The words that are spoken."""
    attributes: dict[str, str]
    answers: list[Answer]


def write_report(
    path: Path,
    results: dict[str, Any],
    log: list[dict[str, Any]],
    clips: Sequence[Clip],
    title: str = "A text LLM learns to hear",
) -> Path:
    """Writes the page; sections for which nothing was measured are left out.

    Args:
        path: the HTML file.
        results: what the evaluation measured, as in `results.json`.
        log: the lines of the training log.
        clips: clips to carry in the page, with the answers about them.
        title: heading of the page.

    Raises:
        SpeechLLMError: the file system refuses; an older page at `path` still stands.
    """
    path = Path(path)
    page = render(
        "report.html.jinja",
        title=title,
        tiles=_tiles(results),
        accuracy=_accuracy_panels(results),
        agreement=_share(results.get("agreement")),
        curves=curve_panels(log),
        clips=[_clip_view(clip) for clip in clips],
        prompts=_prompt_rows(results),
        retention=_retention_sentence(results),
        times=_times(results),
        facts=_facts(results),
        command=results.get("command") or "",
    )
    with written_aside(path) as out:
        out.write(page)
    return path


def wilson_interval(share: float, n: float, z: float = 1.96) -> tuple[float, float]:
    """The range that holds the true share in 95 of 100 samples of `n`, after Wilson (1927).

    Returns:
        lower and upper end, both within 0 and 1.
    """
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(max(share * (1 - share), 0) / n + z * z / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


# The page's parts


def _tiles(results: Mapping[str, Any]) -> list[dict[str, str]]:
    """The big numbers on top: value, what it is, and what to hold it against."""
    mean, tiles = part(results, "mean_accuracy"), []
    model, ceiling, cascade, chance = (number(mean.get(key)) for key in COLUMNS)
    if model is not None and ceiling:
        said = f"{percent(model)} right; the text LLM that reads the true description: {percent(ceiling)}"
        tiles.append({"value": percent(model / ceiling), "name": "of the ceiling, on voices never heard", "note": said})
    if model is not None and chance is not None:
        said = f"chance: {percent(chance)}"
        said += "" if cascade is None else f"; the transcript alone gives {percent(cascade)}"
        value = f"{round(100 * (model - chance)):+d}".replace("-", "−")
        tiles.append({"value": value, "name": "points above chance", "note": said})
    kept = part(results, "text_retention")
    same, n, moved = (number(kept.get(key)) for key in ("identical_replies", "n", "max_abs_logit_difference"))
    if same is not None and n:
        said = "" if moved is None else f"largest logit difference: {moved:.3g}"
        tiles.append({"value": f"{same:.0f}/{n:.0f}", "name": "text replies identical", "note": said})
    wer, recogniser = number(results.get("wer")), number(results.get("recogniser_wer"))
    if wer is not None:
        said = "" if recogniser is None else f"the recogniser alone: {percent(recogniser, 1)}"
        tiles.append({"value": percent(wer, 1), "name": "word error rate", "note": said})
    return tiles


def _accuracy_panels(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    panels: list[dict[str, Any]] = []
    accuracy = part(results, "accuracy")
    for name in accuracy:
        row = {key: number(part(accuracy, name).get(key)) for key in (*COLUMNS, "n")}
        bars = [key for key in BARS if row[key] is not None]
        if not bars:
            continue
        shown, n, model = str(name).replace("_", " "), row["n"], row["model"]
        interval = wilson_interval(model, n) if model is not None and n and n > 0 else None
        said = ", ".join(f"{key} {percent(row[key])}" for key in COLUMNS if row[key] is not None)
        if interval:
            said += f"; 95 % interval of the model {percent(interval[0])} to {percent(interval[1])}"
        drawn = svg(accuracy_figure(row, interval), f"accuracy{len(panels)}", f"Accuracy on {shown}: {said}.")
        size = None if n is None else f"{n:.0f}"
        panels.append({"name": shown, "n": size, "svg": drawn, "bars": bars, "interval": bool(interval)})
    return panels


def _clip_view(clip: Clip) -> dict[str, Any]:
    audio, cut = embedded_audio(clip.audio, LONGEST_CLIP_S)
    attributes = [(name.replace("_", " "), value) for name, value in clip.attributes.items()]
    said = f"first {LONGEST_CLIP_S:g} s" if cut else ""
    return {"clip": clip, "audio": audio, "note": said, "attributes": attributes}


def _prompt_rows(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for prompt in results.get("prompts") or ():
        score, n = number(prompt.get("score")), number(prompt.get("n"))
        row = {key: str(prompt.get(key) or "") for key in ("kind", "text", "style", "system")}
        row["kind"] = row["kind"].replace("_", " ")
        width = "" if score is None else f"{100 * min(max(score, 0), 1):.0f}"
        rows.append({**row, "width": width, "score": percent(score), "n": "" if n is None else f"{n:.0f}"})
    return rows


def _retention_sentence(results: Mapping[str, Any]) -> str:
    kept = part(results, "text_retention")
    same, n, moved = (number(kept.get(key)) for key in ("identical_replies", "n", "max_abs_logit_difference"))
    if same is None or not n:
        return ""
    asked = f"Asked {n:.0f} questions without audio, the trained model gave"
    if same == n and not moved:
        exact = ", down to the last bit of every logit" if moved == 0 else ""
        return f"{asked} the same reply as the untouched LLM every time{exact}: learning to hear changed nothing here."
    beside = "" if moved is None else f", and its logits moved by up to {moved:.3g}"
    return f"{asked} the same reply as the untouched LLM {same:.0f} times{beside}."


def _times(results: Mapping[str, Any]) -> dict[str, Any] | None:
    stages = stage_seconds(results)
    total, peak = total_seconds(results), number(results.get("peak_memory_bytes"))
    if not stages or total is None:
        return None
    said = f"{duration(total)} in all"
    said += "" if peak is None else f", {memory(peak)} of memory at the peak"
    alt = "Time of each stage: " + ", ".join(f"{name} {duration(value)}" for name, value in stages.items()) + "."
    return {"svg": svg(times_figure(stages), "times", alt), "note": said}


def _facts(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What was run: names and values by group, whatever the groups hold."""
    groups = []
    for group in ("model", "data", "machine"):
        rows = [
            (_NAMES.get(key, key.replace("_", " ")), _value(key, value)) for key, value in part(results, group).items()
        ]
        rows = [(name, value) for name, value in rows if value]
        if rows:
            groups.append({"name": group, "rows": rows})
    return groups


def _value(key: str, value: Any) -> str:
    if isinstance(value, str | bool):
        return str(value)
    amount = number(value)
    if amount is None:
        return "" if value is None or isinstance(value, float) else str(value)
    if key.endswith("hours"):
        return f"{amount:.2f}\N{NO-BREAK SPACE}h"
    return f"{amount:,.0f}" if amount == round(amount) else f"{amount:.4g}"


def _share(value: Any) -> str:
    share = number(value)
    return "" if share is None else percent(share)
