"""IFEval's official file, read into a task that is put to a speech LLM without any audio."""

from __future__ import annotations

from pathlib import Path

from speechllm.data.prompts import Prompt
from speechllm.errors import SpeechLLMError
from speechllm.eval.benchmarks.checkers import Checkers, Instructions, load_checkers
from speechllm.eval.benchmarks.ifeval import IFEVAL
from speechllm.eval.benchmarks.responses import Row, by_id, read_rows
from speechllm.eval.instruction_form import FOLLOWED
from speechllm.eval.tasks import Official, Question, Task, whole_reply

FILE = "input_data.jsonl"
"""As the benchmark calls its prompts."""


def ifeval(folder: Path) -> list[Task]:
    """IFEval (arXiv 2311.07911): rows of `key, prompt, instruction_id_list, kwargs` in `FILE`, here or in `data/`.

    The file lies in https://github.com/google-research/google-research/tree/master/instruction_following_eval. Prompts
    are the user's turn as they stand, without audio and without a system prompt. The model answers as training left
    it; the ceiling is the untouched LLM, which is what training started from. Only the benchmark's scorer scores,
    since nothing is heard here. The published responses do not tell how many tokens a reply may have.

    Raises:
        SpeechLLMError: the file is not there, or a row lacks a field, is double or cannot be checked; names the line.
    """
    path = next((path for path in (Path(folder) / FILE, Path(folder) / "data" / FILE) if path.is_file()), None)
    if path is None:
        raise SpeechLLMError(f"{folder}: holds no {FILE} of IFEval's; copy it there")
    rows, checkers = read_rows(path), load_checkers()
    by_id(rows, ("prompt",))  # the scorer tells responses apart by it
    return [
        Task(
            IFEVAL.name,
            tuple(_question(row, checkers) for row in rows),
            whole_reply,
            rule="IFEval's instructions, strict and loose",
            official=Official(IFEVAL.name, "input_response_data.jsonl", alone=True),
        )
    ]


def _question(row: Row, checkers: Checkers) -> Question:
    text, key = row.need("prompt", str), row.need("key", (int, str))
    Instructions(row, checkers)  # a row that cannot be scored is found before anything is asked
    return Question((), Prompt(id=str(key), kind=IFEVAL.name, text=text), FOLLOWED, row=row.data)
