"""Puts the questions of tasks to systems and keeps every reply on disk, so that a kill costs a batch at most."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from speechllm import progress
from speechllm.data.jsonl import append_synced, whole_lines
from speechllm.data.render import Message
from speechllm.errors import SpeechLLMError
from speechllm.eval.tasks import Question, Task
from speechllm.models.reply import Replier, Reply, Sampling

MODEL, CEILING, CASCADE, BARE = SYSTEMS = ("model", "ceiling", "cascade", "nothing")
"""What is compared on the same questions: who hears; the text LLM with the true description; with the recogniser's
words; with the question alone."""

BATCH = 128
"""Questions between two writes; more than a replier answers at once, so that few of its rows stand empty."""


def is_asked(system: str, task: Task) -> bool:
    """Whether it makes sense to put a task to a system.

    Without audio, all but the model are the untouched LLM alike, which is asked once then, as the ceiling. Where the
    audio is the question, there is none that could be asked without it.
    """
    if not any(question.utterances for question in task.questions):
        return system in (MODEL, CEILING)
    return system != BARE or not all(question.spoken for question in task.questions)


def asked_as(
    system: str, attributes: Sequence[str] | None = None, transcript: bool = False
) -> Callable[[Question], list[Message]]:
    """How a system is asked a question."""
    ways: dict[str, Callable[[Question], list[Message]]] = {
        MODEL: lambda question: question.heard(transcript),
        CEILING: lambda question: question.read(attributes),
        CASCADE: lambda question: question.transcribed(),
        BARE: lambda question: question.bare(),
    }
    return ways[system]


def ask(
    tasks: Sequence[Task],
    system: str,
    conversation: Callable[[Question], list[Message]],
    replier: Replier,
    sampling: Sampling,
    folder: Path,
) -> list[list[Reply]]:
    """The replies to all questions of each task, in order; those that `folder` holds already are not asked for again.

    Writes `folder`/TASK.SYSTEM.jsonl, a line a question with all that scoring it again needs. Batches go across tasks,
    for small ones would leave the hardware idle. Equal conversations are answered once.

    Raises:
        SpeechLLMError: `folder` holds replies to other questions.
    """
    paths = [responses_path(folder, task.name, system) for task in tasks]
    folder.mkdir(parents=True, exist_ok=True)
    replies = [_read(path, task) for path, task in zip(paths, tasks, strict=True)]
    where = _in_turn(tasks)
    known: dict[str, Reply] = {}
    with progress.task(f"ask {system}", len(where)) as bar:
        for at in range(0, len(where), BATCH):
            batch = where[at : at + BATCH]
            said = [conversation(tasks[number].questions[k]) for number, k in batch]
            if any(k >= len(replies[number]) for number, k in batch):
                # The whole batch, also where a part was answered before a kill: others in it would round differently.
                new = {str(c): c for c in said if str(c) not in known}
                if new:
                    known |= dict(zip(new, replier(list(new.values()), sampling, ""), strict=True))
                for (number, k), c in zip(batch, said, strict=True):
                    if k >= len(replies[number]):
                        replies[number].append(known[str(c)])
                _append(paths, tasks, system, replies, batch)
            else:
                known |= {str(c): replies[number][k] for (number, k), c in zip(batch, said, strict=True)}
            bar.advance(len(batch))
    return replies


def _in_turn(tasks: Sequence[Task]) -> list[tuple[int, int]]:
    """(task, question), the first of each task, then the second, and so on.

    Tasks ask about the same clips in the same order, mostly, so a batch has all questions of a clip, encoded once.
    """
    numbers = range(len(tasks))
    longest = max((len(task.questions) for task in tasks), default=0)
    return [(number, k) for k in range(longest) for number in numbers if k < len(tasks[number].questions)]


def _append(
    paths: Sequence[Path],
    tasks: Sequence[Task],
    system: str,
    replies: Sequence[Sequence[Reply]],
    batch: Sequence[tuple[int, int]],
) -> None:
    """Writes what of a batch of (task, question) is not on disk yet."""
    for number in dict.fromkeys(number for number, _ in batch):
        task, path = tasks[number], paths[number]
        written = len(whole_lines(path))
        asked = [k for n, k in batch if n == number and k >= written]
        if asked:
            with path.open("ab") as file:
                append_synced(
                    file, "\n".join(_line(task, system, task.questions[k], replies[number][k]) for k in asked)
                )


def responses_path(folder: Path, task: str, system: str) -> Path:
    """Where the replies of a system to a task stand."""
    return folder / f"{task.replace('/', '.')}.{system}.jsonl"


def _line(task: Task, system: str, question: Question, reply: Reply) -> str:
    row: dict[str, Any] = {
        "id": question.id,
        "task": task.name,
        "version": task.version,
        "system": system,
        "prompt": question.prompt.text,
        "label": question.truth,
        "choices": list(question.choices),
        "audio": [u.audio for u in question.utterances],
        "response": reply.text,
        "finish_reason": reply.finish_reason,
    }
    return json.dumps(row, ensure_ascii=False)


def _read(path: Path, task: Task) -> list[Reply]:
    replies = []
    for number, line in enumerate(whole_lines(path), 1):
        try:
            row = json.loads(line)
            question = task.questions[number - 1]
            same = (row["id"], row["prompt"], row["version"]) == (question.id, question.prompt.text, task.version)
            reply = Reply(row["response"], row["finish_reason"])
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise SpeechLLMError(
                f"{path}:{number}: is no reply to task {task.name} ({error!r}); name another --out"
            ) from error
        if not same:
            raise SpeechLLMError(f"{path}:{number}: is a reply to another question; name another --out or delete it")
        replies.append(reply)
    return replies
