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
from speechllm.data.render import Message, PromptRenderer, audio_parts
from speechllm.errors import SpeechLLMError
from speechllm.models.adapters import num_vectors
from speechllm.models.configuration import SpeechLLMConfig
from speechllm.models.encoder import STRIDE, WINDOW_S

MIN_WINDOW_S = 0.1
"""A shorter clip (or last window) is padded with silence to this length: the encoder needs a few frames."""


class SpeechLLMProcessor(ProcessorMixin):
    """Reads audio, computes log-mel features at the clip's own length, renders and tokenises the conversation."""

    attributes = ["feature_extractor", "tokenizer"]  # noqa: RUF012 - the form transformers reads
    feature_extractor_class = "AutoFeatureExtractor"
    tokenizer_class = "AutoTokenizer"

    def __init__(self, feature_extractor: Any, tokenizer: Any, config: SpeechLLMConfig) -> None:
        super().__init__(feature_extractor, tokenizer)
        self.config = config
        self.audio_token = config.audio_token
        if self.audio_token not in tokenizer.get_vocab():
            tokenizer.add_special_tokens({"additional_special_tokens": [self.audio_token]})
        self.audio_token_id = tokenizer.convert_tokens_to_ids(self.audio_token)
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        self.renderer = PromptRenderer(tokenizer)

    @classmethod
    def for_config(cls, config: SpeechLLMConfig) -> SpeechLLMProcessor:
        """The processor for a model that is yet to be trained; fetches what the references in `config` name."""
        tokenizer = AutoTokenizer.from_pretrained(hub.resolve(config.llm))
        processor = cls(AutoFeatureExtractor.from_pretrained(hub.resolve(config.encoder)), tokenizer, config)
        config.audio_token_id = processor.audio_token_id
        return processor

    @classmethod
    def from_pretrained(cls, folder: str | Path, **_: Any) -> SpeechLLMProcessor:  # type: ignore[override]
        """Loads the processor of an adapter checkpoint, a local folder or a Hugging Face id."""
        path = hub.resolve(str(folder))
        config = SpeechLLMConfig.from_pretrained(path)
        return cls(AutoFeatureExtractor.from_pretrained(path), AutoTokenizer.from_pretrained(path), config)

    def save_pretrained(self, folder: str | Path, **_: Any) -> None:  # type: ignore[override]
        """Writes tokenizer and feature extractor beside the config that the model writes."""
        self.tokenizer.save_pretrained(folder)
        self.feature_extractor.save_pretrained(folder)

    def __call__(  # type: ignore[override]
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
            What `tokenise` returns and, if there is audio, `input_features` (W, M, F) and `input_features_mask` (W, F)
            over all windows of the batch.
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

        Args:
            conversations: chat messages each.
            frames: for each conversation, for each of its audio parts, the log-mel frames of its windows.
            replies: the assistant's reply to each; given in training. The batch then has `labels` and is padded on the
                right; without them it is padded on the left, for generation.
            complete: for each reply, whether it ends the turn; a reply that was cut short does not. Default all True.

        Returns:
            `input_ids`, `attention_mask` (B, S); with replies `labels` (B, S), -100 outside the reply.
        """
        texts, starts = [], []
        for i, messages in enumerate(conversations):
            if replies is None:
                text, start = self.renderer.prompt(messages), 0
            else:
                ends = complete is None or complete[i]
                text, start = self.renderer.conversation(messages, replies[i], complete=ends)
            text, growth = self._expand(text, len(audio_parts(messages)), frames[i])
            texts.append(text)
            starts.append(start + growth)
        encoded = self.tokenizer(
            texts,
            add_special_tokens=False,
            padding=True,
            padding_side="left" if replies is None else "right",
            return_tensors="pt",
            return_offsets_mapping=replies is not None,
        )
        batch = {"input_ids": encoded["input_ids"], "attention_mask": encoded["attention_mask"]}
        if replies is not None:
            ends_at = encoded["offset_mapping"][..., 1]
            in_reply = (ends_at > torch.tensor(starts)[:, None]) & encoded["attention_mask"].bool()
            batch["labels"] = batch["input_ids"].masked_fill(~in_reply, -100)
        return BatchFeature(batch)

    def apply_chat_template(self, conversation: Any, *_: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        """The Hugging Face form: one conversation or a list of them to tensors, or to a string if `tokenize=False`."""
        single = bool(conversation) and isinstance(conversation[0], dict)
        conversations = [conversation] if single else conversation
        if not kwargs.get("tokenize", True):
            texts = [self.renderer.prompt(messages) for messages in conversations]
            return texts[0] if single else texts
        return self(conversations)

    def features(self, waveform: np.ndarray) -> list[torch.Tensor]:
        """Log-mel windows, each (M, F) with F <= 3000 and even, of a waveform (samples,) at 16 kHz of any length."""
        window = int(WINDOW_S * SAMPLING_RATE)
        pieces = [waveform[at : at + window] for at in range(0, max(len(waveform), 1), window)]
        return [self._log_mel(piece) for piece in pieces]

    def batch_decode(self, *args: Any, **kwargs: Any) -> list[str]:
        """Token ids to strings."""
        return self.tokenizer.batch_decode(*args, **kwargs)

    def decode(self, *args: Any, **kwargs: Any) -> str:
        """Token ids to a string."""
        return self.tokenizer.decode(*args, **kwargs)

    def _log_mel(self, piece: np.ndarray) -> torch.Tensor:
        samples = max(len(piece), round(MIN_WINDOW_S * SAMPLING_RATE))
        hop = self.feature_extractor.hop_length * STRIDE
        padded = np.zeros(math.ceil(samples / hop) * hop, dtype=np.float32)
        padded[: len(piece)] = piece
        out = self.feature_extractor(
            padded, sampling_rate=SAMPLING_RATE, padding=False, truncation=False, return_tensors="pt"
        )
        return out["input_features"][0]

    def _expand(self, text: str, parts: int, frames: Sequence[Sequence[int]]) -> tuple[str, int]:
        """Repeats each placeholder as often as its audio has vectors; returns the text and by how much it grew."""
        pieces = text.split(self.audio_token)
        if len(pieces) - 1 != parts:
            raise SpeechLLMError(
                f"the prompt holds {len(pieces) - 1} times {self.audio_token!r} but {parts} audio parts; give audio as"
                ' {"type": "audio", "path": ...} and leave the placeholder out of the text'
            )
        settings = self.config.adapter or {}
        counts = [sum(num_vectors(settings, frame // STRIDE) for frame in windows) for windows in frames]
        limit = getattr(self.config.text_config, "max_position_embeddings", None)
        if limit is not None and sum(counts) >= limit:
            raise SpeechLLMError(
                f"the audio needs {sum(counts)} positions, more than the {limit} of {self.config.llm};"
                " give shorter audio"
            )
        expanded = pieces[0] + "".join(
            self.audio_token * count + piece for count, piece in zip(counts, pieces[1:], strict=True)
        )
        return expanded, len(expanded) - len(text)


def pad_features(windows: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
    """Log-mel windows (M, F) of several lengths as one batch (W, M, F), with its mask (W, F)."""
    frames = torch.tensor([window.shape[-1] for window in windows])
    longest = int(frames.max())
    padded = torch.stack([torch.nn.functional.pad(window, (0, longest - window.shape[-1])) for window in windows])
    return {"input_features": padded, "input_features_mask": torch.arange(longest)[None, :] < frames[:, None]}


def read_audio_part(part: dict[str, Any]) -> np.ndarray:
    """The waveform (samples,) at 16 kHz of a message part with `path`, `url` or `audio`."""
    if "path" in part:
        return load_audio(part["path"], start=part.get("start"), end=part.get("end"))
    if "audio" in part:
        value = part["audio"]
        if isinstance(value, dict):  # as `datasets` decodes audio
            return as_waveform(np.asarray(value["array"]), int(value["sampling_rate"]))
        return as_waveform(np.asarray(value), SAMPLING_RATE)
    if "url" in part:
        return _read_url(str(part["url"]))
    raise SpeechLLMError('audio part: give "path", "url" or "audio"')


def _read_url(url: str) -> np.ndarray:
    parsed = urllib.parse.urlparse(url)
    if parsed.scheme in ("", "file"):
        return load_audio(urllib.request.url2pathname(parsed.path))
    if parsed.scheme not in ("http", "https"):
        raise SpeechLLMError(f"{url}: only file, http and https addresses can be read")
    try:
        with tempfile.NamedTemporaryFile() as copy, urllib.request.urlopen(url, timeout=30) as response:
            shutil.copyfileobj(response, copy)
            copy.flush()
            return load_audio(copy.name)
    except OSError as error:
        raise SpeechLLMError(f"{url}: cannot be fetched: {error}") from error
