"""The decoder-initialised Q-Former against transformers' own Whisper decoder."""

import pytest
import torch
from small import ADAPTERS, build
from transformers import AutoConfig, AutoModel
from transformers.models.whisper.modeling_whisper import WhisperDecoder

from speechllm.errors import SpeechLLMError
from speechllm.models.adapters import build_adapter, complete
from speechllm.testing.tiny import tiny_waveform_encoder

FRAMES, QUERIES = 7, 10


@pytest.fixture
def built(encoder_reference, llm_reference):
    return build(encoder_reference, llm_reference, ADAPTERS["decoder"], audio_layers=[2])[0]


def by_whisper(decoder, adapter, states):
    """What Whisper's decoder writes for our queries, with its positions taken out again, and the last Linear."""
    queries = (adapter.queries - decoder.embed_positions.weight[:QUERIES]).expand(len(states), -1, -1)
    hidden = decoder(inputs_embeds=queries, encoder_hidden_states=states).last_hidden_state
    return adapter.out(hidden) * adapter.text_scale


@torch.no_grad()
def test_it_starts_as_the_decoder_of_the_encoders_whisper(built, encoder_reference):
    """Float32, tolerance 1e-5."""
    adapter = built.multi_modal_projector
    decoder = AutoModel.from_pretrained(encoder_reference).decoder.eval()
    states = torch.randn(2, FRAMES, 16)
    vectors, valid = adapter(states[:, None], torch.ones(2, FRAMES, dtype=torch.bool))
    assert valid.shape == (2, QUERIES)
    torch.testing.assert_close(vectors, by_whisper(decoder, adapter, states), atol=1e-5, rtol=1e-5)
    noise = adapter.queries - decoder.embed_positions.weight[:QUERIES]
    assert 0.01 < noise.std() < 0.03


@torch.no_grad()
def test_frames_past_the_end_are_not_heard(built):
    adapter = built.multi_modal_projector
    states = torch.randn(2, 1, FRAMES, 16)
    mask = torch.arange(FRAMES) < torch.tensor([[FRAMES], [3]])
    vectors, _ = adapter(states.masked_fill(~mask[:, None, :, None], 1e4), mask)
    alone, _ = adapter(states[1:, :, :3], mask[1:, :3])
    torch.testing.assert_close(vectors[1:], alone, atol=1e-5, rtol=1e-5)


def test_the_sizes_of_the_decoder_stand_in_the_config(built):
    expected = {"type": "decoder", "queries": QUERIES, "blocks": 1, "heads": 2, "ffn_size": 32}
    assert built.config.adapter == expected


def test_without_queries_there_is_one_for_each_position(encoder_reference):
    settings = complete({"type": "decoder"}, AutoConfig.from_pretrained(encoder_reference))
    assert settings["queries"] == 448


def test_it_has_as_many_parameters_as_the_decoder_without_its_words(encoder_reference):
    config = AutoConfig.from_pretrained(encoder_reference)
    with torch.device("meta"):
        adapter = build_adapter(complete({"type": "decoder"}, config), num_layers=1, audio_size=16, text_size=32)
        decoder = WhisperDecoder(config)
    words = decoder.embed_tokens.weight.numel()
    expected = sum(p.numel() for p in decoder.parameters()) - words + 16 * 32 + 32 + 2
    assert sum(p.numel() for p in adapter.parameters()) == expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"blocks": 2}, "adapter.blocks is 2, but the decoder that it starts as has 1; leave it out"),
        ({"heads": 4}, "adapter.heads is 4, but the decoder that it starts as has 2; leave it out"),
        ({"queries": 449}, "adapter.queries is 449, but the decoder that it starts as has 448 positions; give fewer"),
    ],
)
def test_settings_that_are_not_the_decoders_are_an_error(changes, message, encoder_reference, llm_reference):
    with pytest.raises(SpeechLLMError) as caught:
        build(encoder_reference, llm_reference, ADAPTERS["decoder"] | changes)
    assert str(caught.value) == message


def test_an_encoder_without_a_decoder_is_an_error(llm_reference, tmp_path):
    with pytest.raises(SpeechLLMError, match="a wav2vec2 encoder has none; give a Whisper or another adapter"):
        build(tiny_waveform_encoder(tmp_path), llm_reference, ADAPTERS["decoder"])
