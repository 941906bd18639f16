"""Speech to text with a Whisper model: the transcript stream, and transcripts for corpora that have none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Heard:
    """What a recogniser makes of one clip; `language` is a code such as `en`, None from an English-only model."""

    text: str
    language: str | None = None


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
        multilingual = getattr(self._model.generation_config, "is_multilingual", False)
        self._language_ids: dict[str, int] = self._model.generation_config.lang_to_id if multilingual else {}

    def transcribe(self, waveforms: Sequence[np.ndarray], language: str | None = None) -> list[str]:
        """Words of each waveform (samples,) at 16 kHz, in order; longer ones in windows of 30 s."""
        return [heard.text for heard in self.hear(waveforms, [language] * len(waveforms))]

    def hear(self, waveforms: Sequence[np.ndarray], languages: Sequence[str | None]) -> list[Heard]:
        """Words and language of each waveform (samples,) at 16 kHz, in order.

        Args:
            waveforms: longer ones run in windows of 30 s; the first tells the language.
            languages: of each; None, or one that the model does not know, for the model to tell. An English-only
                model is not asked.
        """
        window = int(WINDOW_S * SAMPLING_RATE)
        pieces = [(i, w[at : at + window]) for i, w in enumerate(waveforms) for at in range(0, max(len(w), 1), window)]
        by_length = sorted(range(len(pieces)), key=lambda k: len(pieces[k][1]))
        found: dict[int, Heard] = {}
        for at in range(0, len(by_length), self._batch_size):
            chosen = by_length[at : at + self._batch_size]
            said = [self._known(languages[pieces[k][0]]) for k in chosen]
            found.update(zip(chosen, self._transcribe_batch([pieces[k][1] for k in chosen], said), strict=True))
        parts: list[list[Heard]] = [[] for _ in waveforms]
        for k, (i, _) in enumerate(pieces):
            parts[i].append(found[k])
        return [Heard(" ".join(h.text for h in own if h.text), own[0].language) for own in parts]

    def transcribe_utterances(self, utterances: Sequence[Utterance]) -> list[Utterance]:
        """The utterances with `recognised_text`; where the corpus has none, `text` too.

        A multilingual model also fills in `language` where the corpus tells none.
        """
        heard: dict[str, Heard] = {}
        by_length = sorted(utterances, key=lambda u: u.duration)
        with progress.task("recognise speech", len(utterances)) as bar:
            for at in range(0, len(by_length), self._batch_size):
                batch = by_length[at : at + self._batch_size]
                waveforms = [load_audio(u.audio, start=u.start, end=u.end) for u in batch]
                found = self.hear(waveforms, [u.language for u in batch])
                heard.update({u.id: one for u, one in zip(batch, found, strict=True)})
                bar.advance(len(batch))
        return [_filled(u, heard[u.id]) for u in utterances]

    def _known(self, language: str | None) -> str | None:
        """The code that the model has for a language (`zh` for `zh-CN`), or None."""
        code = (language or "").replace("_", "-").split("-")[0].lower()
        return code if f"<|{code}|>" in self._language_ids else None

    @torch.inference_mode()
    def _transcribe_batch(self, pieces: Sequence[np.ndarray], languages: Sequence[str | None]) -> list[Heard]:
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
        encoded = BaseModelOutput(last_hidden_state=states[:, 0])
        told = self._tell(encoded, languages) if self._language_ids else [None] * len(pieces)
        ids = self._model.generate(
            encoder_outputs=encoded,
            max_new_tokens=8 + round(TOKENS_PER_SECOND * max(map(len, pieces)) / SAMPLING_RATE),
            **({"language": told, "task": "transcribe"} if self._language_ids else {}),
        )
        texts = self._tokenizer.batch_decode(ids, skip_special_tokens=True)
        return [Heard(text.strip(), language) for text, language in zip(texts, told, strict=True)]

    def _tell(self, encoded: BaseModelOutput, languages: Sequence[str | None]) -> list[str | None]:
        """The languages, those that are not given as the model hears them."""
        if None not in languages:
            return list(languages)
        codes = {number: token.strip("<|>") for token, number in self._language_ids.items()}
        ids = self._model.detect_language(encoder_outputs=encoded).flatten().tolist()
        return [given or codes[number] for given, number in zip(languages, ids, strict=True)]


def _filled(utterance: Utterance, heard: Heard) -> Utterance:
    new = {"recognised_text": heard.text}
    if utterance.text is None:
        new["text"] = heard.text
    if utterance.language is None and heard.language is not None:
        new["language"] = heard.language
    return utterance.model_copy(update=new)
