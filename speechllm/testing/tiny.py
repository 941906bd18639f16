"""Tiny random models as ordinary Hugging Face folders: the real code paths in milliseconds, without network."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModel,
    GenerationConfig,
    HubertConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    WavLMConfig,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
)

CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

_CORPUS = [
    "Is the speaker male or female? The speaker is female.",
    "Is the pitch low or high? Is the speaking speed slow or fast?",
    "<gender>female</gender><pitch>low</pitch><speaking speed>slow</speaking speed><text>Write it down.</text>",
    "Focus on the audio and the instruction. Write down the spoken words.",
]


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer with a chat template in the ChatML form."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_CORPUS, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def tiny_llm(folder: Path, seed: int = 0) -> str:
    """Writes a random two-layer Llama; returns the folder as a model reference."""
    tokenizer = tiny_tokenizer()
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def tiny_whisper(folder: Path, seed: int = 0) -> str:
    """Writes a random two-layer Whisper that transcribes (what it says means nothing); returns its model reference."""
    tokenizer = tiny_tokenizer()
    torch.manual_seed(seed)
    ids = {
        "bos_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "decoder_start_token_id": tokenizer.convert_tokens_to_ids("<|im_start|>"),
    }
    config = WhisperConfig(
        vocab_size=len(tokenizer),
        d_model=16,
        encoder_layers=2,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        suppress_tokens=None,
        begin_suppress_tokens=None,
        **ids,
    )
    model = WhisperForConditionalGeneration(config)
    words = {number: tokenizer.decode([number]) for number in range(len(tokenizer))}
    unreadable = [number for number, word in words.items() if not (word.isascii() and word.isprintable())]
    model.generation_config = GenerationConfig(
        max_length=448,
        is_multilingual=False,
        no_timestamps_token_id=len(tokenizer) - 1,
        return_timestamps=False,
        suppress_tokens=unreadable,
        **ids,
    )
    model.save_pretrained(folder)
    WhisperFeatureExtractor().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


WAVEFORM_ENCODERS = {"wav2vec2": Wav2Vec2Config, "hubert": HubertConfig, "wavlm": WavLMConfig}


def tiny_waveform_encoder(folder: Path, kind: str = "wav2vec2", seed: int = 0, *, large: bool = False) -> str:
    """Writes a random two-layer encoder that hears samples; returns the folder as a model reference.

    Args:
        folder: where to.
        kind: a key of `WAVEFORM_ENCODERS`.
        seed: of the random weights.
        large: normalised like the large sizes (LayerNorm in each convolution, and before each block) rather than like
            the base sizes (GroupNorm over time in the first convolution, LayerNorm after each block).
    """
    torch.manual_seed(seed)
    config = WAVEFORM_ENCODERS[kind](
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        conv_dim=(8,) * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=2,
        feat_extract_norm="layer" if large else "group",
        do_stable_layer_norm=large,
        conv_bias=large,
    )
    AutoModel.from_config(config).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=large, return_attention_mask=large).save_pretrained(folder)
    return str(folder)
