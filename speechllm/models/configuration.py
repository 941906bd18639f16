"""The configuration of a SpeechLLM: which encoder, which LLM, which adapter between them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import CONFIG_MAPPING, AutoConfig, PreTrainedConfig

from speechllm.data.render import AUDIO_TOKEN
from speechllm.errors import SpeechLLMError


class SpeechLLMConfig(PreTrainedConfig):
    """What `config.json` of an adapter checkpoint holds.

    Attributes:
        audio_config: configuration of the speech encoder's model (the whole Whisper, say; the encoder is taken out).
        text_config: configuration of the LLM.
        encoder: model reference of the encoder.
        llm: model reference of the LLM.
        adapter: `{"type": name, ...}`, the arguments of the adapter class.
        audio_layers: the encoder layers whose outputs the adapter reads, counted from 1.
        paralinguistic_encoder: model reference of a second encoder beside a Whisper, see `tower`; empty for none.
        paralinguistic_layers: its layers, as many as `audio_layers`; evenly spaced by default.
        audio_final_norm: whether the encoder's last layer is read after its final LayerNorm.
        audio_padded: whether Whisper hears every window filled up with silence to 30 s. Neither is for new adapters:
            they are how DeSTA2.5-Audio heard, see `speechllm.convert`.
        audio_token: the placeholder, a token that is added to the LLM's tokenizer; no embedding of it is ever read.
        transcript: whether the recogniser's words follow the audio vectors as text.
        lora: low-rank updates of the LLM, the arguments of `lora.add_lora`; None for none.
        encoder_lora: low-rank updates of the encoders, the arguments of `lora.add_encoder_lora`; None for none.
        train_llm: whether all weights of the LLM are trained, and the checkpoint holds them.
        system_prompt: the system prompt that the targets were written under; the default when asking.
    """

    model_type = "speechllm"
    sub_configs = {"audio_config": AutoConfig, "text_config": AutoConfig}  # noqa: RUF012 - the form transformers reads

    audio_config: dict[str, Any] | PreTrainedConfig | None = None
    text_config: dict[str, Any] | PreTrainedConfig | None = None
    encoder: str = ""
    llm: str = ""
    adapter: dict[str, Any] | None = None
    audio_layers: list[int] | None = None
    paralinguistic_encoder: str = ""
    paralinguistic_layers: list[int] | None = None
    audio_final_norm: bool = True
    audio_padded: bool = False
    audio_token: str = AUDIO_TOKEN
    audio_token_id: int = -1
    transcript: bool = False
    lora: dict[str, Any] | None = None
    encoder_lora: dict[str, Any] | None = None
    train_llm: bool = False
    system_prompt: str | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        self.audio_config = _as_config(self.audio_config)
        self.text_config = _as_config(self.text_config)
        if self.audio_layers is None and self.audio_config is not None:
            self.audio_layers = default_audio_layers(self.audio_config.num_hidden_layers)
        super().__post_init__(**kwargs)

    @classmethod
    def from_pretrained(cls, folder: str | Path, **kwargs: Any) -> SpeechLLMConfig:
        """Reads `config.json` of an adapter checkpoint.

        Raises:
            SpeechLLMError: it is missing, damaged, or another model's.
        """
        try:
            config = super().from_pretrained(folder, **kwargs)
        except (OSError, ValueError, TypeError) as error:
            raise SpeechLLMError(
                f"{folder}: config.json cannot be read ({error}); copy the checkpoint again"
            ) from error
        if not config.llm or not config.encoder:
            raise SpeechLLMError(
                f"{folder}: is not an adapter checkpoint (config.json names no llm and encoder); give the folder that"
                " training wrote"
            )
        return config

    def validate_token_ids(self) -> None:
        """The placeholder's id lies outside the vocabulary on purpose; transformers would warn about that."""


def default_audio_layers(num_layers: int, taps: int = 4) -> list[int]:
    """Evenly spaced layers up to the last, counted from 1; for 12 layers 3, 6, 9, 12 as in DeSTA2 (section 3.1)."""
    taps = min(taps, num_layers)
    return [round(num_layers * (i + 1) / taps) for i in range(taps)]


def _as_config(value: dict[str, Any] | PreTrainedConfig | None) -> PreTrainedConfig | None:
    if not isinstance(value, dict):
        return value
    kind = value.get("model_type", "")
    if kind not in CONFIG_MAPPING:
        raise SpeechLLMError(f"config.json: model_type {kind!r} is not known to this version of transformers")
    return CONFIG_MAPPING[kind].from_dict(value)
