"""Dynamic-SUPERB, phase 2: classification judged, values extracted by a judge and then measured, N/A rate beside.

Rules of https://github.com/dynamic-superb/dynamic-superb (branch `dev`; arXiv 2411.05361). Not known here, and so not
imitated: the official wording of the questions to the judge (they are worded here), the field in which official files
keep a judge's replies (stored replies are not read), any normalisation before WER and CER (texts are taken as they
are), and the rules of DER, PER, MER, slot filling and named entities (such instances are named and left out).
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from speechllm.errors import SpeechLLMError
from speechllm.eval.benchmarks.benchmark import Benchmark, Inputs, Item, Scored, Verdict, rate, read_items
from speechllm.eval.benchmarks.dynamic_superb import by_instance
from speechllm.eval.benchmarks.judging import judged_by, read_verdict
from speechllm.eval.benchmarks.measures import MEASURES, NUMERIC, measure_of
from speechllm.eval.judges import Question

PATTERN = r"(?i)result:\s*(yes|no)"
"""The official pattern is sought in lower-cased text."""

JUDGE = """You compare a model's response with the right answer to a question. A question with one answer is answered \
rightly only if the response settles clearly on that one; a question with several, only if it gives exactly that set. \
Explain in a sentence or two and end with "Result: YES" if the response agrees, else with "Result: NO"."""

EXTRACT = """You read a value out of a model's response. Write the value alone, in the format of the example and \
without a word more; if the response gives none, write N/A."""


def score(inputs: Inputs) -> Scored:
    """Files of responses, one an instance and named after it, each keyed by file; `instance.json` tells the metric.

    It stands beside the responses or is given with `--questions`; without it, an instance is taken as classification.
    """
    metric_names = _metric_names(inputs)
    verdicts: list[Verdict] = []
    notes: list[str] = []
    classified: dict[str, float | None] = {}
    measured: dict[str, dict[str, Any]] = {}
    for name, path in by_instance(inputs.responses).items():
        items, _ = read_items(replace(inputs, responses=[path], questions=()), ("file", "id"))
        metric = metric_names.get(name)
        measure = None if metric is None else measure_of(metric)
        if is_classification(metric):
            found = _classify(name, items, inputs)
            classified[name] = None if (value := rate(found)) is None else round(value, 2)
            notes += [f"{name}: no instance.json tells its metric; taken as classification"] if metric is None else []
        elif measure is not None:
            found = _extract(name, items, measure, inputs)
            measured[name] = {"metric": metric, **_measure(found, measure)}
        else:
            notes.append(f"{name}: the rule of its metric {metric!r} is not known here; left out")
            continue
        verdicts += found
    metrics = {"classification": classified, "regression": measured}
    return Scored(verdicts, metrics, notes, judged_by([], inputs.judge))


def is_classification(metric: str | None) -> bool:
    """Whether a judge decides an instance of this metric, or of none that is known."""
    return metric is None or measure_of(metric) == "classification"


def _metric_names(inputs: Inputs) -> dict[str, str]:
    beside = {name: path.parent / "instance.json" for name, path in by_instance(inputs.responses).items()}
    found: dict[str, str] = {}
    for path in [*inputs.questions, *(path for path in beside.values() if path.is_file())]:
        found |= read_instance(path)
    return found


def read_instance(path: Path) -> dict[str, str]:
    """The first metric of an `instance.json`, by the instance's name and by its data set's, where that is another.

    Raises:
        SpeechLLMError: it has no name or no metrics, or cannot be read.
    """
    try:
        instance = json.loads(path.read_text(encoding="utf-8"))
        metrics = instance["metrics"]
        names = [str(instance["name"]), str(instance.get("path") or instance["name"]).rpartition("/")[2]]
        return dict.fromkeys(names, str(metrics[0] if isinstance(metrics, list) else metrics))
    except (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise SpeechLLMError(f"{path}: is no instance.json with name and metrics ({error!r})") from error


def _response(item: Item) -> str | None:
    return item.answer.text("sllm_response", "response") if item.answer else None


def _label(item: Item) -> str:
    return str(item.question.need("label", (str, int, float)))


def _asked(item: Item, system: str, *, extract: bool) -> Question:
    instruction, response = item.question.text("instruction") or "", _response(item) or ""
    label = "Example of the format" if extract else "Right answer"
    user = f"Question: {instruction}\n{label}: {_label(item)}\nResponse: {response}"
    return Question(system, user, _label(item), response, instruction, extract=extract)


def _replies(items: Sequence[Item], system: str, inputs: Inputs, *, extract: bool) -> list[str | None]:
    if inputs.judge is None:
        return [None] * len(items)
    return inputs.judge([_asked(item, system, extract=extract) for item in items])


def _classify(instance: str, items: Sequence[Item], inputs: Inputs) -> list[Verdict]:
    verdicts = []
    for item, reply in zip(items, _replies(items, JUDGE, inputs, extract=False)):
        shown = {"instance": instance, "label": _label(item)}
        response, judgement = _response(item), read_verdict(reply, PATTERN)
        if response is None:
            verdicts.append(Verdict(id=item.id, verdict="missing", reason="no response", **shown))
            continue
        reason = judgement.reply if judgement.reply is not None else "needs a judge"
        verdicts.append(Verdict(id=item.id, verdict=judgement.status, reason=reason, response=response, **shown))
    return verdicts


def _extract(instance: str, items: Sequence[Item], measure: str, inputs: Inputs) -> list[Verdict]:
    verdicts = []
    for item, reply in zip(items, _replies(items, EXTRACT, inputs, extract=True)):
        shown: dict[str, Any] = {"instance": instance, "label": _label(item)}
        response = _response(item)
        if response is None:
            verdicts.append(Verdict(id=item.id, verdict="missing", reason="no response", **shown))
        elif reply is None:
            verdicts.append(
                Verdict(id=item.id, verdict="not judged", reason="needs a judge", response=response, **shown)
            )
        elif (value := _valid(reply, measure)) is None:
            verdicts.append(Verdict(id=item.id, verdict="n/a", reason=f"no value: {reply}", response=response, **shown))
        else:
            reason = f"value: {value}"
            verdicts.append(
                Verdict(id=item.id, verdict="measured", reason=reason, response=response, value=value, **shown)
            )
    return verdicts


def _valid(reply: str, measure: str) -> str | None:
    value = reply.strip()
    if value.strip("\"'.").upper() in {"", "N/A"}:
        return None
    if measure in NUMERIC:
        try:
            return value if math.isfinite(float(value)) else None
        except ValueError:
            return None
    return value


def _measure(verdicts: Sequence[Verdict], measure: str) -> dict[str, float | None]:
    """The metric of the valid rows; missing rows count as N/A."""
    if not verdicts or any(v.verdict == "not judged" for v in verdicts):
        return {"value": None, "N/A rate": None}
    rows = [v.model_extra or {} for v in verdicts if v.verdict == "measured"]
    value = MEASURES[measure]([row["label"] for row in rows], [row["value"] for row in rows])
    return {"value": value, "N/A rate": round(100 * (1 - len(rows) / len(verdicts)), 2)}


DYNAMIC_SUPERB_PHASE2 = Benchmark(
    "dynamic_superb_phase2",
    "Dynamic-SUPERB phase 2",
    "arXiv 2411.05361; judged, questions to the judge own",
    score,
    judged=True,
)
