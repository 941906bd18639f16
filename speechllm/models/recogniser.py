"""Speech to text with a Whisper model: the transcript stream, and transcripts for corpora that have none."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from transformers import AutoConfig, AutoTokenizer, WhisperFeatureExtractor, WhisperForConditionalGeneration
from transformers.modeling_outputs import BaseModelOutput

from speechllm import hub, progress
from speechllm.audio.io import SAMPLING_RATE, load_audio
from speechllm.data.manifest import Utterance
from speechllm.errors import SpeechLLMError
from speechllm.models.encoder import WINDOW_S, encode

MARGIN_S = 8.0
"""Silence after each clip. Whisper was trained on 30 s windows: with less it does not notice that the speech has ended
and repeats itself. Measured with tiny.en on 24 CREMA-D clips: WER 238 % with 1 s, 27 % with 4 s, 0.7 % with 8 s."""

TOKENS_PER_SECOND = 8
"""More than anyone says; a decoder that still loops is stopped there."""


class Recogniser:
    """Transcribes with greedy decoding; clips run at their own length plus a margin of silence."""

    def __init__(self, reference: str, device: torch.device | str = "cpu", batch_size: int = 16) -> None:
        """Loads a Whisper; of another model it is a `SpeechLLMError`."""
        folder: Path = hub.resolve(reference)
        kind = AutoConfig.from_pretrained(folder).model_type
        if kind != "whisper":
            raise SpeechLLMError(
                f"{reference}: a {kind} model writes no transcript; give a Whisper, or train with model.transcript ="
                " false"
            )
        self._model = WhisperForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval().to(device)
        self._features = WhisperFeatureExtractor.from_pretrained(folder)
        self._tokenizer = AutoTokenizer.from_pretrained(folder)
        self._batch_size = batch_size

    def transcribe(self, waveforms: Sequence[np.ndarray], language: str | None = None) -> list[str]:
        """Words of each waveform (samples,) at 16 kHz, in order; longer ones in windows of 30 s."""
        window = int(WINDOW_S * SAMPLING_RATE)
        pieces = [(i, w[at : at + window]) for i, w in enumerate(waveforms) for at in range(0, max(len(w), 1), window)]
        texts = dict(zip(range(len(pieces)), [""] * len(pieces), strict=True))
        by_length = sorted(range(len(pieces)), key=lambda k: len(pieces[k][1]))
        for at in range(0, len(by_length), self._batch_size):
            chosen = by_length[at : at + self._batch_size]
            for k, text in zip(chosen, self._transcribe_batch([pieces[k][1] for k in chosen], language), strict=True):
                texts[k] = text
        words: list[list[str]] = [[] for _ in waveforms]
        for k, (i, _) in enumerate(pieces):
            words[i].append(texts[k].strip())
        return [" ".join(part for part in parts if part) for parts in words]

    def transcribe_utterances(self, utterances: Sequence[Utterance]) -> list[Utterance]:
        """The utterances with `recognised_text` filled in."""
        heard: dict[str, str] = {}
        by_length = sorted(utterances, key=lambda u: u.duration)
        with progress.task("recognise speech", len(utterances)) as bar:
            for at in range(0, len(by_length), self._batch_size):
                batch = by_length[at : at + self._batch_size]
                texts = self.transcribe([load_audio(u.audio, start=u.start, end=u.end) for u in batch])
                heard.update({u.id: text for u, text in zip(batch, texts, strict=True)})
                bar.advance(len(batch))
        return [u.model_copy(update={"recognised_text": heard[u.id]}) for u in utterances]

    @torch.inference_mode()
    def _transcribe_batch(self, pieces: Sequence[np.ndarray], language: str | None) -> list[str]:
        longest = max(len(piece) for piece in pieces) + round(MARGIN_S * SAMPLING_RATE)
        hop = 2 * self._features.hop_length
        samples = min(-(-longest // hop) * hop, int(WINDOW_S * SAMPLING_RATE))
        log_mel = self._features(
            list(pieces),
            sampling_rate=SAMPLING_RATE,
            padding="max_length",
            max_length=samples,
            return_tensors="pt",
        )["input_features"].to(self._model.device)
        everything = torch.ones(log_mel.shape[0], log_mel.shape[2], dtype=torch.bool, device=log_mel.device)
        encoder = self._model.get_encoder()
        states, _ = encode(encoder, log_mel, everything, [len(encoder.layers)])
        chosen = (
            {"language": language, "task": "transcribe"}
            if getattr(self._model.generation_config, "is_multilingual", False)
            else {}
        )
        ids = self._model.generate(
            encoder_outputs=BaseModelOutput(last_hidden_state=states[:, 0]),
            max_new_tokens=8 + round(TOKENS_PER_SECOND * max(map(len, pieces)) / SAMPLING_RATE),
            **chosen,
        )
        return self._tokenizer.batch_decode(ids, skip_special_tokens=True)
