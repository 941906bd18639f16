"""Speech-IFEval's own folder, read into tasks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from speechllm.data.prompts import Prompt
from speechllm.errors import SpeechLLMError
from speechllm.eval.benchmarks.checkers import Instructions
from speechllm.eval.benchmarks.departures import speech_checkers
from speechllm.eval.benchmarks.responses import Row, read_rows
from speechllm.eval.benchmarks.speech_ifeval import SPEECH_IFEVAL
from speechllm.eval.folders import utterance_of
from speechllm.eval.instruction_form import FOLLOWED
from speechllm.eval.tasks import Official, Question, Task, whole_reply

PARTS = ("closed_ended_questions", "creative_writing", "chain-of-thought")
"""The benchmark's files, each a task of that name."""

SYSTEM = "Follow the given instructions."
"""The system prompt that the authors' scripts give to speech LLM and text LLM alike."""

JUDGED = "cot"
"""The `metric` of rows that no rule decides."""


def speech_ifeval(folder: Path) -> list[Task]:
    """Speech-IFEval (arXiv 2505.19037) as published: `eval_data/<part>.jsonl`, audio in `audios/`, in `data/` or here.

    A task for each of `PARTS` that is there; `closed_ended_questions-woprompt.jsonl`, which asks for no form, is not
    read. Asked as https://github.com/kehanlu/Speech-IFEval does (`examples/eval_desta2.py`): the instruction under
    `SYSTEM`. The ceiling is the authors' reference system, the text LLM that is told "Speech Input: ", the row's
    `textual_audio` and the instruction. They answer greedily with up to 2,048 tokens. Where in the message a speech
    LLM that takes audio and text in one turn has its audio is not said; here it comes first.

    Raises:
        SpeechLLMError: no part is there, or a row lacks a field or its audio; names file and line.
    """
    root = next((place for place in (Path(folder), Path(folder) / "data") if (place / "eval_data").is_dir()), None)
    found = [root / "eval_data" / f"{part}.jsonl" for part in PARTS] if root is not None else []
    there = [path for path in found if path.is_file()]
    if root is None or not there:
        files = ", ".join(f"{part}.jsonl" for part in PARTS)
        raise SpeechLLMError(f"{folder}: holds no eval_data/ with a file of Speech-IFEval's ({files})")
    return [task for path in there for task in _tasks(path, root / "audios")]


def _tasks(path: Path, audios: Path) -> list[Task]:
    rows = read_rows(path)
    judged = [row for row in rows if row.need("metric", str) == JUDGED]
    checked = [row for row in rows if row.data["metric"] != JUDGED]
    if judged and checked:
        raise SpeechLLMError(f"{judged[0].where}: metric is {JUDGED!r} among rows that rules decide; keep them apart")
    return [_task(path, rows, audios, alone=bool(judged))]


def _task(path: Path, rows: Sequence[Row], audios: Path, *, alone: bool) -> Task:
    official = Official(SPEECH_IFEVAL.name, path.name, alone=alone)
    name, questions = f"speech_ifeval.{path.stem}", tuple(_question(row, audios, path.stem) for row in rows)
    if alone:
        return Task(name, questions, whole_reply, rule="judged: does the reply reason?", official=official)
    return Task(
        name,
        questions,
        lambda question, reply: FOLLOWED if follows(question, reply) else None,
        follows=follows,
        rule="IFEval's instructions, strict, with the departures of Speech-IFEval",
        official=official,
    )


def follows(question: Question, reply: str) -> bool:
    """Whether a reply keeps to all instructions of the question's row."""
    return all(Instructions(Row(dict(question.row), question.id), speech_checkers()).strict(reply))


def _question(row: Row, audios: Path, part: str) -> Question:
    audio, instruction, heard = (row.need(key, str) for key in ("audio_filepath", "instruction", "textual_audio"))
    path = audios / audio
    if not path.is_file():
        raise SpeechLLMError(
            f"{row.where}: its audio {audio} is not in {audios}; unpack the benchmark's audios.tar there"
        )
    clip = utterance_of(path, audio, {})
    if row.data["metric"] != JUDGED:
        Instructions(row, speech_checkers())  # a row that cannot be scored is found before anything is asked
    prompt = Prompt(id=row.text("id", "key") or audio, kind=part, text=instruction, system=SYSTEM)
    return Question((clip,), prompt, FOLLOWED, row=row.data, reading=f"Speech Input: {heard}\n\n{instruction}")
