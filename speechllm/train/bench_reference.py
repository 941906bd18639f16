"""A published model's shapes with random weights: measures training at full size where no weights are at hand."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, WhisperConfig, WhisperFeatureExtractor
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from speechllm import hub
from speechllm.data.manifest import Utterance
from speechllm.data.prompts import Prompt
from speechllm.models.adapters import complete
from speechllm.models.configuration import SpeechLLMConfig
from speechllm.models.modeling import SpeechLLM
from speechllm.models.processing import SpeechLLMProcessor
from speechllm.targets.records import TargetRecord
from speechllm.train.bench_load import make_clips
from speechllm.train.data import Example

WHISPER_LARGE_V3 = WhisperConfig(
    num_mel_bins=128,
    d_model=1280,
    encoder_layers=32,
    encoder_attention_heads=20,
    encoder_ffn_dim=5120,
    max_source_positions=1500,
)
"""Of https://huggingface.co/openai/whisper-large-v3; its decoder takes no part."""

LLAMA_3_1_8B = LlamaConfig(
    vocab_size=128_256,
    hidden_size=4096,
    intermediate_size=14_336,
    num_hidden_layers=32,
    num_attention_heads=32,
    num_key_value_heads=8,
    max_position_embeddings=131_072,
    rope_theta=500_000.0,
    rms_norm_eps=1e-5,
    tie_word_embeddings=False,
)
"""Of https://huggingface.co/meta-llama/Llama-3.1-8B-Instruct."""

DESTA2_5_ADAPTER = {"type": "qformer", "blocks": 6, "size": 1280, "heads": 20, "ffn_size": 3072}
"""DeSTA2.5-Audio's Q-Former (arXiv 2507.02768): 131 M parameters, 64 queries for each of 4 tapped layers."""

PROMPT = Prompt(id="reference", kind="describe", text="Describe the audio.", system="Focus on the audio clips.")

WORDS = (
    "the",
    "speaker",
    "sounds",
    "calm",
    "and",
    "speaks",
    "slowly",
    "about",
    "what",
    "happened",
    "on",
    "a",
    "rainy",
    "day",
)


def reference_model(
    tokenizer: str,
    audio: WhisperConfig,
    text: LlamaConfig,
    adapter: dict[str, Any],
    dtype: torch.dtype,
    device: torch.device,
) -> tuple[SpeechLLM, SpeechLLMProcessor]:
    """A model of these shapes with random weights, made on `device`, and a processor with the tokenizer of another LLM.

    Args:
        tokenizer: model reference of an LLM whose vocabulary is no larger than that of `text`.
        audio: of the encoder.
        text: of the LLM.
        adapter: as for `SpeechLLM.from_references`.
        dtype: of the frozen parts.
        device: where the weights are made; 8 billion of them would take minutes on the CPU.
    """
    words = AutoTokenizer.from_pretrained(hub.resolve(tokenizer))
    config = SpeechLLMConfig(
        audio_config=audio,
        text_config=text,
        encoder="random weights",
        llm="random weights",
        adapter=complete(adapter, audio),
    )
    with torch.device(device):
        tower = WhisperEncoder(audio).to(dtype).requires_grad_(False)
        model = SpeechLLM(config, tower, AutoModelForCausalLM.from_config(text, dtype=dtype))
    processor = SpeechLLMProcessor(WhisperFeatureExtractor(feature_size=audio.num_mel_bins), words, config)
    config.audio_token_id = processor.audio_token_id
    return model.to(device), processor


def random_examples(folder: Path, clips: int, reply_words: int, seed: int = 0) -> list[Example]:
    """Clips of noise of 2 to 15 s, one prompt each, and replies of half to one and a half times so many words."""
    rng = random.Random(seed)
    return [
        Example(Utterance(id=str(number), audio=str(path), duration=seconds, sampling_rate=16_000), record)
        for number, (path, seconds) in enumerate(make_clips(folder, clips, seed))
        for record in [_record(str(number), rng.choices(WORDS, k=rng.randint(reply_words // 2, reply_words * 3 // 2)))]
    ]


def _record(utterance: str, reply: Sequence[str]) -> TargetRecord:
    return TargetRecord(
        id=utterance,
        utterance_id=utterance,
        audio="",
        seed_description="",
        prompt=PROMPT.text,
        messages=PROMPT.messages({}),
        response=" ".join(reply),
        finish_reason="stop",
        strategy="random",
        generator="random",
        generator_revision="",
        prompt_id=PROMPT.id,
        description_style="",
        sampling={},
        seed=0,
    )
