"""Chat messages with audio in them -> the tensors that `SpeechLLM` takes."""

from __future__ import annotations

import math
import shutil
import tempfile
import urllib.parse
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoFeatureExtractor, AutoTokenizer, BatchFeature, ProcessorMixin

from speechllm import hub
from speechllm.audio.io import SAMPLING_RATE, as_waveform, load_audio
from speechllm.data.render import Message, PromptRenderer, audio_parts, special_tokens
from speechllm.errors import SpeechLLMError
from speechllm.models.adapters import num_vectors
from speechllm.models.configuration import SpeechLLMConfig
from speechllm.models.encoder import STRIDE, WINDOW_S, hears_waveform, num_frames

MIN_WINDOW_S = 0.1
"""A shorter clip (or last window) is padded with silence to this length: the encoder needs a few frames."""


class SpeechLLMProcessor(ProcessorMixin):
    """Reads audio, computes features at the clip's own length, renders and tokenises the conversation.

    "Frames" of input features are what the encoder hears: log-mel frames, or samples for a waveform encoder.
    """

    attributes = ["feature_extractor", "tokenizer"]  # noqa: RUF012 - the form transformers reads
    feature_extractor_class = "AutoFeatureExtractor"
    tokenizer_class = "AutoTokenizer"

    def __init__(self, feature_extractor: Any, tokenizer: Any, config: SpeechLLMConfig) -> None:
        super().__init__(feature_extractor, tokenizer)
        self.config = config
        self.audio_token = config.audio_token
        if self.audio_token not in tokenizer.get_vocab():
            tokenizer.add_special_tokens(
                {"extra_special_tokens": [self.audio_token]}, replace_extra_special_tokens=False
            )
        self.audio_token_id = tokenizer.convert_tokens_to_ids(self.audio_token)
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        self.renderer = PromptRenderer(tokenizer)
        self._control_tokens = special_tokens(tokenizer)

    @classmethod
    def for_config(cls, config: SpeechLLMConfig) -> SpeechLLMProcessor:
        """The processor for a model that is yet to be trained; fetches what the references in `config` name."""
        tokenizer = AutoTokenizer.from_pretrained(hub.resolve(config.llm))
        processor = cls(AutoFeatureExtractor.from_pretrained(hub.resolve(config.encoder)), tokenizer, config)
        config.audio_token_id = processor.audio_token_id
        return processor

    @classmethod
    def from_pretrained(cls, folder: str | Path, **_: Any) -> SpeechLLMProcessor:
        """Loads the processor of an adapter checkpoint, a local folder or a Hugging Face id."""
        path = hub.resolve(str(folder))
        config = SpeechLLMConfig.from_pretrained(path)
        return cls(AutoFeatureExtractor.from_pretrained(path), AutoTokenizer.from_pretrained(path), config)

    def save_pretrained(self, folder: str | Path, **_: Any) -> None:
        """Writes tokenizer and feature extractor beside the config that the model writes."""
        self.tokenizer.save_pretrained(folder)
        self.feature_extractor.save_pretrained(folder)

    def __call__(
        self,
        conversations: Sequence[Sequence[Message]],
        replies: Sequence[str] | None = None,
        complete: Sequence[bool] | None = None,
    ) -> BatchFeature:
        """A padded batch, audio read and turned into features.

        Args:
            conversations: chat messages each; audio parts carry `path`, `url` (file: or http) or `audio` (an array at
                16 kHz), and may carry the recogniser's `transcript`.
            replies: see `tokenise`.
            complete: see `tokenise`.

        Returns:
            What `tokenise` returns and, if there is audio, `input_features` (W, M, F), or (W, F) for a waveform
            encoder, and `input_features_mask` (W, F) over all windows of the batch.
        """
        windows = [[self.features(read_audio_part(p)) for p in audio_parts(messages)] for messages in conversations]
        frames = [[[window.shape[-1] for window in part] for part in parts] for parts in windows]
        batch = self.tokenise(conversations, frames, replies, complete)
        if flat := [window for parts in windows for part in parts for window in part]:
            batch.update(pad_features(flat))
        return batch

    def tokenise(
        self,
        conversations: Sequence[Sequence[Message]],
        frames: Sequence[Sequence[Sequence[int]]],
        replies: Sequence[str] | None = None,
        complete: Sequence[bool] | None = None,
    ) -> BatchFeature:
        """Renders each conversation and tokenises it once, as one string, with one placeholder an audio vector.

        Only where a token would reach from the prompt into the reply (a reply that starts with a line break, say), is
        the reply tokenised apart: in generation the prompt's tokens stand before the reply's are written.

        Args:
            conversations: chat messages each.
            frames: for each conversation, for each of its audio parts, the frames of its windows' features.
            replies: the assistant's reply to each; given in training. The batch then has `labels` and is padded on the
                right; without them it is padded on the left, for generation.
            complete: for each reply, whether it ends the turn; a reply that was cut short does not. Default all True.

        Returns:
            `input_ids`, `attention_mask` (B, S); with replies `labels` (B, S), -100 outside the reply.

        Raises:
            SpeechLLMError: a placeholder in the text, a control token in a reply (see `check_reply`), or a prompt that
                is longer than the LLM's context.
        """
        prompts, texts = [], []
        for i, messages in enumerate(conversations):
            if replies is None:
                text, start = self.renderer.prompt(messages), 0
            else:
                self.check_reply(replies[i])
                ends = complete is None or complete[i]
                text, start = self.renderer.conversation(messages, replies[i], complete=ends)
            text, growth = self._expand(text, len(audio_parts(messages)), frames[i])
            texts.append(text)
            prompts.append(text[: start + growth])
        rows, labels = self._token_ids(texts), None
        if replies is not None:
            heads = self._token_ids(prompts)
            for i, (row, head) in enumerate(zip(rows, heads, strict=True)):
                if row[: len(head)] != head:
                    rows[i] = head + self._token_ids([texts[i][len(prompts[i]) :]])[0]
            labels = [[-100] * len(head) + row[len(head) :] for row, head in zip(rows, heads, strict=True)]
        self._check_length(rows)
        left = labels is None
        batch = {
            "input_ids": _pad(rows, self.tokenizer.pad_token_id, left),
            "attention_mask": _pad([[1] * len(row) for row in rows], 0, left),
        }
        if labels is not None:
            batch["labels"] = _pad(labels, -100, left)
        return BatchFeature(batch)

    def check_reply(self, reply: str) -> None:
        """A reply to learn is plain text: a control token in it would teach an end of turn, or a turn, inside a reply.

        Raises:
            SpeechLLMError: it holds one of the tokenizer's control tokens, or the audio placeholder.
        """
        found = next((token for token in self._control_tokens if token in reply), None)
        if found is not None:
            raise SpeechLLMError(
                f"the reply {reply[:60]!r} holds the control token {found!r}; a reply to learn is plain text, drop the"
                " record or the token"
            )

    def apply_chat_template(self, conversation: Any, *_: Any, **kwargs: Any) -> Any:
        """The Hugging Face form: one conversation or a list of them to tensors, or to a string if `tokenize=False`."""
        single = bool(conversation) and isinstance(conversation[0], dict)
        conversations = [conversation] if single else conversation
        if not kwargs.get("tokenize", True):
            texts = [self.renderer.prompt(messages) for messages in conversations]
            return texts[0] if single else texts
        return self(conversations)

    def features(self, waveform: np.ndarray) -> list[torch.Tensor]:
        """Windows of at most 30 s of a waveform (samples,) at 16 kHz of any length, as the encoder hears them.

        Log-mel (M, F) with F <= 3000 and even each, or samples (F,), normalised window by window where the encoder's
        feature extractor does so.
        """
        window = int(WINDOW_S * SAMPLING_RATE)
        pieces = [waveform[at : at + window] for at in range(0, max(len(waveform), 1), window)]
        hear = self._samples if hears_waveform(self.config.audio_config) else self._log_mel
        return [hear(piece) for piece in pieces]

    def batch_decode(self, *args: Any, **kwargs: Any) -> list[str]:
        """Token ids to strings."""
        return self.tokenizer.batch_decode(*args, **kwargs)

    def decode(self, *args: Any, **kwargs: Any) -> str:
        """Token ids to a string."""
        return self.tokenizer.decode(*args, **kwargs)

    def _samples(self, piece: np.ndarray) -> torch.Tensor:
        padded = np.zeros(max(len(piece), round(MIN_WINDOW_S * SAMPLING_RATE)), dtype=np.float32)
        padded[: len(piece)] = piece
        out = self.feature_extractor(padded, sampling_rate=SAMPLING_RATE, padding=False, return_tensors="pt")
        return out["input_values"][0]

    def _log_mel(self, piece: np.ndarray) -> torch.Tensor:
        samples = max(len(piece), round(MIN_WINDOW_S * SAMPLING_RATE))
        hop = self.feature_extractor.hop_length * STRIDE
        padded = np.zeros(math.ceil(samples / hop) * hop, dtype=np.float32)
        padded[: len(piece)] = piece
        out = self.feature_extractor(
            padded, sampling_rate=SAMPLING_RATE, padding=False, truncation=False, return_tensors="pt"
        )
        return out["input_features"][0]

    def _token_ids(self, texts: list[str]) -> list[list[int]]:
        return list(self.tokenizer(texts, add_special_tokens=False)["input_ids"])

    def _check_length(self, rows: Sequence[Sequence[int]]) -> None:
        limit = getattr(self.config.text_config, "max_position_embeddings", None)
        longest = max(rows, key=len, default=[])
        if limit is not None and len(longest) > limit:
            audio = sum(token == self.audio_token_id for token in longest)
            raise SpeechLLMError(
                f"the conversation takes {len(longest)} positions ({audio} of audio), more than the {limit} that"
                f" {self.config.llm} has; give shorter audio or text"
            )

    def _expand(self, text: str, parts: int, frames: Sequence[Sequence[int]]) -> tuple[str, int]:
        """Repeats each placeholder as often as its audio has vectors; returns the text and by how much it grew."""
        pieces = text.split(self.audio_token)
        if len(pieces) - 1 != parts:
            raise SpeechLLMError(
                f"the prompt holds {len(pieces) - 1} times {self.audio_token!r} but {parts} audio parts; give audio as"
                ' {"type": "audio", "path": ...} and leave the placeholder out of the text'
            )
        settings = self.config.adapter or {}
        audio = self.config.audio_config
        counts = [sum(num_vectors(settings, num_frames(audio, frame)) for frame in windows) for windows in frames]
        expanded = pieces[0] + "".join(
            self.audio_token * count + piece for count, piece in zip(counts, pieces[1:], strict=True)
        )
        return expanded, len(expanded) - len(text)


def _pad(rows: Sequence[Sequence[int]], value: int, left: bool) -> torch.Tensor:
    longest = max(map(len, rows), default=0)
    filled = [[value] * (longest - len(row)) for row in rows]
    return torch.tensor([[*f, *row] if left else [*row, *f] for f, row in zip(filled, rows, strict=True)])


def pad_features(windows: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
    """Windows (M, F) or (F,) of several lengths as one batch (W, M, F) or (W, F), with its mask (W, F)."""
    frames = torch.tensor([window.shape[-1] for window in windows])
    longest = int(frames.max())
    padded = torch.stack([torch.nn.functional.pad(window, (0, longest - window.shape[-1])) for window in windows])
    return {"input_features": padded, "input_features_mask": torch.arange(longest)[None, :] < frames[:, None]}


def read_audio_part(part: dict[str, Any]) -> np.ndarray:
    """The waveform (samples,) at 16 kHz of a message part with `path`, `url` or `audio`."""
    start, end = part.get("start"), part.get("end")
    if part.get("path") is not None:
        return load_audio(part["path"], start=start, end=end)
    if part.get("audio") is not None:
        if start is not None or end is not None:
            raise SpeechLLMError('audio part: "start" and "end" go with "path" or "url"; cut the array itself')
        value = part["audio"]
        if isinstance(value, dict):  # as `datasets` decodes audio
            if value.get("array") is None or value.get("sampling_rate") is None:
                raise SpeechLLMError(
                    'audio part: "audio" needs "array" and "sampling_rate"; without decoded samples give "path"'
                )
            return as_waveform(np.asarray(value["array"]), int(value["sampling_rate"]))
        return as_waveform(np.asarray(value), SAMPLING_RATE)
    if part.get("url") is not None:
        return _read_url(str(part["url"]), start, end)
    raise SpeechLLMError('audio part: give "path", "url" or "audio"')


def _read_url(url: str, start: float | None, end: float | None) -> np.ndarray:
    parsed = urllib.parse.urlparse(url)
    if parsed.scheme in ("", "file"):
        return load_audio(urllib.request.url2pathname(parsed.path), start=start, end=end)
    if parsed.scheme not in ("http", "https"):
        raise SpeechLLMError(f"{url}: only file, http and https addresses can be read")
    try:
        with tempfile.NamedTemporaryFile() as copy, urllib.request.urlopen(url, timeout=30) as response:
            shutil.copyfileobj(response, copy)
            copy.flush()
            try:
                return load_audio(copy.name, start=start, end=end)
            except SpeechLLMError as error:
                raise SpeechLLMError(str(error).replace(copy.name, url)) from error
    except OSError as error:
        raise SpeechLLMError(f"{url}: cannot be fetched: {error}") from error
