"""Replies from a fleet of workers under Ray, each with a copy of the LLM; on one machine or a cluster.

Ray's actors and not Ray Data: a generation job hands over its work batch by batch, and Ray Data would load the LLM
again for each of them (its actors live as long as one dataset is executed).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from speechllm import progress
from speechllm.data.render import Message
from speechllm.errors import SpeechLLMError
from speechllm.models.reply import Replier, Reply, Sampling

RESTARTS = 2
"""Of a worker that dies."""

CHUNK = 64
"""Conversations that a worker takes at a time."""


class FleetReplier:
    """A text LLM in several Ray workers; conversations hold no audio.

    Joins the cluster that `RAY_ADDRESS` names; without it, workers run on this machine.

    Args:
        make: loads the LLM; called once in every worker.
        workers: how many.
        gpus: that each worker takes.
    """

    def __init__(self, make: Callable[[], Replier], workers: int, gpus: float = 0.0) -> None:
        try:
            import ray
            from ray.util import ActorPool
        except ImportError as error:
            raise SpeechLLMError("a fleet of workers needs Ray; pip install speechllm[ray]") from error
        self._ray = ray
        if not ray.is_initialized():
            ray.init(log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False)
        # A worker that dies is started again, and what it was at is done again.
        worker = ray.remote(num_cpus=1, num_gpus=gpus, max_restarts=RESTARTS, max_task_retries=RESTARTS)(_Worker)
        self._pool: Any = ActorPool([worker.remote(make) for _ in range(workers)])

    def __call__(
        self, conversations: Sequence[Sequence[Message]], sampling: Sampling, description: str = "replies"
    ) -> list[Reply]:
        """See `Replier`.

        Raises:
            SpeechLLMError: a worker's own, or a worker died again and again.
        """
        chunks = [
            (list(conversations[at : at + CHUNK]), replace(sampling, seed=sampling.seed + at))
            for at in range(0, len(conversations), CHUNK)
        ]
        replies: list[Reply] = []
        with progress.task(description or "replies", len(conversations)) as bar:
            try:
                for written in self._pool.map(lambda actor, chunk: actor.write.remote(*chunk), chunks):
                    replies += written
                    bar.advance(len(written))
            except self._ray.exceptions.RayTaskError as error:
                if isinstance(error.cause, SpeechLLMError):
                    raise SpeechLLMError(str(error.cause)) from error
                raise
            except self._ray.exceptions.RayActorError as error:
                reason = str(error).splitlines()[0]
                raise SpeechLLMError(f"a Ray worker died, and died again when it was restarted ({reason})") from error
        return replies


class _Worker:
    """Runs in a process of its own, wherever Ray puts it."""

    def __init__(self, make: Callable[[], Replier]) -> None:
        self._replier = make()

    def write(self, conversations: Sequence[Sequence[Message]], sampling: Sampling) -> list[Reply]:
        return self._replier(conversations, sampling, "")
