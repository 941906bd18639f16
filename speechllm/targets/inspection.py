"""A targets file at a glance: what is asked, how long the replies are, how they end, and what a filter would say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from rich.table import Table

from speechllm.data.jsonl import written_aside
from speechllm.data.manifest import Utterance
from speechllm.data.prompts import Prompt
from speechllm.data.render import audio_parts, describe_audio
from speechllm.targets.filters import verdicts
from speechllm.targets.masking import Surprisal, mean_surprisal
from speechllm.targets.records import TargetRecord
from speechllm.targets.strategies.base import Item

MOST_ROWS = 20
"""Of a table; the rest is counted together."""

FIRST_RECORDS = 200
"""Records that the page shows."""


@dataclass(frozen=True)
class Counted:
    """A table of counts: title, names of the columns, rows."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]

    def rich(self) -> Table:
        """For a terminal."""
        table = Table(*self.columns, title=self.title, title_justify="left")
        for row in self.rows:
            table.add_row(*row)
        return table


def inspect_targets(records: Sequence[TargetRecord]) -> list[Counted]:
    """Counts of strategies, prompts, reply lengths (words), finish reasons and verdicts.

    Verdicts are those that need the record alone; whether a reply contradicts its description is told at generation,
    where the utterance is known.
    """
    words = [len(record.response.split()) for record in records]
    low, middle, high = np.percentile(words, [5, 50, 95])
    lengths = [("mean", f"{np.mean(words):.1f}"), ("5 %", f"{low:.0f}"), ("median", f"{middle:.0f}")]
    lengths += [("95 %", f"{high:.0f}"), ("longest", str(max(words)))]
    masks = [mask for record in records if (mask := record.token_mask) is not None]
    tables = [
        _counted("strategies", "strategy", [f"{r.strategy} ({r.generator})" for r in records]),
        _counted("prompts", "prompt", [r.prompt.replace("\n", " ") for r in records]),
        Counted("words of a reply", ("", "words"), [*lengths]),
        _counted("how replies end", "finish reason", [r.finish_reason for r in records]),
        _counted("filter verdicts", "verdict", [v for r in records for v in _verdicts(r)] or ["none"], len(records)),
    ]
    if masks:
        total, masked = sum(map(len, masks)), sum(mask.count(0) for mask in masks)
        row = (str(total), str(masked), f"{masked / max(total, 1):.1%}")
        tables.append(Counted("token masks", ("tokens", "masked", "share"), [row]))
    return tables


def surprisal_by_strategy(records: Sequence[TargetRecord], surprisal: Surprisal) -> Counted:
    """How much the replies of each strategy surprise the LLM that reads the description, nats a token.

    Low is near to what the LLM would say itself, and so has little to make it forget.
    """
    read = [describe_audio(r.messages, [r.seed_description] * len(audio_parts(r.messages))) for r in records]
    found = surprisal(read, [record.response for record in records])
    rows: list[tuple[str, ...]] = []
    for strategy in sorted({record.strategy for record in records}):
        mine = [row for row, record in zip(found, records, strict=True) if record.strategy == strategy]
        rows.append(
            (strategy, str(len(mine)), f"{np.mean([len(row) for row in mine]):.1f}", f"{mean_surprisal(mine):.3f}")
        )
    return Counted("surprise to the LLM", ("strategy", "records", "tokens a reply", "nats a token"), rows)


def fates_by_strategy(reports: Sequence[dict[str, Any]]) -> Counted:
    """What became of the replies, from the reports of generation jobs (`OUT.report.json`)."""
    rows = [
        (name, *(str(told[key]) for key in _FATES), "-" if (w := told["mean_reply_words"]) is None else f"{w:.1f}")
        for report in reports
        for name, told in report["strategies"].items()
    ]
    return Counted("what became of the replies", ("strategy", *_FATES, "words a reply"), sorted(set(rows)))


def dropped_by_prompt(reports: Sequence[dict[str, Any]]) -> Counted:
    """The prompts that lost the largest shares of their replies, from the same reports, which hold all of them."""
    asked, dropped = Counter[str](), Counter[str]()
    for report in reports:
        for text, told in report.get("prompts", {}).items():
            asked[text] += told["asked"]
            dropped[text] += told["dropped"]
    worst = sorted(dropped, key=lambda text: (-dropped[text] / asked[text], text))[:MOST_ROWS]
    rows: list[tuple[str, ...]] = [
        (text.replace("\n", " "), str(asked[text]), f"{dropped[text] / asked[text]:.0%}") for text in worst
    ]
    return Counted("prompts of which replies were dropped", ("prompt", "asked", "dropped"), rows)


_FATES = ("kept", "replaced", "dropped")


def _counted(title: str, column: str, values: Sequence[str], total: int | None = None) -> Counted:
    counts = Counter(values).most_common()
    shown, rest = counts[:MOST_ROWS], counts[MOST_ROWS:]
    if rest:
        shown = [*shown, (f"{len(rest)} others", sum(count for _, count in rest))]
    of = total or len(values)
    return Counted(title, (column, "records", "share"), [(v, str(n), f"{n / of:.1%}") for v, n in shown])


def _verdicts(record: TargetRecord) -> list[str]:
    about = Utterance(id="x", audio="x", duration=0.0, sampling_rate=1) if record.utterance_id else None
    prompt = Prompt(id="x", kind="", text=record.prompt or "-", language="")
    item = Item(id=record.id, prompt=prompt, utterance=about, description=record.seed_description)
    return list(verdicts(item, record.response, record.finish_reason))


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{{ title }}</title><style>
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem;
  color-scheme: light dark }
table { border-collapse: collapse; margin: 0 0 2rem } td, th { padding: .2rem .8rem .2rem 0; text-align: left;
  vertical-align: top; border-bottom: 1px solid #8884 } small { opacity: .7 } pre { white-space: pre-wrap; margin: 0 }
</style></head><body><h1>{{ title }}</h1><p>{{ n }} records.</p>
{% for table in tables %}<h2>{{ table.title }}</h2><table><tr>{% for c in table.columns %}<th>{{ c }}</th>{% endfor %}
</tr>{% for row in table.rows %}<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>{% endfor %}</table>
{% endfor %}<h2>The first {{ records | length }} records</h2><table>
<tr><th>id</th><th>the LLM read</th><th>prompt</th><th>reply</th></tr>
{% for r in records %}<tr><td><small>{{ r.id }}<br>{{ r.strategy }}<br>{{ r.finish_reason }}</small></td>
<td>{{ r.seed_description }}</td><td>{{ r.prompt }}</td><td><pre>{{ r.response }}</pre></td></tr>
{% endfor %}</table></body></html>
"""


def write_page(path: Path, records: Sequence[TargetRecord], title: str) -> None:
    """The same as one HTML page that needs nothing else, with the first records below."""
    template = jinja2.Environment(autoescape=True).from_string(_PAGE)
    page = template.render(
        title=title, n=len(records), tables=inspect_targets(records), records=records[:FIRST_RECORDS]
    )
    with written_aside(Path(path)) as file:
        file.write(page)
