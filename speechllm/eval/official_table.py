"""What benchmarks' own scorers said, as rows for the terminal and for reports."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from speechllm.eval.table import number, part

BENCHMARKS = "benchmarks"
"""The section of results.json."""


def official_rows(results: Mapping[str, Any]) -> dict[str, dict[str, dict[str, float | None]]]:
    """benchmark -> official name of a metric, with dots where it lies within others -> system -> value.

    A metric without a value, such as one that waits for a judge, is None; where none has one there are no rows.
    """
    found: dict[str, dict[str, dict[str, float | None]]] = {}
    for benchmark, systems in part(results, BENCHMARKS).items():
        rows: dict[str, dict[str, float | None]] = {}
        for system in systems:
            for name, value in _leaves(part(part(systems, system), "metrics")):
                rows.setdefault(name, {})[system] = value
        known = any(value is not None for values in rows.values() for value in values.values())
        found[benchmark] = rows if known else {}
    return found


def _leaves(value: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, float | None]]:
    for key, inner in value.items():
        name = f"{above}.{key}" if above else str(key)
        if isinstance(inner, Mapping):
            yield from _leaves(inner, name)
        elif inner is None or number(inner) is not None:
            yield name, number(inner)


def shown(value: float | None) -> str:
    """As the benchmark's tables have it; a dash where there is none."""
    return "–" if value is None else f"{value:g}".replace("-", "\N{MINUS SIGN}")


def official_remarks(results: Mapping[str, Any]) -> dict[str, list[str]]:
    """benchmark -> who judged, how many rows wait for a judge, and the scorer's notes, of the first system."""
    found = {}
    for benchmark, systems in part(results, BENCHMARKS).items():
        told = part(systems, next(iter(systems), ""))
        waiting, items = told.get("not_judged"), told.get("items")
        said = [f"judged by {told['judge']}"] if told.get("judge") else []
        said += [f"{waiting} of {items} rows need a judge (--judge)"] if waiting else []
        found[benchmark] = [*said, *told.get("notes", [])]
    return found


def print_official(results: Mapping[str, Any]) -> None:
    """Prints a table a benchmark to standard output, a row a metric, a column a system; nothing where none scored."""
    remarks = official_remarks(results)
    console = Console(highlight=False)
    for benchmark, rows in official_rows(results).items():
        systems = list(part(part(results, BENCHMARKS), benchmark)) if rows else []
        table = Table(title=f"{escape(benchmark)}, by its own rules", title_justify="left", title_style="bold")
        table.add_column("metric" if rows else "no metric can be told yet")
        for system in systems:
            table.add_column(escape(system), justify="right", style="bold" if system == "model" else "")
        for name, values in rows.items():
            table.add_row(escape(name), *(shown(values.get(system)) for system in systems))
        console.print(table)
        for remark in remarks[benchmark]:
            console.print(f"- {escape(remark)}")
