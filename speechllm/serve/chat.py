"""Questions to a trained model, with or without audio: one loaded model, one call."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from speechllm.audio.io import load_audio
from speechllm.data.render import Message
from speechllm.models.modeling import SpeechLLM
from speechllm.models.processing import SpeechLLMProcessor
from speechllm.models.recogniser import Recogniser
from speechllm.models.reply import Reply, Sampling, SpeechReplier, compute_device


class Chat:
    """A loaded checkpoint, with its recogniser where the model takes the recogniser's words."""

    def __init__(self, checkpoint: str, device: str = "auto") -> None:
        chosen = compute_device(device)
        self.model = SpeechLLM.from_pretrained(checkpoint, device=chosen)
        self.processor = SpeechLLMProcessor.from_pretrained(checkpoint)
        self._reply = SpeechReplier(self.model, self.processor, plain=True)
        self._recogniser = Recogniser(self.model.config.encoder, chosen) if self.model.config.transcript else None

    def ask(
        self,
        question: str,
        audio: Sequence[Path] = (),
        system: str | None = None,
        sampling: Sampling | None = None,
    ) -> Reply:
        """The reply to a question about audio files.

        Where no system prompt is given, a question about audio gets the one that the targets were written under, and
        one without audio gets none: that is the untouched LLM.

        Raises:
            SpeechLLMError: a file cannot be read as audio, or is too long.
        """
        waveforms = [load_audio(path) for path in audio]
        words = self._recogniser.transcribe(waveforms) if self._recogniser and waveforms else [""] * len(waveforms)
        parts = [
            {"type": "audio", "audio": waveform, **({"transcript": text} if text else {})}
            for waveform, text in zip(waveforms, words, strict=True)
        ]
        if system is None and parts:
            system = self.model.config.system_prompt
        messages: list[Message] = [] if system is None else [{"role": "system", "content": system}]
        messages.append({"role": "user", "content": [*parts, {"type": "text", "text": question}]})
        return self._reply([messages], sampling or Sampling(max_new_tokens=128), "reply")[0]
