"""Dynamic-SUPERB phase 2, dumped, read into tasks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from speechllm.errors import SpeechLLMError
from speechllm.eval import judges
from speechllm.eval.benchmarks.dynamic_superb_phase2 import DYNAMIC_SUPERB_PHASE2, is_classification, read_instance
from speechllm.eval.folders import dumped_question, dumps
from speechllm.eval.tasks import Official, Question, Task, named_choice, whole_reply

SPOKEN = "DynamicSUPERB_AudioGeneration_Tasks"
"""The dump's folder of instances that are answered by audio, which this package does not write."""


def dynamic_superb_phase2(folder: Path) -> list[Task]:
    """Dynamic-SUPERB phase 2 (arXiv 2411.05361), dumped: `<instance>/metadata.json` beside the clips, a task each.

    `metadata.json` is an object by file name with `instruction` and `label`; further clips of a question are
    `<name>_pair2.wav`, `<name>_pair3.wav` and so on. Data sets as the Hugging Face Hub has them (Parquet) are brought
    into this layout first (see `dumped_datasets`). What an instance is measured by stands in its `instance.json` of
    the benchmark's repository, anywhere under the folder; without one it is taken as classification. Instances in
    `SPOKEN` are not asked. A judge scores, or extracts what is measured; beside it, classification has an accuracy by
    rules of this package, which need no LLM. The prompt around an instruction is each model's own in the benchmark;
    here it is this package's. How an `instance.json` of several metrics is scored is not known; the first one counts.

    Raises:
        SpeechLLMError: there is no instance, or a file is not as the benchmark's are.
    """
    told: dict[str, str] = {}
    for path in sorted(Path(folder).rglob("instance.json")):
        told |= read_instance(path)
    found = [(path, rows) for path, rows in dumps(folder) if SPOKEN not in path.parts]
    if not found:
        raise SpeechLLMError(f"{folder}: all instances are answered by audio; give those that are answered by text")
    return [_task(path, rows, told.get(path.parent.name)) for path, rows in found]


def _task(path: Path, rows: Mapping[str, Any], metric: str | None) -> Task:
    name = path.parent.name
    beside = {} if metric is None else {"instance.json": {"name": name, "metrics": [metric]}}
    alone = not is_classification(metric)
    file = f"{name}/responses.json"
    return Task(
        f"{DYNAMIC_SUPERB_PHASE2.name}.{name}",
        tuple(dumped_question(path, name, key, row) for key, row in rows.items()),
        whole_reply if alone else chosen,
        rule=f"{metric} of what a judge extracts" if alone else f"by rule: {judges.RuleJudge.name}",
        official=Official(DYNAMIC_SUPERB_PHASE2.name, file, "sllm_response", beside, alone),
    )


def chosen(question: Question, reply: str) -> str | None:
    """The label where the rule-based judge agrees, else another option that the reply names alone."""
    asked = judges.Question("", "", question.truth, reply, question.prompt.text)
    if judges.RuleJudge()([asked]) == [asked.replies[0]]:
        return question.truth
    named = named_choice(question, reply)
    return None if named is None or named.lower() == question.truth.lower() else named
