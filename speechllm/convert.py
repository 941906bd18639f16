"""Checkpoints of other projects -> adapter checkpoints."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import AutoConfig

from speechllm import hub
from speechllm.errors import SpeechLLMError
from speechllm.export import write_checkpoint
from speechllm.models.adapters import desta
from speechllm.models.configuration import default_audio_layers
from speechllm.models.modeling import SpeechLLM
from speechllm.models.processing import SpeechLLMProcessor

DESTA_FILES = ("model.safetensors", "qformer_connector.pth")
DESTA_SYSTEM = "Focus on the audio clips and instructions."


def desta_checkpoint(reference: str, out: Path, encoder: str | None = None, llm: str | None = None) -> Path:
    """Writes DeSTA2.5-Audio (or DeSTA2) as an adapter checkpoint of ours; returns `out`.

    It hears as theirs did: windows filled up to 30 s with the silence attended to, the taps of DeSTA2.5-Audio and of
    the DeSTA2 paper, the last of them before the encoder's final LayerNorm. Their prompt put the transcript right after
    the audio vectors, between <start_audio> and <end_audio>; ours is another, so `transcript` is off and replies need
    not be theirs word for word.

    Args:
        reference: Hugging Face id or folder with their config.json and one of `DESTA_FILES`.
        out: folder to write.
        encoder: model reference of the Whisper; by default the one that their config.json names.
        llm: model reference of the LLM; by default the one that their config.json names.

    Raises:
        SpeechLLMError: no such file, tensors that are not a Q-Former of DeSTA's, or another encoder's or LLM's.
    """
    folder = hub.resolve(reference)
    named = _config(folder / "config.json")
    encoder = encoder or named.get("encoder_model_id") or named.get("whisper_model_id")
    llm = llm or named.get("llm_model_id") or named.get("llama_model_id")
    if not encoder or not llm:
        raise SpeechLLMError(f"{folder / 'config.json'}: names no encoder and LLM; give them")
    state = desta.from_desta(_tensors(folder))
    audio = AutoConfig.from_pretrained(hub.resolve(encoder))
    if audio.model_type != "whisper":
        raise SpeechLLMError(f"{encoder}: is not a Whisper; give the one that the Q-Former was trained with")
    model = SpeechLLM.from_references(
        encoder,
        llm,
        desta.settings(state, audio.encoder_attention_heads),
        audio_layers=default_audio_layers(audio.num_hidden_layers, len(state["queries"])),
        audio_final_norm=False,
        audio_padded=True,
        system_prompt=DESTA_SYSTEM,
    )
    try:
        model.multi_modal_projector.load_state_dict(state)
    except RuntimeError as error:
        raise SpeechLLMError(
            f"{folder}: the Q-Former does not fit between {encoder} and {llm} "
            f" ({str(error).splitlines()[-1].strip()}); give those that it was trained with"
        ) from error
    return write_checkpoint(model, SpeechLLMProcessor.for_config(model.config), out)


def _config(file: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(file.read_text(encoding="utf-8"))) if file.exists() else {}
    except (OSError, ValueError) as error:
        raise SpeechLLMError(f"{file}: cannot be read ({error}); copy the checkpoint again") from error


def _tensors(folder: Path) -> dict[str, torch.Tensor]:
    """The published tensors, whichever of `DESTA_FILES` there is; nothing but tensors is unpickled."""
    file = next((folder / name for name in DESTA_FILES if (folder / name).is_file()), None)
    if file is None:
        raise SpeechLLMError(f"{folder}: holds neither {' nor '.join(DESTA_FILES)}; copy it there from where it is")
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        return dict(torch.load(file, map_location="cpu", weights_only=True))
    except (OSError, SafetensorError, RuntimeError, ValueError, pickle.UnpicklingError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise SpeechLLMError(f"{file}: is damaged ({reason}); copy the checkpoint again") from error
