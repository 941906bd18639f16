"""Replies from any OpenAI-compatible server: vLLM, llama.cpp, `transformers serve`, a hosted service."""

from __future__ import annotations

import asyncio
import base64
import io
import os
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import soundfile

from speechllm import progress
from speechllm.audio.io import SAMPLING_RATE
from speechllm.data.render import Message, flatten
from speechllm.errors import SpeechLLMError
from speechllm.models.processing import read_audio_part
from speechllm.models.reply import Reply, Sampling

RETRIES = 8
"""Of a request that fails, by the client itself: it waits .5 s, 1 s, ... 8 s, or as long as the server says."""


class ServedReplier:
    """An LLM behind a server; audio is sent along as WAV, for servers that take it.

    Args:
        url: base of the API, such as `http://localhost:8000/v1`.
        model: what the server calls the model.
        concurrency: requests under way at any time.
        retries: of a request that fails for the connection, a 429 or a 5xx.
    """

    def __init__(self, url: str, model: str, concurrency: int = 16, retries: int = RETRIES) -> None:
        try:
            import openai
        except ImportError as error:
            raise SpeechLLMError("replies from a server need its client; pip install speechllm[gen]") from error
        self._openai = openai
        self._url = url
        self._name = model
        self._concurrency = concurrency
        self._retries = retries

    def __call__(
        self, conversations: Sequence[Sequence[Message]], sampling: Sampling, description: str = "replies"
    ) -> list[Reply]:
        """See `Replier`.

        Raises:
            SpeechLLMError: the server is down, refuses, or does not answer as an OpenAI-compatible one does.
        """
        try:
            return asyncio.run(self._all(conversations, sampling, description))
        except BaseExceptionGroup as failures:  # of requests under way at once, the first tells enough
            raise failures.exceptions[0] from None

    async def _all(
        self, conversations: Sequence[Sequence[Message]], sampling: Sampling, description: str
    ) -> list[Reply]:
        # The client insists on a key; servers of one's own take any.
        key = os.environ.get("OPENAI_API_KEY", "none")
        free = asyncio.Semaphore(self._concurrency)
        with progress.task(description, len(conversations)) if description else nullcontext() as bar:
            async with self._openai.AsyncOpenAI(base_url=self._url, api_key=key, max_retries=self._retries) as client:

                async def one(messages: Sequence[Message], seed: int) -> Reply:
                    async with free:
                        reply = await self._one(client, messages, sampling, seed)
                    if bar:
                        bar.advance()
                    return reply

                # In a group, the first failure calls off the others.
                async with asyncio.TaskGroup() as group:
                    tasks = [
                        group.create_task(one(messages, sampling.seed + k)) for k, messages in enumerate(conversations)
                    ]
        return [task.result() for task in tasks]

    async def _one(self, client: Any, messages: Sequence[Message], sampling: Sampling, seed: int) -> Reply:
        plain = [{"role": m["role"], "content": _content(m["content"])} for m in messages]
        try:
            answer = await client.chat.completions.create(
                model=self._name,
                messages=plain,
                max_tokens=sampling.max_new_tokens,
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                seed=seed,
            )
            choice = answer.choices[0]
            return Reply(choice.message.content or "", "length" if choice.finish_reason == "length" else "stop")
        except self._openai.APIConnectionError as error:
            raise SpeechLLMError(f"{self._url}: the server does not answer ({error}); is it running?") from error
        except self._openai.APIStatusError as error:
            reason = str(error.message)[:200]
            raise SpeechLLMError(f"{self._url}: the server refuses ({error.status_code}: {reason})") from error
        except (self._openai.APIError, ValueError, AttributeError, IndexError, TypeError) as error:
            raise SpeechLLMError(
                f"{self._url}: the server does not answer as an OpenAI-compatible one does"
                f" ({type(error).__name__}: {str(error)[:200]})"
            ) from error


def _content(content: str | Sequence[dict[str, Any]]) -> str | list[dict[str, Any]]:
    """Text as one string; with audio, parts as the API has them."""
    if isinstance(content, str) or not any(part.get("type") == "audio" for part in content):
        return flatten(content)
    return [_audio(part) if part.get("type") == "audio" else {"type": "text", "text": part["text"]} for part in content]


def _audio(part: dict[str, Any]) -> dict[str, Any]:
    wav = io.BytesIO()
    soundfile.write(wav, read_audio_part(part), SAMPLING_RATE, format="WAV", subtype="PCM_16")
    data = base64.b64encode(wav.getvalue()).decode("ascii")
    return {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}
