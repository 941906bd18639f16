"""AIR-Bench's foundation part as published, read into tasks."""

from __future__ import annotations

from pathlib import Path

from speechllm.data.prompts import Prompt
from speechllm.errors import SpeechLLMError
from speechllm.eval.benchmarks.air_bench import AIR_BENCH, ID, LETTERS, letter, right_letter, task_of
from speechllm.eval.benchmarks.responses import Row, by_id, read_rows
from speechllm.eval.folders import SYSTEM, clip_at, utterance_of
from speechllm.eval.tasks import Official, Question, Task

META = "Foundation_meta.json"

LEAD = "Answer the question below with the letter of the option that fits best, A, B, C or D, and nothing else."
"""This package's words; the authors' script has a sentence of its own to the same effect."""

GROUNDING = "Audio_Grounding"
"""The task whose rows say `.wav` where the clips are FLAC."""


def air_bench(folder: Path) -> list[Task]:
    """AIR-Bench foundation (arXiv 2402.07729): `META`, here or in `Foundation/`, clips in `<task>_<corpus>/` beside.

    A task for each such folder that is there: rows of corpora that were not downloaded are not asked. Layout and prompt
    are those of `Inference_Foundation.py` in https://github.com/OFA-Sys/AIR-Bench: a line that asks for one letter (in
    the words of `LEAD`, not the authors'), the question, and four options, of which one that a row lacks reads `None`.
    System prompt and length of a reply are each model's own there; the system prompt is this package's here. Replies
    are read by the benchmark's rule, so the accuracy of a task is the official one with `failures wrong`.

    Raises:
        SpeechLLMError: the file or all folders are missing, or a row lacks a field, its answer among the choices or its
            clip, or is double; names file and line.
    """
    path = next((path for path in (Path(folder) / META, Path(folder) / "Foundation" / META) if path.is_file()), None)
    if path is None:
        raise SpeechLLMError(f"{folder}: holds no {META} of AIR-Bench's; unpack its foundation part there")
    rows = read_rows(path)
    by_id(rows, (ID,))
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(task_of(row), []).append(row)
    there = {name: found for name, found in groups.items() if (path.parent / name).is_dir()}
    if not there:
        raise SpeechLLMError(
            f"{path.parent}: holds no folder of clips, such as {next(iter(groups))}; unpack them there"
        )
    return [_task(name, found, path.parent / name) for name, found in there.items()]


def _task(name: str, rows: list[Row], clips: Path) -> Task:
    return Task(
        f"{AIR_BENCH.name}.{name}",
        tuple(_question(row, name, clips) for row in rows),
        lambda question, reply: letter(reply),
        rule="the option letter, first character or last but one",
        official=Official(AIR_BENCH.name, f"{name}.jsonl"),
    )


def _question(row: Row, name: str, clips: Path) -> Question:
    stated, asked = row.need("path", str), row.need("question", str)
    file = f"{stated[:-3]}flac" if row.data["task_name"] == GROUNDING else stated
    clip = utterance_of(clip_at(clips, [file], row.where), f"{name}/{file}", {})
    options = [f"{sign}. {row.text(f'choice_{sign.lower()}')}" for sign in LETTERS]
    prompt = Prompt(
        id=row.text("uniq_id") or clip.id, kind="options", system=SYSTEM, text="\n".join([LEAD, asked, *options])
    )
    return Question((clip,), prompt, right_letter(row), tuple(LETTERS), row=row.data)
