"""Folders that `speechllm eval` wrote, read: the results, and each reply with its verdict."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from speechllm.data.jsonl import text_lines
from speechllm.errors import SpeechLLMError
from speechllm.eval.asking import MODEL, responses_path
from speechllm.eval.evaluation import ANSWERS, RESPONSES, RESULTS
from speechllm.eval.official_table import BENCHMARKS
from speechllm.eval.table import part


@dataclass(frozen=True)
class Run:
    """An evaluation folder that was read."""

    name: str
    folder: Path
    results: dict[str, Any]

    def task(self, name: str) -> dict[str, Any]:
        """What the results say of a task; nothing where it was not asked."""
        return dict(part(part(self.results, "tasks"), name))

    @cached_property
    def answers(self) -> dict[str, Any] | None:
        """What each reply was found to answer, task -> system -> values; None where the folder does not tell it."""
        path = self.folder / ANSWERS
        return _json(path) if path.exists() else None

    def judged_tasks(self) -> list[str]:
        """Tasks of accuracy whose replies the folder tells one by one."""
        if self.answers is None:
            return []
        tasks = part(self.results, "tasks")
        heard = [name for name in tasks if part(self.task(name), "systems").get(MODEL)]
        return [name for name in heard if self.task(name).get("metric") == "accuracy"]

    def judged(self, task: str) -> list[dict[str, Any]]:
        """The model's replies to one of `judged_tasks`: `id`, `task`, `prompt`, `label`, `audio`, `response`, and
        `answer` and `verdict`, which is `right`, `wrong` or `no answer`.

        Raises:
            SpeechLLMError: the file of replies is damaged, or the stored answers are of other ones.
        """
        path = responses_path(self.folder / RESPONSES, task, MODEL)
        said = part(self.answers or {}, task).get(MODEL)
        try:
            rows = [json.loads(line) for line in text_lines(path)]
            told = [{key: row[key] for key in ("id", "task", "prompt", "label", "audio", "response")} for row in rows]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SpeechLLMError(f"{path}: holds no replies ({error!r}); run speechllm eval again") from error
        if said is None or len(said) != len(told):
            raise SpeechLLMError(f"{self.folder / ANSWERS}: {task}: does not fit {path.name}; run speechllm eval again")
        return [{**row, "answer": a, "verdict": _verdict(a, row["label"])} for row, a in zip(told, said, strict=True)]


def _verdict(answer: str | None, label: str) -> str:
    if answer is None:
        return "no answer"
    return "right" if answer == label else "wrong"


def read_runs(folders: Sequence[Path]) -> list[Run]:
    """The evaluations in the order given, under their `distinct_names`.

    Raises:
        SpeechLLMError: a folder was given twice, or holds no readable results.json.
    """
    names = distinct_names(folders)
    return [Run(name, folder, _results(folder)) for name, folder in zip(names, folders, strict=True)]


def distinct_names(folders: Sequence[Path]) -> list[str]:
    """Of each folder the shortest end of its path that no other has.

    Raises:
        SpeechLLMError: a folder was given twice.
    """
    full = [folder.resolve() for folder in folders]
    for at, folder in enumerate(full):
        if folder in full[:at]:
            raise SpeechLLMError(f"{folders[at]}: was named twice; name each folder once")
    deepest = max((len(folder.parts) for folder in full), default=1)
    for depth in range(1, deepest + 1):
        names = ["/".join(folder.parts[-depth:]) for folder in full]
        if len(set(names)) == len(names):
            break
    return names


def _results(folder: Path) -> dict[str, Any]:
    value = _json(folder / RESULTS)
    if not part(value, "tasks") and not part(value, BENCHMARKS):
        raise SpeechLLMError(f"{folder / RESULTS}: tasks: no task was scored; run speechllm eval with this folder")
    return value


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SpeechLLMError(f"{path}: does not exist; name a folder that speechllm eval --out wrote") from error
    except (OSError, ValueError) as error:
        raise SpeechLLMError(f"{path}: cannot be read ({error}); run speechllm eval again") from error
    if not isinstance(value, dict):
        raise SpeechLLMError(f"{path}: is no JSON object; run speechllm eval again")
    return value
