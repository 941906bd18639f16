"""DeSTA's connector as their code builds it, with random weights, against our Q-Former loaded from its tensors."""

import pytest
import torch
from torch import nn
from transformers import BertConfig
from transformers.models.bert.modeling_bert import BertEncoder

from speechllm.errors import SpeechLLMError
from speechllm.models.adapters import build_adapter
from speechllm.models.adapters.desta import PREFIX, from_desta, settings, to_desta

TAPS, TEXT, QUERIES, SIZE, HEADS = 3, 12, 4, 8, 2


class Connector(nn.Module):
    """One pass of the BERT encoder a tap, on frames that are all real; the names are those of the published files."""

    def __init__(self, taps=TAPS, queries=QUERIES, size=SIZE, heads=HEADS, blocks=2, ffn_size=16, text_size=TEXT):
        super().__init__()
        self.layer_prompts = nn.ParameterList(nn.Parameter(torch.randn(1, queries, size)) for _ in range(taps))
        self.layer_weights = nn.Parameter(torch.zeros(queries, taps))
        config = BertConfig(num_hidden_layers=blocks, num_attention_heads=heads, hidden_size=size)
        config.intermediate_size = ffn_size
        config.add_cross_attention = config.is_decoder = True
        config._attn_implementation = "eager"  # what a config that no model has touched means
        self.qformer = BertEncoder(config)
        self.proj = nn.Sequential(nn.LayerNorm(size), nn.Linear(size, text_size))

    def forward(self, taps):
        heard = [
            self.qformer(hidden_states=prompt.expand(len(states), -1, -1), encoder_hidden_states=states)[0]
            for prompt, states in zip(self.layer_prompts, taps, strict=True)
        ]
        share = self.layer_weights.softmax(-1).T[:, None, :, None]
        return self.proj((torch.stack(heard) * share).sum(0))


@pytest.fixture(scope="module")
def published():
    torch.manual_seed(0)
    connector = Connector().eval()
    with torch.no_grad():
        for name, parameter in connector.named_parameters():
            parameter.normal_(std=0.02 if "prompts" in name else 0.5)  # small queries show BERT's epsilon
    return connector


def loaded(state, text_size=TEXT):
    adapter = build_adapter(settings(state, HEADS), num_layers=TAPS, audio_size=SIZE, text_size=text_size)
    adapter.load_state_dict(state)
    return adapter.eval()


@torch.no_grad()
@pytest.mark.parametrize("prefix", [PREFIX, ""])
def test_a_published_connector_gives_the_same_vectors(published, prefix):
    """Float32, tolerance 1e-5."""
    tensors = {prefix + name: tensor for name, tensor in published.state_dict().items()}
    states = torch.randn(2, TAPS, 7, SIZE, generator=torch.Generator().manual_seed(1))
    vectors, _ = loaded(from_desta(tensors))(states, torch.ones(2, 7, dtype=torch.bool))
    torch.testing.assert_close(vectors, published(states.unbind(1)), atol=1e-5, rtol=1e-5)


def test_there_and_back_is_the_same_file(published):
    tensors = {PREFIX + name: tensor for name, tensor in published.state_dict().items()}
    again = to_desta(from_desta(tensors))
    assert again.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert torch.equal(again[name], tensor), name


@torch.no_grad()
def test_an_adapter_of_ours_runs_in_their_code(published):
    adapter = loaded(from_desta(published.state_dict()))
    adapter.set_text_scale(0.03)
    theirs = Connector().eval()
    theirs.load_state_dict(to_desta(adapter.state_dict(), prefix=""))
    states = torch.randn(2, TAPS, 7, SIZE)
    vectors, _ = adapter(states, torch.ones(2, 7, dtype=torch.bool))
    torch.testing.assert_close(theirs(states.unbind(1)), vectors, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("blocks", "size", "heads", "expected"),
    [(2, 768, 12, 22_251_776), (6, 1280, 20, 131_540_224)],  # DeSTA2, DeSTA2.5-Audio
)
def test_shapes_at_the_published_sizes(blocks, size, heads, expected):
    with torch.device("meta"):
        theirs = Connector(4, 64, size, heads, blocks, 3072, 4096).state_dict()
        assert sum(tensor.numel() for tensor in theirs.values()) == expected
        state = from_desta(theirs)
        adapter = build_adapter(settings(state, heads), num_layers=4, audio_size=size, text_size=4096)
    assert {name: tensor.shape for name, tensor in adapter.state_dict().items()} == {
        name: tensor.shape for name, tensor in state.items()
    }


def without(tensors, name):
    return {other: tensor for other, tensor in tensors.items() if other != name}


@pytest.mark.parametrize(
    "missing", ["layer_weights", "layer_prompts.1", "qformer.layer.1.output.dense.bias", "proj.0.bias"]
)
def test_a_missing_tensor_is_an_error(published, missing):
    tensors = without(published.state_dict(), missing)
    with pytest.raises(SpeechLLMError, match="not the tensors of DeSTA's Q-Former; first at"):
        from_desta(tensors)


def test_other_tensors_are_an_error_without_the_prefix_and_left_out_with_it(published):
    tensors = {PREFIX + name: tensor for name, tensor in published.state_dict().items()}
    beside = {"llm_model.model.norm.weight": torch.ones(2)}
    assert from_desta(tensors | beside).keys() == from_desta(tensors).keys()
    with pytest.raises(SpeechLLMError, match=r"first at 'llm_model\.model\.norm\.weight'"):
        from_desta(published.state_dict() | beside)
    with pytest.raises(SpeechLLMError, match=r"first at 'layer_prompts\.0'"):
        from_desta({})
