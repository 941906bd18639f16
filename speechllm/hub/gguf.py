"""A Llama in GGUF format, turned into an ordinary Hugging Face folder.

transformers reads such files, too, but three times over (each reading takes seconds); its tokenizer ignores that digits
are kept apart, and in 5.17 mistakes the end token.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from speechllm.errors import SpeechLLMError
from speechllm.hub.filling import fill, without_bars

if TYPE_CHECKING:
    from gguf import GGUFReader

KIND = {
    "general.architecture": "llama",
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": "smollm",
    "tokenizer.ggml.add_bos_token": False,
}
"""The kind of file that is read: a Llama with byte-level BPE, digits apart, nothing put before the text."""

SIZES = {
    "vocab_size": "vocab_size",
    "max_position_embeddings": "context_length",
    "hidden_size": "embedding_length",
    "intermediate_size": "feed_forward_length",
    "num_hidden_layers": "block_count",
    "num_attention_heads": "attention.head_count",
    "num_key_value_heads": "attention.head_count_kv",
    "rms_norm_eps": "attention.layer_norm_rms_epsilon",
}
"""Fields of a LlamaConfig and what GGUF calls them."""

ROLES = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}

CONTROL = 3
"""The type number of tokens that stand for themselves only (`<|im_end|>`)."""


def convert(source: Path, target: Path) -> None:
    """Writes the LLM of a GGUF file as a float32 Hugging Face folder.

    Dequantised weights as safetensors, `config.json`, `generation_config.json` (a reply ends at the end-of-turn token)
    and the tokenizer with the file's own chat template.

    Args:
        source: a GGUF file with the weights and the tokenizer of a SmolLM2.
        target: an existing empty folder.

    Raises:
        SpeechLLMError: the file is of another kind, has no chat template, or does not fill a Llama.
    """
    from gguf import GGUFReader
    from transformers import GenerationConfig

    reader = GGUFReader(source)
    read = {key: field.contents() for key, field in reader.fields.items()}
    kind = {key: read.get(key) for key in KIND}
    if kind != KIND:
        raise SpeechLLMError(f"{source}: is of kind {kind}; only {KIND} is read")
    if not read.get("tokenizer.chat_template"):
        raise SpeechLLMError(f"{source}: has no chat template, so it cannot be talked to")
    ids = {f"{role}_token_id": read[f"tokenizer.ggml.{name}_token_id"] for role, name in ROLES.items()}
    model = _model(source, reader, read, ids)
    model.generation_config = GenerationConfig(**{key: ids[key] for key in ids if key != "unk_token_id"})
    with without_bars():
        model.save_pretrained(target)
    _tokenizer(read, ids).save_pretrained(target)


def _model(source: Path, reader: GGUFReader, read: dict[str, Any], ids: dict[str, int]) -> Any:
    """A float32 `LlamaForCausalLM`; every tensor of the file is used and every parameter filled, or it raises."""
    import numpy as np
    import torch
    from gguf import MODEL_ARCH, get_tensor_name_map
    from gguf.quants import dequantize
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        **{field: read[f"llama.{name}"] for field, name in SIZES.items()},
        **ids,
        rope_parameters={"rope_type": "default", "rope_theta": read["llama.rope.freq_base"]},
        tie_word_embeddings=all(tensor.name != "output.weight" for tensor in reader.tensors),
    )
    with torch.device("meta"):  # no random weights, so the caller's random numbers stay as they were
        model = LlamaForCausalLM(config)
    names = get_tensor_name_map(MODEL_ARCH.LLAMA, config.num_hidden_layers)
    parameters = {names.get_name(key, try_suffixes=(".weight",)): key for key in model.state_dict()}
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    state = {}
    for tensor in reader.tensors:
        value = np.array(dequantize(tensor.data, tensor.tensor_type))
        module = tensor.name.split(".")[-2]
        if module in heads:  # GGUF turns neighbouring dimensions of queries and keys, Hugging Face the two halves
            value = value.reshape(heads[module], -1, 2, value.shape[-1]).swapaxes(1, 2).reshape(value.shape)
        state[parameters.get(tensor.name, tensor.name)] = torch.from_numpy(value)
    if config.tie_word_embeddings:
        state["lm_head.weight"] = state["model.embed_tokens.weight"]
    return fill(source, model, state)


def _tokenizer(read: dict[str, Any], ids: dict[str, int]) -> Any:
    """The tokenizer built from the file's own lists."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    tokens: list[str] = read["tokenizer.ggml.tokens"]
    merges = [tuple(pair.split(" ")) for pair in read["tokenizer.ggml.merges"]]
    bpe = Tokenizer(models.BPE({token: number for number, token in enumerate(tokens)}, merges))
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    bpe.decoder = decoders.ByteLevel()
    types = read["tokenizer.ggml.token_type"]
    control = [token for token, type_ in zip(tokens, types, strict=True) if type_ == CONTROL]
    bpe.add_special_tokens([AddedToken(token, normalized=False) for token in control])
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        chat_template=read["tokenizer.chat_template"],
        model_max_length=read["llama.context_length"],
        **{key.removesuffix("_id"): tokens[number] for key, number in ids.items()},
    )
