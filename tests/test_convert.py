"""A whole DeSTA2.5-Audio checkpoint, tiny and random, in their layout."""

import json

import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModel, BertConfig, WhisperFeatureExtractor
from transformers.models.bert.modeling_bert import BertEncoder

from speechllm import SpeechLLM, SpeechLLMProcessor
from speechllm.cli import main
from speechllm.convert import desta_checkpoint
from speechllm.errors import SpeechLLMError
from speechllm.testing.corpus import tone
from speechllm.testing.tiny import tiny_waveform_encoder

QUERIES, SIZE, TEXT, TAPS = 5, 16, 32, 2


@pytest.fixture(scope="module")
def connector():
    torch.manual_seed(0)
    config = BertConfig(num_hidden_layers=2, num_attention_heads=2, hidden_size=SIZE, intermediate_size=24)
    config.add_cross_attention = config.is_decoder = True
    config._attn_implementation = "eager"
    connector = torch.nn.Module()
    queries = (torch.nn.Parameter(torch.randn(1, QUERIES, SIZE)) for _ in range(TAPS))
    connector.layer_prompts = torch.nn.ParameterList(queries)
    connector.layer_weights = torch.nn.Parameter(torch.randn(QUERIES, TAPS))
    connector.qformer = BertEncoder(config)
    connector.proj = torch.nn.Sequential(torch.nn.LayerNorm(SIZE), torch.nn.Linear(SIZE, TEXT))
    return connector.eval()


@pytest.fixture
def published(connector, encoder_reference, llm_reference, tmp_path):
    folder = tmp_path / "published"
    folder.mkdir()
    tensors = {f"perception.connector.{name}": tensor for name, tensor in connector.state_dict().items()}
    save_file(tensors, folder / "model.safetensors")
    config = {"encoder_model_id": encoder_reference, "llm_model_id": llm_reference, "prompt_size": QUERIES}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def theirs(connector, encoder, clip):
    """What their code hears in a clip: 30 s with silence, and every tap as the layer wrote it."""
    features = WhisperFeatureExtractor.from_pretrained(encoder)(clip, sampling_rate=16_000, return_tensors="pt")
    whisper = AutoModel.from_pretrained(encoder).encoder.eval()
    written = []
    for layer in whisper.layers:
        layer.register_forward_hook(lambda module, args, out: written.append(out))
    whisper(features["input_features"])
    heard = [
        connector.qformer(hidden_states=prompt, encoder_hidden_states=states)[0]
        for prompt, states in zip(connector.layer_prompts, written, strict=True)
    ]
    share = connector.layer_weights.softmax(-1).T[:, None, :, None]
    return connector.proj((torch.stack(heard) * share).sum(0))


@torch.no_grad()
def test_a_converted_checkpoint_hears_as_theirs(connector, published, encoder_reference, tmp_path, capsys):
    """Vectors of a clip of .7 s, in float32 to 1e-4."""
    assert main(["hub", "from-desta", str(published), str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "out")
    model, processor = (kind.from_pretrained(tmp_path / "out") for kind in (SpeechLLM, SpeechLLMProcessor))
    clip = tone(0.7)
    batch = processor([[{"role": "user", "content": [{"type": "audio", "audio": clip}]}]])
    vectors, valid = model.get_audio_features(batch["input_features"], batch["input_features_mask"])
    assert valid.all()
    torch.testing.assert_close(vectors, theirs(connector, encoder_reference, clip), atol=1e-4, rtol=1e-4)
    assert model.config.system_prompt == "Focus on the audio clips and instructions."


def test_the_file_of_desta2_is_read_too(connector, published, tmp_path):
    (published / "model.safetensors").unlink()
    torch.save(connector.state_dict(), published / "qformer_connector.pth")
    config = json.loads((published / "config.json").read_text())
    theirs = {"whisper_model_id": config["encoder_model_id"], "llama_model_id": config["llm_model_id"]}
    (published / "config.json").write_text(json.dumps(theirs))
    model = SpeechLLM.from_pretrained(desta_checkpoint(str(published), tmp_path / "out"))
    assert torch.equal(model.multi_modal_projector.out.weight, connector.proj[1].weight)


def no_file(folder, wider):
    (folder / "model.safetensors").unlink()
    return {}


def damaged(folder, wider):
    (folder / "model.safetensors").write_bytes(b"x" * 50)
    return {}


def damaged_pickle(folder, wider):
    (folder / "model.safetensors").rename(folder / "qformer_connector.pth")
    return {}


def no_config(folder, wider):
    (folder / "config.json").unlink()
    return {}


def half_a_config(folder, wider):
    (folder / "config.json").write_text('{"llm')
    return {}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (no_file, "holds neither model.safetensors nor qformer_connector.pth"),
        (damaged, r"model\.safetensors: is damaged"),
        (damaged_pickle, r"qformer_connector\.pth: is damaged"),
        (no_config, "names no encoder and LLM; give them"),
        (half_a_config, r"config\.json: cannot be read"),
        (lambda folder, wider: {"encoder": wider}, "does not fit between .*size mismatch"),
        (lambda folder, wider: {"encoder": waveform(folder.parent)}, "is not a Whisper"),
    ],
)
def test_what_cannot_be_converted_is_an_error(damage, message, published, wider, tmp_path):
    changes = damage(published, wider)
    with pytest.raises(SpeechLLMError, match=message) as caught:
        desta_checkpoint(str(published), tmp_path / "out", **changes)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def waveform(folder):
    return tiny_waveform_encoder(folder / "waveform")


@pytest.fixture
def wider(encoder_reference, tmp_path):
    """A Whisper of another width."""
    config = AutoConfig.from_pretrained(encoder_reference)
    config.d_model = 32
    AutoModel.from_config(config).save_pretrained(tmp_path / "wider")
    return str(tmp_path / "wider")
