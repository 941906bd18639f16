"""The published size is measured by `bench reference`; here its parts at toy size."""

import json

import pytest
import torch
from transformers import LlamaConfig, WhisperConfig

from speechllm.cli import main
from speechllm.train import bench_reference as reference

AUDIO = WhisperConfig(d_model=16, encoder_layers=4, encoder_attention_heads=2, encoder_ffn_dim=32, num_mel_bins=128)
TEXT = LlamaConfig(
    vocab_size=500,
    hidden_size=32,
    intermediate_size=64,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=512,
)
ADAPTER = {"type": "qformer", "queries": 8, "blocks": 1, "size": 8, "heads": 2, "ffn_size": 8}


def test_the_command_measures_random_weights_in_the_given_shapes(llm_reference, monkeypatch, capsys):
    monkeypatch.setattr(reference, "WHISPER_LARGE_V3", AUDIO)
    monkeypatch.setattr(reference, "LLAMA_3_1_8B", TEXT)
    monkeypatch.setattr(reference, "DESTA2_5_ADAPTER", ADAPTER)
    command = ["bench", "reference", "--tokenizer", llm_reference, "--dtype", "float32", "--device", "cpu"]
    assert main([*command, "--clips", "6", "--batch-size", "3", "--reply-words", "8", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["steps"] == 2
    assert found["clips"] == 6
    assert all(mode["reply_tokens_per_second"] > 0 for mode in found["modes"].values())


def test_the_shapes_are_the_published_ones():
    """Parameters counted without memory for them: 637 M of the encoder, 8.03 G of the LLM, 131 M of the adapter."""
    from transformers import AutoModelForCausalLM
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    with torch.device("meta"):
        encoder = WhisperEncoder(reference.WHISPER_LARGE_V3)
        llm = AutoModelForCausalLM.from_config(reference.LLAMA_3_1_8B)
    assert sum(p.numel() for p in encoder.parameters()) == 636_968_960
    assert sum(p.numel() for p in llm.parameters()) == 8_030_261_248


def test_clips_last_2_to_15_seconds_and_replies_vary(tmp_path):
    examples = reference.random_examples(tmp_path, 5, 10)
    durations = sorted(example.utterance.duration for example in examples)
    assert durations[0] == pytest.approx(2.0)
    assert durations[-1] == pytest.approx(15.0)
    assert all(5 <= len(example.target.response.split()) <= 15 for example in examples)
    assert len({example.target.response for example in examples}) == 5
