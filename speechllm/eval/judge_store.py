"""A judge whose replies are on disk as soon as they are there: killed and started again, it asks only for the rest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from pydantic import BaseModel, ValidationError

from speechllm import progress
from speechllm.errors import SpeechLLMError
from speechllm.eval.judges import Judge, Question

CHUNK = 64
"""Questions asked at once; so many replies at most are lost when a run is killed."""


class _Stored(BaseModel):
    key: str
    judge: str
    reply: str | None


class StoredJudge:
    """Another judge, and a file of its replies (JSON lines).

    Args:
        judge: asked for what the file lacks.
        path: the file, appended to; replies of a judge of another name in it are not used.
    """

    def __init__(self, judge: Judge, path: Path) -> None:
        self._judge = judge
        self._path = path

    @property
    def name(self) -> str:
        """See `Judge`."""
        return self._judge.name

    def __call__(self, questions: Sequence[Question]) -> list[str | None]:
        """See `Judge`; each different question is asked once."""
        keys = [_key(question) for question in questions]
        known = self._read()
        asked = {key: question for key, question in zip(keys, questions) if key not in known}
        if asked:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with progress.task("judge", len(asked)) as bar, self._open() as out:
                for chunk in _chunks(list(asked)):
                    replies = self._judge([asked[key] for key in chunk])
                    for key, reply in zip(chunk, replies, strict=True):
                        known[key] = reply
                        out.write(_Stored(key=key, judge=self.name, reply=reply).model_dump_json() + "\n")
                    out.flush()
                    bar.advance(len(chunk))
        return [known[key] for key in keys]

    def _open(self) -> IO[str]:
        """The file, begun on a new line if a kill cut its last one short."""
        try:
            cut = self._path.is_file() and self._path.stat().st_size > 0 and self._path.read_bytes()[-1:] != b"\n"
            out = self._path.open("a", encoding="utf-8")
            out.write("\n" if cut else "")
            return out
        except OSError as error:
            raise SpeechLLMError(f"{self._path}: cannot be written ({error.strerror}); pick another folder") from error

    def _read(self) -> dict[str, str | None]:
        """What the file knows from this judge; a line that a kill cut short is passed over."""
        if not self._path.is_file():
            return {}
        known = {}
        for line in self._path.read_text(encoding="utf-8").split("\n"):
            try:
                stored = _Stored.model_validate_json(line)
            except ValidationError:
                continue
            if stored.judge == self.name:
                known[stored.key] = stored.reply
        return known


def _key(question: Question) -> str:
    """Of all that a judge sees."""
    seen = [question.system, question.user, question.label, question.response, question.instruction, question.replies]
    return hashlib.sha256(json.dumps([*seen, question.extract]).encode()).hexdigest()


def _chunks(keys: list[str]) -> list[list[str]]:
    return [keys[at : at + CHUNK] for at in range(0, len(keys), CHUNK)]
