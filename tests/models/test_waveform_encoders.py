"""wav2vec 2.0, HuBERT and WavLM as encoders, base-like (GroupNorm) and large-like (LayerNorm)."""

import pytest
import torch
from safetensors.torch import load_file
from small import ADAPTERS, about, build
from transformers import AutoModel

from speechllm import SpeechLLM, SpeechLLMProcessor
from speechllm.export import write_checkpoint
from speechllm.models.encoder import encode, num_frames, take_encoder
from speechllm.models.processing import pad_features
from speechllm.testing.corpus import tone
from speechllm.testing.tiny import WAVEFORM_ENCODERS, tiny_waveform_encoder
from speechllm.train import loop

KINDS = [(kind, large) for kind in WAVEFORM_ENCODERS for large in (False, True)]
LAYERS = [1, 2]
LENGTHS = (4000, 1600, 2719, 2720)


@pytest.fixture(scope="module", params=KINDS, ids=lambda param: f"{param[0]}-{'large' if param[1] else 'base'}")
def folder(request, tmp_path_factory):
    """Weights and biases are large enough that whatever leaks from padding is seen."""
    kind, large = request.param
    folder = tmp_path_factory.mktemp(kind)
    model = AutoModel.from_pretrained(tiny_waveform_encoder(folder, kind, large=large))
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "parametrizations" not in name:
                parameter.normal_(std=0.3)
    model.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def encoder(folder):
    return take_encoder(AutoModel.from_pretrained(folder)).eval()


def clips():
    generator = torch.Generator().manual_seed(3)
    return [torch.randn(length, generator=generator) for length in LENGTHS]


@torch.no_grad()
def test_alone_it_is_the_encoder_of_transformers(encoder):
    samples = clips()[0][None]
    states, mask = encode(encoder, samples, torch.ones_like(samples, dtype=torch.bool), LAYERS)
    theirs = encoder(samples, output_hidden_states=True)
    assert states.shape == (1, 2, num_frames(encoder.config, LENGTHS[0]), 16)
    assert mask.all()
    torch.testing.assert_close(states[0, 0], theirs.hidden_states[1][0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(states[0, 1], theirs.last_hidden_state[0], atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("filling", [0.0, 7.0])
def test_padding_changes_nothing(encoder, filling):
    batch = pad_features(clips())
    samples = batch["input_features"].masked_fill(~batch["input_features_mask"], filling)
    together, mask = encode(encoder, samples, batch["input_features_mask"], LAYERS)
    assert mask.sum(1).tolist() == [12, 4, 8, 8]
    for row, valid, clip in zip(together, mask, clips(), strict=True):
        alone, _ = encode(encoder, clip[None], torch.ones(1, len(clip), dtype=torch.bool), LAYERS)
        torch.testing.assert_close(row[:, valid], alone[0], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_without_the_final_norm_the_last_layer_is_as_the_block_wrote_it(encoder):
    samples = clips()[0][None]
    real = torch.ones_like(samples, dtype=torch.bool)
    written = []
    hook = encoder.encoder.layers[-1].register_forward_hook(lambda module, args, out: written.append(out))
    states, _ = encode(encoder, samples, real, LAYERS, final_norm=False)
    hook.remove()
    last = written[0][0] if isinstance(written[0], tuple) else written[0]
    assert torch.equal(states[:, 1], last)
    normed, _ = encode(encoder, samples, real, LAYERS)
    assert torch.equal(normed[:, 0], states[:, 0])
    assert torch.equal(normed[:, 1], last) != encoder.config.do_stable_layer_norm


@pytest.mark.parametrize("kind", ["pooled", "stack"])
def test_training_saving_and_loading_with_one(kind, folder, corpus, train_config, tmp_path):
    config = train_config(tmp_path / "run", adapter=ADAPTERS[kind], model={"encoder": folder})
    written = loop.train(config)
    untrained, _ = build(folder, config.model.llm, ADAPTERS[kind])
    weights = load_file(written / "adapter.safetensors")
    assert all(not torch.equal(weights[name], tensor) for name, tensor in untrained.adapter_state().items())
    model = SpeechLLM.from_pretrained(written)
    processor = SpeechLLMProcessor.from_pretrained(written)
    batch = processor([about(tone(0.3)), about(tone(0.7), tone(0.4))])
    assert batch["input_features"].shape == (3, 11200)
    with torch.no_grad():
        logits = model(**batch).logits
    again = write_checkpoint(model, processor, tmp_path / "again")
    batch = SpeechLLMProcessor.from_pretrained(again)([about(tone(0.3)), about(tone(0.7), tone(0.4))])
    with torch.no_grad():
        assert torch.equal(SpeechLLM.from_pretrained(again)(**batch).logits, logits)


def test_samples_are_normalised_where_the_feature_extractor_says_so(encoder, folder, llm_reference):
    _, processor = build(folder, llm_reference)
    (window,) = processor.features(tone(0.3) * 5 + 1)
    assert window.shape == (4800,)
    if encoder.config.feat_extract_norm == "layer":
        torch.testing.assert_close(window.mean(), torch.tensor(0.0), atol=1e-4, rtol=0)
        torch.testing.assert_close(window.std(), torch.tensor(1.0), atol=1e-3, rtol=0)
    else:
        torch.testing.assert_close(window, torch.from_numpy(tone(0.3) * 5 + 1))


@torch.no_grad()
@pytest.mark.parametrize("kind", ADAPTERS)
def test_answers_do_not_depend_on_company(kind, folder, llm_reference):
    model, processor = build(folder, llm_reference, ADAPTERS[kind])
    conversations = [about(tone(0.2)), about(tone(1.5), tone(0.3), question="Is the speaker male or female?")]
    replies = ["No", "The speaker is female."]
    together = model(**processor(conversations, replies), num_items_in_batch=1).loss
    alone = [
        model(**processor([c], [r]), num_items_in_batch=1).loss for c, r in zip(conversations, replies, strict=True)
    ]
    torch.testing.assert_close(together, sum(alone), rtol=1e-5, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("adapter", [ADAPTERS["pooled"], ADAPTERS["stack"] | {"stack": 64}])
def test_long_audio_is_heard_in_windows(adapter, tmp_path, llm_reference):
    """31.5 s are a window of 30 s and one of 1.5 s, each as it would be heard alone."""
    model, processor = build(tiny_waveform_encoder(tmp_path), llm_reference, adapter)
    clip = tone(31.5, seed=2)
    batch = processor([about(clip)])
    assert batch["input_features_mask"].sum(1).tolist() == [480_000, 24_000]
    vectors, valid = model.get_audio_features(batch["input_features"], batch["input_features_mask"])
    assert int(valid.sum()) == int((batch["input_ids"] == processor.audio_token_id).sum())
    for row, real, piece in zip(vectors, valid, (clip[:480_000], clip[480_000:]), strict=True):
        alone = processor([about(piece)])
        one, _ = model.get_audio_features(alone["input_features"], alone["input_features_mask"])
        torch.testing.assert_close(row[real], one[0], atol=1e-5, rtol=1e-4)
