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

BATCH = 64
"""Questions between two writes."""


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
    task: Task,
    system: str,
    conversation: Callable[[Question], list[Message]],
    replier: Replier,
    sampling: Sampling,
    folder: Path,
) -> list[Reply]:
    """The replies to all questions of a task, in order; those that `folder` holds already are not asked for again.

    Writes `folder`/TASK.SYSTEM.jsonl, a line a question with all that scoring it again needs. Equal conversations are
    answered once.

    Raises:
        SpeechLLMError: `folder` holds replies to other questions.
    """
    path = responses_path(folder, task.name, system)
    path.parent.mkdir(parents=True, exist_ok=True)
    replies = _read(path, task)
    cache: dict[str, Reply] = {}
    total = len(task.questions)
    with progress.task(f"{task.name}: ask {system}", total) as bar, path.open("ab") as file:
        bar.advance(len(replies))
        for at in range(len(replies), total, BATCH):
            batch = task.questions[at : at + BATCH]
            conversations = [conversation(question) for question in batch]
            new = {str(c): c for c in conversations if str(c) not in cache}
            if new:
                cache |= dict(zip(new, replier(list(new.values()), sampling, ""), strict=True))
            fresh = [cache[str(c)] for c in conversations]
            lines = [_line(task, system, q, r) for q, r in zip(batch, fresh, strict=True)]
            append_synced(file, "\n".join(lines))
            replies += fresh
            bar.advance(len(batch))
    return replies


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
