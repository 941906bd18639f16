"""A tiny random Llama, written as GGUF by the inverse of what is tested."""

import json
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from tokenizers.pre_tokenizers import ByteLevel
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig, LlamaConfig, LlamaForCausalLM

from speechllm.errors import SpeechLLMError
from speechllm.hub.gguf import convert

LETTERS = sorted(ByteLevel.alphabet())
MERGES = [("h", "e"), ("he", "l"), ("hel", "l"), ("Ġ", "t"), ("Ġ", "Ġ"), ("1", "2"), ("Ġ", "1")]
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TOKENS = [*SPECIAL, *LETTERS, *("".join(pair) for pair in MERGES)]
TEMPLATE = "{% for m in messages %}<|im_start|>{{ m.content }}<|im_end|>{% endfor %}"


def tiny_llama(tied: bool = True) -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=len(TOKENS),
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        rope_parameters={"rope_type": "default", "rope_theta": 5000.0},
        rms_norm_eps=1e-5,
        tie_word_embeddings=tied,
    )
    return LlamaForCausalLM(config).eval()


def interleaved(weight: np.ndarray, heads: int) -> np.ndarray:
    """GGUF turns neighbouring dimensions of queries and keys, Hugging Face the two halves."""
    rows, columns = weight.shape
    return weight.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)


def rounded(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Q4_1 blocks and the float32 values that they stand for."""
    packed = gguf.quants.quantize(weight, gguf.GGMLQuantizationType.Q4_1)
    return packed, gguf.quants.dequantize(packed, gguf.GGMLQuantizationType.Q4_1)


def foreign(
    path: Path,
    model: LlamaForCausalLM,
    template: str = TEMPLATE,
    pre: str = "smollm",
    leave: str = "",
    extra: str = "",
) -> None:
    """Writes the model as GGUF and sets its matrices to what the four-bit blocks keep of them."""
    config = model.config
    out = gguf.GGUFWriter(path, "llama")
    out.add_block_count(config.num_hidden_layers)
    out.add_context_length(config.max_position_embeddings)
    out.add_embedding_length(config.hidden_size)
    out.add_feed_forward_length(config.intermediate_size)
    out.add_head_count(config.num_attention_heads)
    out.add_head_count_kv(config.num_key_value_heads)
    out.add_rope_freq_base(5000.0)
    out.add_layer_norm_rms_eps(config.rms_norm_eps)
    out.add_vocab_size(config.vocab_size)
    out.add_tokenizer_model("gpt2")
    out.add_tokenizer_pre(pre)
    out.add_add_bos_token(False)
    out.add_token_list(TOKENS)
    out.add_token_types([3] * len(SPECIAL) + [1] * (len(TOKENS) - len(SPECIAL)))
    out.add_token_merges([" ".join(pair) for pair in MERGES])
    out.add_bos_token_id(1)
    out.add_eos_token_id(2)
    out.add_unk_token_id(0)
    out.add_pad_token_id(2)
    if template:
        out.add_chat_template(template)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    turned = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    if extra:
        out.add_tensor(extra, np.ones(4, np.float32))
    for name, parameter in model.named_parameters():
        if name == leave:
            continue
        value, module = parameter.data.numpy(), name.split(".")[-2]
        key = names.get_name(name, try_suffixes=(".weight",))
        if value.ndim == 1:
            out.add_tensor(key, value)
            continue
        value = rounded(value)[1]
        parameter.data.copy_(torch.from_numpy(value))
        stored = interleaved(value, turned[module]) if module in turned else value
        out.add_tensor(key, rounded(stored)[0], raw_dtype=gguf.GGMLQuantizationType.Q4_1)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


@pytest.fixture(scope="module")
def llm(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("llm")
    model = tiny_llama()
    foreign(folder / "model.gguf", model)
    (folder / "target").mkdir()
    convert(folder / "model.gguf", folder / "target")
    return model, folder / "target"


@pytest.mark.parametrize("tied", [True, False])
def test_weights_are_those_that_transformers_reads(tmp_path, tied):
    foreign(tmp_path / "model.gguf", tiny_llama(tied))
    convert(tmp_path / "model.gguf", tmp_path)
    ours = LlamaForCausalLM.from_pretrained(tmp_path)
    theirs = LlamaForCausalLM.from_pretrained(
        tmp_path, gguf_file="model.gguf", dtype=torch.float32, quantization_config=GgufConfig(dequantize=True)
    )
    assert ours.config.tie_word_embeddings is tied
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    assert all(torch.equal(value, theirs.state_dict()[name]) for name, value in ours.state_dict().items())


def test_llm_comes_back_with_the_same_logits(llm):
    model, folder = llm
    back, loading = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not any(loading.values())
    assert back.dtype == torch.float32
    assert back.lm_head.weight is back.model.embed_tokens.weight
    ids = torch.arange(20)[None]
    with torch.no_grad():
        assert torch.equal(back(ids).logits, model(ids).logits)


def test_llm_folder_says_nothing_of_quantisation(llm):
    config = (llm[1] / "config.json").read_text()
    assert "quant" not in config
    assert "gguf" not in config.lower()
    assert json.loads(config)["tie_word_embeddings"]
    generation = json.loads((llm[1] / "generation_config.json").read_text())
    assert (generation["bos_token_id"], generation["eos_token_id"], generation["pad_token_id"]) == (1, 2, 2)


def test_llm_tokenizer(llm):
    tokenizer = AutoTokenizer.from_pretrained(llm[1])
    assert tokenizer.model_max_length == 128
    assert (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token) == (
        "<|im_start|>",
        "<|im_end|>",
        "<|im_end|>",
    )
    assert tokenizer.unk_token == "<|endoftext|>"
    assert (
        tokenizer.apply_chat_template([{"role": "user", "content": "x"}], tokenize=False) == "<|im_start|>x<|im_end|>"
    )
    text = "hello  12 the\n\té<|im_end|>日"
    ids = tokenizer(text).input_ids
    assert tokenizer.decode(ids) == text
    assert tokenizer.convert_ids_to_tokens(ids)[:6] == [
        "hell",
        "o",
        "ĠĠ",
        "1",
        "2",
        "Ġt",
    ]  # digits apart, spaces together


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"template": ""}, "no chat template"),
        ({"pre": "gpt-2"}, "gpt-2"),
        ({"leave": "model.layers.1.mlp.up_proj.weight"}, "does not fill a Llama.* Missing .*layers.1.mlp.up_proj"),
        ({"extra": "rope_freqs.weight"}, "does not fill a Llama.* Unexpected .*rope_freqs"),
    ],
)
def test_llm_that_cannot_be_read(tmp_path, change, message):
    foreign(tmp_path / "model.gguf", tiny_llama(), **change)
    with pytest.raises(SpeechLLMError, match=rf"model\.gguf: .*{message}"):
        convert(tmp_path / "model.gguf", tmp_path)
