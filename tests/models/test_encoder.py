import copy

import pytest
import torch
from transformers import BertConfig, BertModel, WhisperConfig, WhisperFeatureExtractor, WhisperModel

from speechllm.errors import SpeechLLMError
from speechllm.models.encoder import encode, take_encoder
from speechllm.models.processing import pad_features
from speechllm.testing.corpus import tone

LAYERS = [1, 2, 3]
MELS = 80


@pytest.fixture(scope="module")
def whisper():
    """Three layers whose weights and biases are large enough that whatever leaks from padding is seen."""
    torch.manual_seed(0)
    config = WhisperConfig(
        vocab_size=60,
        d_model=16,
        encoder_layers=3,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=3,
    )
    model = WhisperModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)
    return model


def real(frames):
    return torch.ones(1, frames, dtype=torch.bool)


@torch.no_grad()
def test_at_30_s_it_is_the_encoder_of_transformers(whisper):
    log_mel = WhisperFeatureExtractor()(tone(30.0), sampling_rate=16_000, return_tensors="pt")["input_features"]
    assert log_mel.shape == (1, MELS, 3000)
    states, mask = encode(whisper.encoder, log_mel, real(3000), LAYERS)
    theirs = whisper.encoder(log_mel, output_hidden_states=True)
    assert states.shape == (1, 3, 1500, 16)
    assert mask.all()
    # Their last hidden state comes after the final LayerNorm, and so does ours.
    for ours, hidden in zip(states[0], [*theirs.hidden_states[1:3], theirs.last_hidden_state], strict=True):
        torch.testing.assert_close(ours, hidden[0], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_short_clip_is_the_encoder_of_transformers_on_30_s_with_the_padding_masked(whisper):
    """Theirs takes 30 s and no mask, so hooks silence its padding and mask its layers. Float32, tolerance 1e-5."""
    theirs = copy.deepcopy(whisper.encoder)
    lengths = (46, 300, 1000)
    silence = torch.zeros(len(lengths), 1, 3000)
    for row, length in enumerate(lengths):
        silence[row, :, :length] = 1.0
    hidden = (1.0 - silence[:, :, ::2]).unsqueeze(1) * torch.finfo(torch.float32).min
    for convolution in (theirs.conv1, theirs.conv2):  # GELU keeps zeros, so it may come before or after
        convolution.register_forward_pre_hook(lambda module, args: (args[0] * silence,))
    for layer in theirs.layers:
        layer.register_forward_pre_hook(lambda module, args: (args[0], hidden.expand(-1, -1, 1500, -1)))
    torch.manual_seed(2)
    padded = torch.randn(len(lengths), MELS, 3000)
    expected = theirs(padded, output_hidden_states=True)
    for row, length in enumerate(lengths):
        states, _ = encode(whisper.encoder, padded[row : row + 1, :, :length], real(length), LAYERS)
        taps = [*expected.hidden_states[1:3], expected.last_hidden_state]
        for ours, tap in zip(states[0], taps, strict=True):
            torch.testing.assert_close(ours, tap[row, : length // 2], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_taps_are_the_layers_that_were_asked_for_in_that_order(whisper):
    features = torch.randn(1, MELS, 20)
    every, _ = encode(whisper.encoder, features, real(20), LAYERS)
    some, _ = encode(whisper.encoder, features, real(20), [3, 1])
    assert torch.equal(some, every[:, [2, 0]])
    inputs = []
    hook = whisper.encoder.layer_norm.register_forward_pre_hook(lambda module, args: inputs.append(args[0]))
    encode(whisper.encoder, features, real(20), [3])
    hook.remove()
    assert torch.equal(every[:, 2], whisper.encoder.layer_norm(inputs[0]))
    assert not torch.allclose(every[:, 2], inputs[0])


@torch.no_grad()
@pytest.mark.parametrize("filling", [0.0, 7.0])
def test_padding_changes_nothing(whisper, filling):
    """Whatever stands in the padding: silence is not a zero of the log-mel scale."""
    torch.manual_seed(1)
    clips = [torch.randn(MELS, frames) for frames in (10, 64, 2, 30)]
    batch = pad_features(clips)
    features = batch["input_features"].masked_fill(~batch["input_features_mask"][:, None], filling)
    together, mask = encode(whisper.encoder, features, batch["input_features_mask"], LAYERS)
    for row, valid, clip in zip(together, mask, clips, strict=True):
        frames = clip.shape[1] // 2
        assert valid.tolist() == [True] * frames + [False] * (32 - frames)
        alone, _ = encode(whisper.encoder, clip[None], real(clip.shape[1]), LAYERS)
        torch.testing.assert_close(row[:, :frames], alone[0], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_half_precision_masks_too(whisper):
    encoder = copy.deepcopy(whisper.encoder).bfloat16()
    batch = pad_features([torch.randn(MELS, 10), torch.randn(MELS, 40)])
    states, _ = encode(encoder, batch["input_features"].bfloat16(), batch["input_features_mask"], LAYERS)
    assert states.dtype == torch.bfloat16
    assert states.isfinite().all()


def test_the_encoder_is_taken_out_of_a_whole_model(whisper):
    assert take_encoder(whisper) is whisper.encoder
    assert take_encoder(whisper.encoder) is whisper.encoder


def test_another_family_is_an_error_that_names_it():
    config = BertConfig(vocab_size=9, hidden_size=4, num_hidden_layers=1, num_attention_heads=1, intermediate_size=4)
    with pytest.raises(
        SpeechLLMError, match="encoder BertModel is not supported; use a Whisper, wav2vec2, HuBERT or WavLM"
    ):
        take_encoder(BertModel(config))
