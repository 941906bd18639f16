"""What became of the work of a generation job: counts and examples, by strategy and by verdict of the filters."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from speechllm.data.jsonl import written_aside
from speechllm.targets.filters import Verdict, rejected
from speechllm.targets.job import Work
from speechllm.targets.records import TargetRecord
from speechllm.targets.strategies.base import Outcome, Written
from speechllm.targets.strategies.replay import normalised

EXAMPLES = 3
"""Of each outcome and each verdict."""


def report_path(out: Path) -> Path:
    """Beside the targets file."""
    return out.parent / f"{out.name}.report.json"


def settle(work: Sequence[Work], written: Sequence[Written], found: Sequence[Sequence[Verdict]]) -> list[Outcome]:
    """What happens to each reply: as its strategy says, unless a filter or an instruction that repeats drops it."""
    seen: set[str] = set()
    fates: list[Outcome] = []
    for w, r, wrong in zip(work, written, found, strict=True):
        fate: Outcome = "dropped" if rejected(wrong) else r.outcome
        if w.strategy == "pseudo_replay" and r.messages and fate != "dropped":
            words = normalised(r.messages[-1]["content"][-1]["text"])
            fate = "dropped" if words in seen else fate
            seen.add(words)
        fates.append(fate)
    return fates


def job_report(
    work: Sequence[Work],
    written: Sequence[Written],
    fates: Sequence[Outcome],
    found: Sequence[Sequence[Verdict]],
    records: Sequence[TargetRecord],
    key: str,
    out: Path,
) -> dict[str, Any]:
    """Plain values; call it when the targets file stands, whose hash it holds."""
    strategies: dict[str, Any] = {}
    for name in sorted({w.strategy for w in work}):
        mine = [k for k, w in enumerate(work) if w.strategy == name]
        counts = Counter(fates[k] for k in mine)
        lengths = [len(written[k].text.split()) for k in mine if fates[k] != "dropped"]
        strategies[name] = {
            **{outcome: counts[outcome] for outcome in ("kept", "replaced", "dropped")},
            "mean_reply_words": round(sum(lengths) / len(lengths), 2) if lengths else None,
            "reasons": dict(Counter(written[k].reason for k in mine if written[k].reason).most_common()),
            "examples": {
                outcome: [_shown(work[k], written[k]) for k in mine if fates[k] == outcome][:EXAMPLES]
                for outcome in ("kept", "replaced", "dropped")
            },
        }
    filters: dict[str, Any] = {}
    for verdict in sorted({v for wrong in found for v in wrong}):
        mine = [k for k, wrong in enumerate(found) if verdict in wrong]
        filters[verdict] = {
            "count": len(mine),
            "dropped": rejected([verdict]),
            "examples": [_shown(work[k], written[k]) for k in mine[:EXAMPLES]],
        }
    masks = [mask for record in records if (mask := record.token_mask) is not None]
    asked = Counter(w.item.prompt.text for w in work)
    dropped = Counter(w.item.prompt.text for w, fate in zip(work, fates, strict=True) if fate == "dropped")
    return {
        "job": key,
        "targets_sha256": _sha256(out),
        "work": len(work),
        "records": len(records),
        "strategies": strategies,
        "filters": filters,
        # A prompt that the LLM seldom answers in a way to learn from is better left out.
        "prompts": {text: {"asked": asked[text], "dropped": n} for text, n in dropped.most_common()},
        "masked_tokens": sum(mask.count(0) for mask in masks),
        "tokens_under_mask": sum(map(len, masks)),
    }


def summary(
    work: Sequence[Work], written: Sequence[Written], fates: Sequence[Outcome], found: Sequence[Sequence[Verdict]]
) -> str:
    """One clause on why replies were dropped."""
    reasons = Counter(
        ", ".join(wrong) or r.reason for r, fate, wrong in zip(written, fates, found, strict=True) if fate == "dropped"
    )
    return "; ".join(f"{count} of {len(work)}: {reason}" for reason, count in reasons.most_common(3))


def _shown(work: Work, written: Written) -> dict[str, str]:
    return {
        "id": work.item.id,
        "description": work.item.description,
        "prompt": work.item.prompt.text,
        "reply": written.text,
        "reason": written.reason,
    }


def write_report(path: Path, report: dict[str, Any]) -> None:
    """JSON, written aside and renamed."""
    with written_aside(path) as file:
        json.dump(report, file, indent=2, ensure_ascii=False)


def read_report(out: Path) -> dict[str, Any] | None:
    """What a job left beside `out`; None where there is nothing to read."""
    try:
        report = json.loads(report_path(out).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return report if isinstance(report, dict) else None


def is_finished(out: Path, key: str) -> bool:
    """Whether `out` stands as the job of this key left it."""
    report = read_report(out)
    if report is None or report.get("job") != key:
        return False
    return out.is_file() and report.get("targets_sha256") == _sha256(out)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
