"""Whisper and WavLM as one encoder."""

import json
import shutil

import pytest
import torch
from small import ADAPTERS, about, build
from transformers import AutoFeatureExtractor, AutoModel

from speechllm import SpeechLLM, SpeechLLMProcessor
from speechllm.errors import SpeechLLMError
from speechllm.models.encoder import encode
from speechllm.testing.corpus import tone
from speechllm.testing.tiny import tiny_waveform_encoder, tiny_whisper
from speechllm.train import loop

FRAME_RATE_ADAPTERS = [kind for kind in ADAPTERS if kind != "decoder"]


@pytest.fixture(scope="module", params=[False, True], ids=["base", "large"])
def other(request, tmp_path_factory):
    return tiny_waveform_encoder(tmp_path_factory.mktemp("wavlm"), "wavlm", large=request.param)


@torch.no_grad()
def test_each_encoder_hears_what_it_would_hear_alone(other, encoder_reference, llm_reference):
    """The first 16 numbers of a frame are Whisper's, the last 16 WavLM's; it writes no last frame."""
    model, processor = build(encoder_reference, llm_reference, ADAPTERS["stack"], paralinguistic_encoder=other)
    clip = tone(0.5)
    batch = processor([about(clip)])
    states, mask = model.encode_audio(batch["input_features"], batch["input_features_mask"])
    assert states.shape == (1, 2, 25, 32)
    assert mask.all()
    alone, listener = build(encoder_reference, llm_reference, ADAPTERS["stack"])
    heard = listener([about(clip)])
    whisper, _ = alone.encode_audio(heard["input_features"], heard["input_features_mask"])
    torch.testing.assert_close(states[..., :16], whisper, atol=1e-5, rtol=1e-5)
    samples = AutoFeatureExtractor.from_pretrained(other)(clip, sampling_rate=16_000, return_tensors="pt").input_values
    wavlm, _ = encode(AutoModel.from_pretrained(other).eval(), samples, torch.ones_like(samples).bool(), [1, 2])
    torch.testing.assert_close(states[:, :, :24, 16:], wavlm, atol=1e-5, rtol=1e-5)
    assert not states[:, :, 24, 16:].any()


@torch.no_grad()
@pytest.mark.parametrize("kind", FRAME_RATE_ADAPTERS)
def test_the_loss_of_an_example_does_not_depend_on_its_company(kind, other, encoder_reference, llm_reference):
    model, processor = build(encoder_reference, llm_reference, ADAPTERS[kind], paralinguistic_encoder=other)
    conversations = [about(tone(0.21)), about(tone(1.5), tone(0.3), question="Is the speaker male or female?")]
    replies = ["No", "The speaker is female."]
    together = model(**processor(conversations, replies), num_items_in_batch=1).loss
    alone = [
        model(**processor([c], [r]), num_items_in_batch=1).loss for c, r in zip(conversations, replies, strict=True)
    ]
    torch.testing.assert_close(together, sum(alone), rtol=1e-5, atol=1e-4)


def test_training_saving_and_loading_with_two(other, corpus, train_config, tmp_path):
    encoders = {"paralinguistic_encoder": other}
    written = loop.train(train_config(tmp_path / "run", adapter=ADAPTERS["qformer"], model=encoders))
    config = json.loads((written / "config.json").read_text())
    assert (config["paralinguistic_encoder"], config["paralinguistic_layers"]) == (other, [1, 2])
    batch = [about(tone(0.3)), about(tone(31.0))]
    answers = []
    for _ in range(2):
        model, processor = SpeechLLM.from_pretrained(written), SpeechLLMProcessor.from_pretrained(written)
        assert not any(p.requires_grad for p in model.audio_tower.parameters())
        assert not model.train().audio_tower.paralinguistic.training
        with torch.no_grad():
            answers.append(model.eval()(**processor(batch)).logits)
    assert torch.equal(*answers)
    one, _ = build(config["encoder"], config["llm"], ADAPTERS["qformer"])
    key = "multi_modal_projector.blocks.0.cross.key.weight"
    assert model.adapter_state()[key].shape[1] == 2 * one.adapter_state()[key].shape[1]


def test_another_second_encoder_than_in_training_is_an_error(train_config, tmp_path):
    place = tmp_path / "wavlm"
    encoders = {"paralinguistic_encoder": tiny_waveform_encoder(place, "wavlm")}
    written = loop.train(train_config(tmp_path / "run", model=encoders))
    shutil.rmtree(place)
    tiny_waveform_encoder(place, "wavlm", seed=1)
    with pytest.raises(SpeechLLMError, match="was trained with paralinguistic_encoder"):
        SpeechLLM.from_pretrained(written)


def wide_steps(folder):
    tiny_waveform_encoder(folder)
    config = json.loads((folder / "config.json").read_text())
    config["conv_stride"][0] = 10
    (folder / "config.json").write_text(json.dumps(config))
    return str(folder)


@pytest.mark.parametrize(
    ("first", "second", "settings", "message"),
    [
        (
            tiny_waveform_encoder,
            tiny_waveform_encoder,
            {},
            "goes beside a Whisper as encoder; these are a wav2vec2 beside",
        ),
        (tiny_whisper, tiny_whisper, {}, "these are a whisper beside a whisper"),
        (tiny_whisper, wide_steps, {}, "writes a frame every 640 samples, Whisper every 320"),
        (tiny_whisper, tiny_waveform_encoder, {"paralinguistic_layers": [1]}, "give 2 of 1 to 2, one for each"),
        (tiny_whisper, tiny_waveform_encoder, {"paralinguistic_layers": [1, 3]}, "give 2 of 1 to 2, one for each"),
    ],
)
def test_encoders_that_do_not_go_together_are_an_error(first, second, settings, message, llm_reference, tmp_path):
    encoder, other = first(tmp_path / "first"), second(tmp_path / "second")
    with pytest.raises(SpeechLLMError, match=message):
        build(encoder, llm_reference, paralinguistic_encoder=other, **settings)


def test_the_decoder_adapter_takes_one_encoder(other, encoder_reference, llm_reference):
    with pytest.raises(SpeechLLMError, match="hears its Whisper alone; leave paralinguistic_encoder out"):
        build(encoder_reference, llm_reference, ADAPTERS["decoder"], paralinguistic_encoder=other)
