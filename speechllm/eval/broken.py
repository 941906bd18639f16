"""Clips that cannot be decoded: systems that hear leave the questions about them unanswered, which counts as wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from speechllm.data.manifest import Utterance
from speechllm.data.readable import undecodable
from speechllm.data.recipe import report_skipped
from speechllm.data.render import Message, audio_parts
from speechllm.errors import SpeechLLMError
from speechllm.eval.tasks import Task
from speechllm.models.reply import Replier, Reply, Sampling
from speechllm.targets.records import TargetRecord

Clip = tuple[str, float | None, float | None]
"""File, and the segment of it (s)."""


def clip_of(utterance: Utterance) -> Clip:
    """What tells a clip from all others."""
    return utterance.audio, utterance.start, utterance.end


def broken_clips(tasks: Sequence[Task]) -> dict[Clip, str]:
    """What is wrong with each clip that cannot be decoded; they are reported.

    Raises:
        SpeechLLMError: none can be.
    """
    clips = {clip_of(u): u for task in tasks for question in task.questions for u in question.utterances}
    # Under an id of their own: two tasks may call two clips the same.
    numbered = {str(k): clip for k, clip in enumerate(clips)}
    complaints = undecodable([clips[clip].model_copy(update={"id": k}) for k, clip in numbered.items()])
    broken = {numbered[k]: complaint.removeprefix(f"{k!r}: ") for k, complaint in complaints.items()}
    if broken and len(broken) == len(clips):
        raise SpeechLLMError(f"none of the {len(clips)} clips can be decoded; the first: {next(iter(broken.values()))}")
    report_skipped(list(broken.values()))
    return broken


def told_broken(tasks: Sequence[Task], broken: Mapping[Clip, str]) -> dict[str, Any]:
    """For the results, where there are any: `broken`, with `clips`, `questions` about them, and `complaints`."""
    if not broken:
        return {}
    about = [q for task in tasks for q in task.questions if any(clip_of(u) in broken for u in q.utterances)]
    return {"broken": {"clips": len(broken), "questions": len(about), "complaints": list(broken.values())}}


def decodable(
    utterances: Sequence[Utterance], records: Sequence[TargetRecord]
) -> tuple[Sequence[Utterance], Sequence[TargetRecord]]:
    """The utterances, and the records about those of them that can be decoded; the others are reported."""
    asked = {record.utterance_id for record in records}
    broken = undecodable([u for u in utterances if u.id in asked])
    report_skipped(list(broken.values()))
    return utterances, [record for record in records if record.utterance_id not in broken]


class UnlessBroken:
    """A replier that gives an empty reply where a clip cannot be decoded."""

    def __init__(self, replier: Replier, broken: Mapping[Clip, str]) -> None:
        self._replier = replier
        self._broken = broken

    def __call__(
        self, conversations: Sequence[Sequence[Message]], sampling: Sampling, description: str = "replies"
    ) -> list[Reply]:
        """See `Replier`."""
        whole = [c for c in conversations if not self._is_broken(c)]
        replies = iter(self._replier(whole, sampling, description) if whole else [])
        return [Reply("", "stop") if self._is_broken(c) else next(replies) for c in conversations]

    def _is_broken(self, conversation: Sequence[Message]) -> bool:
        parts = audio_parts(conversation)
        return any((part.get("path"), part.get("start"), part.get("end")) in self._broken for part in parts)
