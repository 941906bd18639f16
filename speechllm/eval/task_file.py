"""A task of the user's, as a TOML file: about a labelled manifest, or about rows of any JSON-lines file or dataset."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import field, replace
from pathlib import Path
from typing import Any

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from speechllm.config import load_toml
from speechllm.data.manifest import read_manifest
from speechllm.data.prompts import Prompt
from speechllm.errors import SpeechLLMError
from speechllm.eval.benchmarks.options import named
from speechllm.eval.folders import lettered_options
from speechllm.eval.free_rows import FreeRow, free_rows
from speechllm.eval.tasks import Metric, Question, Task, named_choice, whole_reply
from speechllm.inheritance import read_toml

_FORBID = ConfigDict(extra="forbid")


@dataclass(frozen=True, config=_FORBID, kw_only=True)
class OwnTask:
    """What any task of the user's says.

    Attributes:
        name: of the task.
        metric: accuracy; wer (characters where a language has no spaces); bleu or chrf, of translations; slot_f1, of
            labels and replies that are JSON objects; pearson, of numbers.
        system: system prompt.
        version: changes when older scores can no longer be compared.
    """

    name: str
    metric: Metric = "accuracy"
    system: str | None = None
    version: str = "1"


@dataclass(frozen=True, config=_FORBID, kw_only=True)
class TaskFile(OwnTask):
    """A task about a manifest.

    Attributes:
        manifest: utterances, relative to the file.
        prompt: the question.
        label: the attribute that holds the true answer, or `text`.
        choices: answers that count; none for the metrics of texts and numbers.
    """

    manifest: Path
    prompt: str
    label: str
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, config=_FORBID, kw_only=True)
class RowsFile(OwnTask):
    """A task about rows.

    Attributes:
        rows: a JSON-lines file or a folder that `datasets` reads, relative to the file; or a dataset's name on the
            Hugging Face Hub.
        config: of the dataset, where it has several configurations.
        split: of the dataset, where it has several.
        audio: column of the clip: its path (relative to the JSON-lines file or the folder), or the sound itself.
        prompt: the question, where it is the same for all rows.
        question: column of the question, where each row has its own; `question` if neither is named.
        answer: column of the true answer.
        choices: answers that count, for all rows, or the column that lists them. Where a question does not name those
            of its column, they are put below it as `(a) ...`.
        text: column of the words spoken, where there is one: the ceiling is told them.
        language: code of what is spoken in all rows.
        attributes: attribute -> column, of what else the ceiling is told.
    """

    rows: str
    config: str | None = None
    split: str | None = None
    audio: str = "audio"
    prompt: str | None = None
    question: str | None = None
    answer: str = "answer"
    choices: str | tuple[str, ...] = ()
    text: str | None = None
    language: str | None = None
    attributes: dict[str, str] = field(default_factory=dict)


def read_task(path: Path) -> Task:
    """A task from a TOML file, a `RowsFile` where it names `rows`, else a `TaskFile`.

    Raises:
        SpeechLLMError: a key is unknown or missing, no utterance of the manifest has the label, or a row lacks what a
            column is to hold.
    """
    if "rows" not in read_toml(path):
        about = load_toml(path, TaskFile)
        return _task(about, _about_manifest(about, path), bool(about.choices), f"label {about.label}")
    told = load_toml(path, RowsFile)
    if told.prompt is not None and told.question is not None:
        raise SpeechLLMError(f"{path}: gives both prompt, for all rows, and question, the column; take one out")
    questions = [_about_row(told, row) for row in free_rows(told.rows, path.parent, told.config, told.split)]
    if not questions:
        raise SpeechLLMError(f"{path}: rows: {told.rows} holds no rows")
    task = _task(told, questions, bool(told.choices), f"column {told.answer}")
    return replace(task, described=tuple(told.attributes))


def _task(told: OwnTask, questions: list[Question], choices: bool, rule: str) -> Task:
    extract = named_choice if choices else whole_reply
    return Task(told.name, tuple(questions), extract, told.metric, told.version, rule=rule)


def _about_manifest(told: TaskFile, path: Path) -> list[Question]:
    prompt = Prompt(id=told.name, kind=told.label, text=told.prompt, system=told.system)
    questions = []
    for u in read_manifest(path.parent / told.manifest):
        value = u.text if told.label == "text" else u.value(told.label)
        if value is not None:
            where = f"{path}: label: {told.label} of {u.id!r}"
            truth = _chosen(told.choices, _truth(told, value, where), where)
            questions.append(Question((u,), prompt, truth, told.choices))
    if not questions:
        raise SpeechLLMError(f"{path}: label: no utterance of {told.manifest} has {told.label!r}")
    return questions


def _about_row(told: RowsFile, row: FreeRow) -> Question:
    clip = row.utterance(told.audio, told.text, told.language, told.attributes)
    text = told.prompt or row.text("question", told.question or "question")
    where = f"{row.where}: answer"
    choices = row.texts("choices", told.choices) if isinstance(told.choices, str) else told.choices
    truth = _chosen(choices, _truth(told, row.value("answer", told.answer), where), where)
    if isinstance(told.choices, str) and len(named(text, choices)) < len(choices):
        text = f"{text}\n{lettered_options(choices)}"
    prompt = Prompt(id=told.name, kind=told.name, text=text, system=told.system)
    return Question((clip,), prompt, truth, choices)


def _chosen(choices: Sequence[str], truth: str, where: str) -> str:
    """The true answer as the choices, if there are any, spell it.

    Raises:
        SpeechLLMError: it is none of them, so that no reply could be right.
    """
    found = next((choice for choice in choices if choice.lower() == truth.lower()), None if choices else truth)
    if found is None:
        raise SpeechLLMError(f"{where}: {truth!r} is none of the choices ({', '.join(choices)})")
    return found


def _truth(told: OwnTask, value: Any, where: str) -> str:
    """The true answer as text.

    Raises:
        SpeechLLMError: it is none that the metric can be taken of.
    """
    if isinstance(value, dict) and told.metric == "slot_f1":
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise SpeechLLMError(f"{where}: {value!r} is neither text nor a number; write the answer as one")
    if told.metric == "pearson":
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise SpeechLLMError(f"{where}: {value!r} is no number, of which the metric pearson is")
    return str(value)
