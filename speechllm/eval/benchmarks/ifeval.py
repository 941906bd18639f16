"""IFEval: does a response keep to instructions that a program can check?

Rules of https://github.com/google-research/google-research/tree/master/instruction_following_eval (arXiv 2311.07911).
"""

from __future__ import annotations

from collections.abc import Sequence

from speechllm import progress
from speechllm.eval.benchmarks.benchmark import Benchmark, Inputs, Item, Scored, Verdict, grouped, percent, read_items
from speechllm.eval.benchmarks.checkers import Checkers, Instructions, load_checkers, unfollowed


def score(inputs: Inputs) -> Scored:
    """Rows of `prompt` and `response`; the questions (`input_data.jsonl`) from `--questions` or in the same rows."""
    checkers = load_checkers()
    items, notes = read_items(inputs, ("prompt",))
    verdicts = []
    with progress.task("check instructions", len(items)) as bar:
        for item in items:
            verdicts.append(_verdict(item, checkers))
            bar.advance()
    return Scored(verdicts, {mode: _accuracies(verdicts, mode) for mode in ("strict", "loose")}, notes)


def _verdict(item: Item, checkers: Checkers) -> Verdict:
    instructions = Instructions(item.question, checkers)
    response = item.answer.text("response") if item.answer else None
    strict = instructions.strict(response or "")
    loose = instructions.loose(response or "", strict)
    name = item.question.text("key") or item.id
    shown = {"instruction_id_list": instructions.names, "strict": strict, "loose": loose}
    if response is None:
        return Verdict(id=name, verdict="missing", reason="no response", **shown)
    reason = unfollowed(instructions.names, strict) if response.strip() else "empty response"
    return Verdict(id=name, verdict="right" if all(strict) else "wrong", reason=reason, response=response, **shown)


def _accuracies(verdicts: Sequence[Verdict], mode: str) -> dict[str, object]:
    """Under the names that the official script prints: by prompt, by instruction, by group and type of instruction."""
    rows = [v.model_extra or {} for v in verdicts]
    pairs = [(name, good) for row in rows for name, good in zip(row["instruction_id_list"], row[mode])]
    return {
        "prompt-level": percent(all(row[mode]) for row in rows),
        "instruction-level": percent(good for _, good in pairs),
        **dict(sorted(grouped((name.split(":")[0], good) for name, good in pairs).items())),
        **dict(sorted(grouped(pairs).items())),
    }


IFEVAL = Benchmark("ifeval", "IFEval", "instruction_following_eval, 25 instruction types; langdetect seed 0", score)
