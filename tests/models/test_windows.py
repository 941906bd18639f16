"""Audio of more than 30 s is heard in windows, through every adapter and both kinds of encoder."""

import pytest
import torch
from small import ADAPTERS, about, build

from speechllm.testing.corpus import tone
from speechllm.testing.tiny import tiny_waveform_encoder

FEW_VECTORS = {"stack": {"stack": 64}, "convolution": {"convolutions": 5}}
CUT = 30 * 16_000


@pytest.fixture(scope="module", params=["whisper", "wav2vec2"])
def encoder(request, encoder_reference, tmp_path_factory):
    if request.param == "whisper":
        return encoder_reference
    return tiny_waveform_encoder(tmp_path_factory.mktemp("wav2vec2"))


@torch.no_grad()
@pytest.mark.parametrize("kind", ADAPTERS)
def test_each_window_is_heard_as_if_alone(kind, encoder, llm_reference):
    """31.5 s are a window of 30 s and one of 1.5 s."""
    if kind == "decoder" and "wav2vec2" in encoder:
        pytest.skip("wav2vec2 has no decoder")
    model, processor = build(encoder, llm_reference, ADAPTERS[kind] | FEW_VECTORS.get(kind, {}))
    clip = tone(31.5, seed=2)
    batch = processor([about(clip)])
    vectors, valid = model.get_audio_features(batch["input_features"], batch["input_features_mask"])
    assert len(vectors) == 2
    assert int(valid.sum()) == int((batch["input_ids"] == processor.audio_token_id).sum())
    for row, real, piece in zip(vectors, valid, (clip[:CUT], clip[CUT:]), strict=True):
        alone = processor([about(piece)])
        one, _ = model.get_audio_features(alone["input_features"], alone["input_features_mask"])
        torch.testing.assert_close(row[real], one[0], atol=1e-5, rtol=1e-4)
    assert model(**batch).logits.isfinite().all()
