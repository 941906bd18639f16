"""Low-rank updates of the speech encoder, which then learns with the adapter."""

import pytest
import torch
from small import ADAPTERS, about, build
from transformers import AutoModelForCausalLM

from speechllm import SpeechLLM, SpeechLLMProcessor
from speechllm.errors import SpeechLLMError
from speechllm.export import write_checkpoint
from speechllm.testing.corpus import tone
from speechllm.testing.tiny import WAVEFORM_ENCODERS, tiny_waveform_encoder
from speechllm.train import loop
from speechllm.train.data import AudioStore

LORA = {"rank": 4, "alpha": 8.0, "dropout": 0.0, "target_modules": "all-linear"}


@pytest.fixture(scope="module", params=["whisper", *WAVEFORM_ENCODERS])
def encoder(request, tmp_path_factory, encoder_reference):
    if request.param == "whisper":
        return encoder_reference
    return tiny_waveform_encoder(tmp_path_factory.mktemp(request.param), request.param)


def updates(model):
    return {name: p for name, p in model.named_parameters() if "audio_tower" in name and "lora_" in name}


def scatter(model):
    """Fresh updates change nothing; these do."""
    for name, parameter in updates(model).items():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.5)


def spoken(processor, reply="He does."):
    return processor([about(tone(0.5)), about(tone(0.8))], [reply, "No."])


def test_the_updates_learn_and_the_weights_stay(encoder, llm_reference):
    model, processor = build(encoder, llm_reference, encoder_lora=LORA)
    plain, _ = build(encoder, llm_reference)
    inputs = spoken(processor)
    heard = {key: inputs[key] for key in ("input_features", "input_features_mask")}
    assert torch.equal(model.encode_audio(**heard)[0], plain.encode_audio(**heard)[0])
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    trained = model.adapter_state()
    assert updates(model).keys() < trained.keys()
    optimizer = torch.optim.Adam(trained.values(), lr=0.01)
    for _ in range(3):
        loss = model(**inputs).loss
        loss.backward()
        optimizer.step()
    assert [name for name, p in updates(model).items() if p.grad is None or not p.grad.any()] == []
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert updates(model).keys() <= changed <= trained.keys()
    assert not torch.equal(model.encode_audio(**heard)[0], plain.encode_audio(**heard)[0])


def test_text_alone_is_the_untouched_llm(encoder_reference, llm_reference):
    model, processor = build(encoder_reference, llm_reference, encoder_lora=LORA)
    scatter(model)
    inputs = dict(processor([[{"role": "user", "content": "Who is it?"}]]))
    with torch.no_grad():
        expected = AutoModelForCausalLM.from_pretrained(llm_reference).eval()(**inputs).logits
        assert torch.equal(model(**inputs).logits, expected)


def test_a_checkpoint_holds_the_updates(encoder, llm_reference, tmp_path):
    model, processor = build(encoder, llm_reference, encoder_lora=LORA)
    scatter(model)
    write_checkpoint(model, processor, tmp_path / "checkpoint")
    again = SpeechLLM.from_pretrained(tmp_path / "checkpoint")
    inputs = spoken(SpeechLLMProcessor.from_pretrained(tmp_path / "checkpoint"))
    inputs.pop("labels")
    with torch.no_grad():
        assert torch.equal(model(**inputs).logits, again(**inputs).logits)


def test_two_encoders_learn_both(encoder_reference, llm_reference, tmp_path):
    other = tiny_waveform_encoder(tmp_path, "wavlm")
    model, processor = build(
        encoder_reference, llm_reference, ADAPTERS["stack"], paralinguistic_encoder=other, encoder_lora=LORA
    )
    scatter(model)
    model(**spoken(processor)).loss.backward()
    assert {name.split(".")[1] for name, p in updates(model).items() if p.grad.any()} == {"semantic", "paralinguistic"}


def test_dropout_of_the_updates_alone_is_switched_on(encoder_reference, llm_reference):
    model, _ = build(encoder_reference, llm_reference, encoder_lora=LORA | {"dropout": 0.5})
    model.train()
    training = {name for name, module in model.audio_tower.named_modules() if module.training}
    assert training
    assert all("lora_dropout" in name for name in training)


def test_what_cannot_be_updated_is_named(encoder_reference, llm_reference, tmp_path):
    wavlm = tiny_waveform_encoder(tmp_path, "wavlm")
    with pytest.raises(SpeechLLMError, match=r"\['q_proj'\].*WavLM.*name intermediate_dense and output_dense"):
        build(wavlm, llm_reference, encoder_lora=LORA | {"target_modules": ["q_proj", "intermediate_dense"]})
    with pytest.raises(SpeechLLMError, match=r"model\.encoder_lora\.target_modules \['nothing'\]"):
        build(encoder_reference, llm_reference, encoder_lora=LORA | {"target_modules": ["nothing"]})


def test_audio_is_encoded_anew_and_once_a_step(encoder_reference, llm_reference, corpus, monkeypatch):
    model, processor = build(encoder_reference, llm_reference, encoder_lora=LORA)
    store = AudioStore(model, processor)
    asked = [*corpus.utterances[:3], corpus.utterances[1], corpus.utterances[0]]
    assert store.fill(asked) == {}
    assert not any(store.holds(utterance) for utterance in asked)
    counted = []
    encode = model.encode_audio
    monkeypatch.setattr(
        model, "encode_audio", lambda *a, **k: counted.append(len(k["input_features"])) or encode(*a, **k)
    )
    first, mask = store.get(asked)
    assert counted == [3]
    assert first.requires_grad or not any(p.requires_grad for p in updates(model).values())
    assert torch.equal(first[1], first[3])
    assert torch.equal(mask[0], mask[4])
    scatter(model)
    assert not torch.equal(store.get(asked)[0], first)
    assert all(store.frames(utterance) for utterance in asked)


def test_a_cache_of_what_the_encoder_wrote_is_refused(train_config, tmp_path):
    config = train_config(tmp_path, model={"encoder_lora": {}}, data={"feature_cache": str(tmp_path / "kept")})
    with pytest.raises(SpeechLLMError, match=r"data\.feature_cache.*model\.encoder_lora"):
        loop.build(config)
    assert not (tmp_path / "kept").exists()
