"""Results in the terminal: one table of accuracies, a few lines under it, and the numbers in words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

COLUMNS = ("model", "ceiling", "cascade", "chance")
"""Who answers: the model that hears, the text LLM that reads the true description, the text LLM that reads the
transcript only, and a guess."""


def number(value: Any) -> float | None:
    """The value as a finite float; None where it is missing, NaN, infinite or no number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def part(results: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """The mapping under `key`; an empty one where there is none."""
    value = results.get(key)
    return value if isinstance(value, Mapping) else {}


def percent(share: float | None, digits: int = 0) -> str:
    """`0.931` as `93 %`; a dash where there is no number."""
    return "–" if share is None else f"{100 * share:.{digits}f}\N{NO-BREAK SPACE}%"


def duration(seconds: float) -> str:
    """Seconds as a person says them: `3.2 s`, `45 s`, `3 min 20 s`, `2 h 5 min`."""
    if seconds < 9.95:
        return f"{seconds:.1f}\N{NO-BREAK SPACE}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}\N{NO-BREAK SPACE}s"
    big, small, units = (
        (*divmod(whole, 60), ("min", "s")) if whole < 3600 else (whole // 3600, whole % 3600 // 60, ("h", "min"))
    )
    return f"{big}\N{NO-BREAK SPACE}{units[0]}" + (f" {small}\N{NO-BREAK SPACE}{units[1]}" if small else "")


def memory(size: float) -> str:
    """Bytes as `3.1 GB`."""
    return f"{size / 1e9:.1f}\N{NO-BREAK SPACE}GB" if size >= 1e9 else f"{size / 1e6:.0f}\N{NO-BREAK SPACE}MB"


def stage_seconds(results: Mapping[str, Any]) -> dict[str, float]:
    """Seconds of each stage, in the order they ran, without a `total`."""
    stages = {str(name): number(value) for name, value in part(results, "seconds").items() if name != "total"}
    return {name: value for name, value in stages.items() if value is not None and value >= 0}


def total_seconds(results: Mapping[str, Any]) -> float | None:
    """Seconds of the whole run: what `total` says, else the sum of the stages."""
    said = number(part(results, "seconds").get("total"))
    return said if said is not None else sum(stage_seconds(results).values()) or None


def print_table(results: Mapping[str, Any]) -> None:
    """Prints accuracies and what else was measured to standard output; what is missing is left out or a dash."""
    console = Console(highlight=False)
    if part(results, "accuracy"):
        console.print(_accuracies(results))
    rows = _lines(results)
    if rows:
        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="bold", no_wrap=True)
        grid.add_column()
        for name, text in rows:
            grid.add_row(name, escape(text))
        console.print(grid)


def _accuracies(results: Mapping[str, Any]) -> Table:
    table = Table(title="Accuracy on voices never heard in training", title_justify="left", title_style="bold")
    table.add_column("attribute")
    for column in (*COLUMNS, "n"):
        table.add_column(column, justify="right", style="bold" if column == "model" else "")
    accuracy = part(results, "accuracy")
    for name in accuracy:
        row = part(accuracy, name)
        n = number(row.get("n"))
        table.add_row(escape(str(name)), *_shares(row), "–" if n is None else f"{n:.0f}")
    if part(results, "mean_accuracy"):
        table.add_section()
        table.add_row("mean", *_shares(part(results, "mean_accuracy")), "")
    return table


def _shares(row: Mapping[str, Any]) -> list[str]:
    return [percent(number(row.get(column))) for column in COLUMNS]


def _lines(results: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Name and text of each measurement that is there."""
    rows = []
    wer, recogniser = number(results.get("wer")), number(results.get("recogniser_wer"))
    if wer is not None:
        beside = "" if recogniser is None else f" (the recogniser alone: {percent(recogniser, 1)})"
        rows.append(("word error rate", percent(wer, 1) + beside))
    agreement = number(results.get("agreement"))
    if agreement is not None:
        rows.append(("agreement", f"{percent(agreement)} of answers as the text LLM that reads the description"))
    rows += _other_metrics(results)
    broken = broken_clips(results)
    if broken:
        rows.append(("broken clips", broken))
    rows += _retained(results)
    kept = retention(results)
    if kept:
        rows.append(("text retention", kept))
    total = total_seconds(results)
    if total is not None:
        rows.append(("time", duration(total)))
    peak = number(results.get("peak_memory_bytes"))
    if peak is not None:
        rows.append(("peak memory", memory(peak)))
    return rows


OF_TEXTS = {"pearson": "Pearson's r", "bleu": "BLEU", "chrf": "chrF", "slot_f1": "slot F1"}
"""Metrics that have no column of their own, and their names."""


def _other_metrics(results: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Tasks that are measured neither by accuracy nor by word error rate."""
    rows = []
    for name, task in part(results, "tasks").items():
        if task.get("metric") in OF_TEXTS:
            values = {system: number(told.get("value")) for system, told in part(task, "systems").items()}
            shown = ", ".join(f"{system} {value:.3f}" for system, value in values.items() if value is not None)
            rows.append((str(name), f"{OF_TEXTS[task['metric']]}: {shown or 'not defined'}"))
    return rows


def broken_clips(results: Mapping[str, Any]) -> str:
    """How many clips could not be decoded, and what that means; empty where all could."""
    broken = part(results, "broken")
    if not broken:
        return ""
    return f"{broken['clips']} could not be decoded; {broken['questions']} questions about them count as unanswered"


def _retained(results: Mapping[str, Any]) -> list[tuple[str, str]]:
    """JSON under audio, and the speech-text gap."""
    rows = []
    json_form = part(results, "json_retention")
    if json_form:
        rows.append(("JSON under audio", _beside_ceiling(json_form, ("found", "valid", "schema", "right"))))
    following = part(results, "instruction_following")
    if following:
        rows.append(("instructions under audio", _beside_ceiling(following, ("followed",))))
    gap = number(part(results, "gap").get("kl"))
    if gap is not None:
        rows.append(("speech-text gap", f"{gap:.3f} nats a token"))
    return rows


def _beside_ceiling(shares: Mapping[str, Any], names: Sequence[str]) -> str:
    """What of the forms model and ceiling keep to, and what the model keeps of the ceiling's."""
    said = [
        f"{system}: " + ", ".join(f"{percent(number(part(shares, system).get(name)))} {name}" for name in names)
        for system in ("model", "ceiling")
    ]
    kept, able = number(shares.get("kept")), number(shares.get("able"))
    return "; ".join([*said, *([] if kept is None else [f"kept: {percent(kept)} of {able:.0f}"])])


def retention(results: Mapping[str, Any]) -> str:
    """How many text replies stayed the same and how far logits moved; empty where it was not measured."""
    values = part(results, "text_retention")
    same, n, moved = (number(values.get(key)) for key in ("identical_replies", "n", "max_abs_logit_difference"))
    said = []
    if same is not None and n:
        said.append(f"{same:.0f} of {n:.0f} text replies identical")
    if moved is not None:
        said.append(f"largest logit difference {moved:.3g}")
    return ", ".join(said)
