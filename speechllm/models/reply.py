"""Conversations in, replies out: the one place where text is generated, with or without audio in the prompt."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from transformers import set_seed

from speechllm import progress
from speechllm.data.render import Message, PromptRenderer
from speechllm.errors import SpeechLLMError
from speechllm.models.clips import Clips
from speechllm.models.decoding import Decoder, supports_fast_decoding

FinishReason = Literal["stop", "length"]

Chunks = list[tuple[list[int], list[Sequence[Message]]]]
"""Conversations that go together, and their numbers."""


@dataclass(frozen=True)
class Reply:
    """What a model wrote, and whether it ended its turn (`stop`) or was cut short (`length`)."""

    text: str
    finish_reason: FinishReason


@dataclass(frozen=True)
class Sampling:
    """How replies are drawn; temperature 0 is greedy."""

    max_new_tokens: int = 64
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise SpeechLLMError(f"max_new_tokens {self.max_new_tokens}: give at least 1")
        if self.temperature < 0:
            raise SpeechLLMError(f"temperature {self.temperature}: give 0 (greedy) or more")
        if not 0 < self.top_p <= 1:
            raise SpeechLLMError(f"top_p {self.top_p}: give more than 0 and at most 1")

    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of transformers' `generate`."""
        if self.temperature == 0:
            return {"max_new_tokens": self.max_new_tokens, "do_sample": False, "temperature": None, "top_p": None}
        chosen = {"do_sample": True, "temperature": self.temperature, "top_p": self.top_p, "top_k": 0}
        return {"max_new_tokens": self.max_new_tokens, **chosen}


class Replier(Protocol):
    """Anything that answers conversations, in order."""

    def __call__(
        self, conversations: Sequence[Sequence[Message]], sampling: Sampling, description: str = ...
    ) -> list[Reply]:
        """Replies to all conversations; `description` names the work in the progress display, empty shows none."""
        ...


class TextReplier:
    """A text LLM; conversations hold no audio.

    Args:
        language_model: a causal LLM.
        tokenizer: its tokenizer.
        batch_size: replies in the making at any time.
        plain: write with `model.generate` alone: slower, and rounded as any other model's replies are, for comparisons.
    """

    def __init__(self, language_model: Any, tokenizer: Any, batch_size: int = 64, *, plain: bool = False) -> None:
        self._plain = plain
        self.model = language_model
        self.tokenizer = tokenizer
        self.renderer = PromptRenderer(tokenizer)
        self._batch_size = batch_size
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token

    def __call__(
        self, conversations: Sequence[Sequence[Message]], sampling: Sampling, description: str = "replies"
    ) -> list[Reply]:
        """See `Replier`."""
        return self.complete([self.renderer.prompt(messages) for messages in conversations], sampling, description)

    def complete(self, texts: Sequence[str], sampling: Sampling, description: str = "replies") -> list[Reply]:
        """What the LLM writes after rendered strings.

        Raises:
            SpeechLLMError: a prompt and the longest reply do not fit the LLM's context.
        """
        if not texts:
            return []
        ids: list[list[int]] = self.tokenizer(list(texts), add_special_tokens=False)["input_ids"]
        _check_context(self.model, ids, sampling)
        stops = stop_ids(self.model, self.tokenizer, self.renderer)
        set_seed(sampling.seed)
        with progress.task(description, len(ids)) if description else nullcontext() as bar:
            finished = bar.advance if bar else lambda n: None
            if not self._plain and supports_fast_decoding(self.model):
                drawn = {"temperature": sampling.temperature, "top_p": sampling.top_p}
                decode = Decoder(self.model, stops, self._batch_size)
                written = decode(ids, max_new_tokens=sampling.max_new_tokens, finished=finished, **drawn)
            else:
                written = self._generate(ids, sampling, stops, finished)
        return [_finish(row, stops, self.tokenizer) for row in written]

    def _generate(
        self, ids: list[list[int]], sampling: Sampling, stops: list[int], finished: Callable[[int], None]
    ) -> list[list[int]]:
        """For models whose caches the decoder does not know: batches of similar length, longest first."""
        written: dict[int, list[int]] = {}
        for chosen in _chunks(sorted(range(len(ids)), key=lambda i: -len(ids[i])), self._batch_size):
            batch = {"input_ids": [ids[i] for i in chosen]}
            inputs = self.tokenizer.pad(batch, padding_side="left", return_tensors="pt").to(self.model.device)
            ends = {"eos_token_id": stops, "pad_token_id": self.tokenizer.pad_token_id}
            out = self.model.generate(**inputs, **sampling.arguments(), **ends)
            written |= dict(zip(chosen, out[:, inputs["input_ids"].shape[1] :].tolist(), strict=True))
            finished(len(chosen))
        return [written[i] for i in range(len(ids))]


class UntouchedReplier:
    """The LLM of a speech LLM as it was published, whatever training has done to it; conversations hold no audio."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self._model = model
        self._tokenizer = tokenizer

    def __call__(
        self, conversations: Sequence[Sequence[Message]], sampling: Sampling, description: str = "replies"
    ) -> list[Reply]:
        """See `Replier`."""
        with self._model.untouched():
            return TextReplier(self._model.language_model, self._tokenizer)(conversations, sampling, description)


class SpeechReplier:
    """A speech LLM; audio parts carry `path`, `url` or `audio`, and a `transcript` where the model takes one.

    Args:
        model: a `SpeechLLM`.
        processor: its processor.
        batch_size: replies in the making at any time, and clips that are encoded at once.
        plain: as for `TextReplier`.
    """

    def __init__(self, model: Any, processor: Any, batch_size: int = 64, *, plain: bool = False) -> None:
        self._model = model
        self._processor = processor
        self._batch_size = batch_size
        self._plain = plain

    def __call__(
        self, conversations: Sequence[Sequence[Message]], sampling: Sampling, description: str = "replies"
    ) -> list[Reply]:
        """See `Replier`."""
        if not conversations:
            return []
        self._model.eval()
        stops = stop_ids(self._model, self._processor.tokenizer, self._processor.renderer)
        lengths = [len(self._processor.renderer.prompt(messages)) for messages in conversations]
        longest_first = sorted(range(len(conversations)), key=lambda i: -lengths[i])
        chunks = [(chosen, [conversations[i] for i in chosen]) for chosen in _chunks(longest_first, self._batch_size)]
        write = (
            self._generate if self._plain or not supports_fast_decoding(self._model.language_model) else self._decode
        )
        set_seed(sampling.seed)
        with progress.task(description, len(conversations)) if description else nullcontext() as bar:
            written = write(chunks, sampling, stops, bar.advance if bar else lambda n: None)
        return [_finish(written[i], stops, self._processor.tokenizer) for i in range(len(conversations))]

    def _generate(
        self, chunks: Chunks, sampling: Sampling, stops: list[int], finished: Callable[[int], None]
    ) -> dict[int, list[int]]:
        """For LLMs whose caches the decoder does not know: batches of similar length, so that little is padding."""
        written: dict[int, list[int]] = {}
        for chosen, conversations in chunks:
            inputs = self._processor(conversations).to(self._model.device)
            ends = {"eos_token_id": stops, "pad_token_id": self._processor.tokenizer.pad_token_id}
            out = self._model.generate(**inputs, **sampling.arguments(), **ends)
            written |= dict(zip(chosen, out[:, inputs["input_ids"].shape[1] :].tolist(), strict=True))
            finished(len(chosen))
        return written

    @torch.no_grad()  # as in `SpeechLLM.generate`
    def _decode(
        self, chunks: Chunks, sampling: Sampling, stops: list[int], finished: Callable[[int], None]
    ) -> dict[int, list[int]]:
        """Each clip becomes vectors first, once; then all prompts are read and answered together."""
        placeholder = self._model.config.audio_token_id
        nothing = torch.empty(0, self._model.get_input_embeddings().weight.shape[1], device=self._model.device)
        clips = Clips(self._model, self._processor)
        order = [number for chosen, _ in chunks for number in chosen]
        prompts: list[list[int]] = []
        heard: list[torch.Tensor] = []
        audio: list[Hashable] = []
        for _, conversations in chunks:
            sounds = clips.hear(conversations)
            frames = [[frames for frames, _ in parts] for parts in sounds]
            inputs = self._processor.tokenise(conversations, frames)
            rows = zip(inputs["input_ids"], inputs["attention_mask"], strict=True)
            prompts += [row[real.bool()].tolist() for row, real in rows]
            heard += [torch.cat([nothing, *(vectors for _, vectors in parts)]) for parts in sounds]
            audio += [clips.keys(messages) for messages in conversations]

        _check_context(self._model.language_model, prompts, sampling)

        def read(numbers: list[int], input_ids: torch.Tensor, **kwargs: Any) -> Any:
            audio_here = bool((input_ids == placeholder).any())
            vectors = torch.cat([heard[k] for k in numbers]) if audio_here else nothing
            return self._model.read(input_ids, vectors, **kwargs)

        decode = Decoder(self._model.language_model, stops, self._batch_size, read, placeholder, audio)
        drawn = {"temperature": sampling.temperature, "top_p": sampling.top_p}
        replies = decode(prompts, max_new_tokens=sampling.max_new_tokens, finished=finished, **drawn)
        return dict(zip(order, replies, strict=True))


def stop_ids(model: Any, tokenizer: Any, renderer: PromptRenderer) -> list[int]:
    """All ids that end a turn: the model's own and the one that its chat template writes."""
    own = getattr(model, "language_model", model).generation_config.eos_token_id
    ids = set(own) if isinstance(own, list) else {own} if own is not None else set()
    return sorted(ids | {tokenizer.convert_tokens_to_ids(renderer.end_of_turn)})


def _check_context(language_model: Any, ids: list[list[int]], sampling: Sampling) -> None:
    room = getattr(language_model.config.get_text_config(), "max_position_embeddings", None)
    longest = max(map(len, ids))
    if room and longest + sampling.max_new_tokens > room:
        raise SpeechLLMError(
            f"a prompt of {longest} tokens and a reply of {sampling.max_new_tokens} do not fit the LLM's context of"
            f" {room}; shorten the prompt or lower max_new_tokens"
        )


def _finish(ids: list[int], stops: list[int], tokenizer: Any) -> Reply:
    end = next((at for at, token in enumerate(ids) if token in stops), None)
    text = tokenizer.decode(ids if end is None else ids[:end], skip_special_tokens=True)
    return Reply(text, "length" if end is None else "stop")


def _chunks(items: list[int], size: int) -> Iterator[list[int]]:
    for at in range(0, len(items), size):
        yield items[at : at + size]


def compute_device(name: str = "auto") -> torch.device:
    """`auto`: the first GPU if there is one, else the CPU."""
    if name != "auto":
        try:
            return torch.empty(0, device=name).device
        except (RuntimeError, AssertionError) as error:
            reason = str(error).splitlines()[0]
            raise SpeechLLMError(
                f"device {name!r} cannot be used ({reason}); give auto, cpu, cuda or cuda:N"
            ) from error
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def compute_dtype(name: str = "auto") -> torch.dtype:
    """`auto`: bfloat16 where the hardware multiplies it natively (GPU; CPU with AMX or AVX512-BF16), else float32.

    Measured on two cores with AMX, bfloat16 is 5-7 times as fast as float32; on two cores without, 3 times slower.
    """
    if name != "auto":
        return getattr(torch, name)
    if torch.cuda.is_available():
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    native = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    return torch.bfloat16 if native else torch.float32
