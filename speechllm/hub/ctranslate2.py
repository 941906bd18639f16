"""A Whisper in CTranslate2's format, turned into an ordinary Hugging Face folder."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from speechllm.errors import SpeechLLMError
from speechllm.hub.filling import fill, without_bars

if TYPE_CHECKING:
    from numpy.typing import NDArray

Arrays = dict[str, "NDArray[Any]"]

CTRANSLATE2_DTYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}
"""The type numbers of a CTranslate2 file. Quantised Whisper files (int8) are not converted."""

REQUIRED_SETTINGS = {
    "decoder/activation": 3,  # exact GELU
    "decoder/alibi": 0,
    "decoder/alignment_heads": 1,  # these two only say how CTranslate2 averages attention for word timestamps
    "decoder/alignment_layer": -1,
    "decoder/pre_norm": 1,
    "decoder/scale_embeddings": 0,
    "decoder/start_from_zero_embedding": 0,
}
"""Settings of the CTranslate2 decoder that Hugging Face's Whisper has built in."""

TIED_OUTPUT = {"decoder/projection/weight": "decoder/embeddings/weight"}

END = "<|endoftext|>"


def read(path: Path) -> tuple[Arrays, dict[str, str]]:
    """All named arrays of a CTranslate2 `model.bin` (format 6), and its aliases (name -> name of the array).

    The file is a header (format, name of the model's kind, its revision, number of arrays), then for each array its
    name, rank, dimensions, type number, size in bytes and data, then the aliases. Little-endian; a name is its length
    (uint16, with the closing zero byte) and its bytes.

    Raises:
        SpeechLLMError: the file is cut short, holds more than it says, or is of another kind.
    """
    data = np.memmap(path, dtype=np.uint8, mode="r").data
    at = 0

    def take(layout: str) -> tuple[Any, ...]:
        nonlocal at
        values = struct.unpack_from(f"<{layout}", data, at)
        at += struct.calcsize(f"<{layout}")
        return values

    def name() -> str:
        (length,) = take("H")
        return str(take(f"{length}s")[0][:-1], "utf-8")

    arrays: Arrays = {}
    try:
        header = (*take("I"), name(), *take("I"))
        if header != (6, "WhisperSpec", 3):
            raise SpeechLLMError(f"{path}: is a CTranslate2 file of kind {header}; expected (6, 'WhisperSpec', 3)")
        for _ in range(take("I")[0]):
            key, (rank,) = name(), take("B")
            shape, (kind, size) = take(f"{rank}I"), take("BI")
            flat = np.frombuffer(data[at : at + size], dtype=CTRANSLATE2_DTYPES[kind])
            arrays[key] = flat.reshape(shape)
            at += size
        aliases = {name(): name() for _ in range(take("I")[0])}
    except (struct.error, ValueError, KeyError) as error:
        raise SpeechLLMError(f"{path}: is damaged at byte {at}: {error}; fetch it again") from error
    if at != len(data):
        raise SpeechLLMError(f"{path}: has {len(data) - at} bytes behind its end; fetch it again")
    return arrays, aliases


def convert(source: Path, target: Path, *, multilingual: bool) -> None:
    """Writes a CTranslate2 Whisper as a float32 Hugging Face folder: weights, configurations, processor.

    Args:
        source: a folder with `model.bin` (float16 or float32), `config.json` and `tokenizer.json`.
        target: an existing empty folder.
        multilingual: whether `generate(language=..., task=...)` is to work; false for the `.en` models.

    Raises:
        SpeechLLMError: an array has no place in Whisper, or a parameter of Whisper has no array.
    """
    from transformers import GenerationConfig, WhisperConfig

    path = source / "model.bin"
    arrays, aliases = read(path)
    if aliases != TIED_OUTPUT:
        raise SpeechLLMError(f"{path}: expected the output projection to be the embedding, found aliases {aliases}")
    sizes = _whisper_sizes(path, arrays)
    processor = _whisper_processor(path, sizes["vocab_size"], sizes["num_mel_bins"])
    tokenizer = processor.tokenizer
    ids = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "decoder_start_token_id": tokenizer.convert_tokens_to_ids("<|startoftranscript|>"),
    }
    model = _whisper_model(
        path, arrays, WhisperConfig(**sizes, **ids, suppress_tokens=None, begin_suppress_tokens=None)
    )
    settings = json.loads((source / "config.json").read_text(encoding="utf-8"))
    model.generation_config = GenerationConfig(
        **ids, max_length=sizes["max_target_positions"], **_generation(settings, tokenizer, multilingual)
    )
    with without_bars():
        model.save_pretrained(target)
    processor.save_pretrained(target)
    processor.feature_extractor.save_pretrained(target)  # also under the name that older readers look for


def _whisper_model(path: Path, arrays: Arrays, config: Any) -> Any:
    """A float32 `WhisperForConditionalGeneration`; every array is used and every parameter filled, or it raises."""
    import torch
    from transformers import WhisperForConditionalGeneration

    state: dict[str, Any] = {}
    for key, value in arrays.items():
        for parameter, part in _hugging_face_names(path, key, value):
            state[parameter] = torch.from_numpy(part.astype(np.float32))
    state["proj_out.weight"] = state["model.decoder.embed_tokens.weight"]
    with torch.device("meta"):  # no random weights, so the caller's random numbers stay as they were
        model = WhisperForConditionalGeneration(config)
    return fill(path, model, state)


def _hugging_face_names(path: Path, key: str, value: NDArray[Any]) -> Iterator[tuple[str, NDArray[Any]]]:
    """The parameter or parameters of Hugging Face's Whisper that one array holds; none for a setting."""
    if key.endswith("/num_heads"):  # read by _whisper_config
        return
    if key in REQUIRED_SETTINGS:
        if value.item() != REQUIRED_SETTINGS[key]:
            raise SpeechLLMError(f"{path}: {key} is {value.item()}, but Whisper's is {REQUIRED_SETTINGS[key]}")
        return
    kind = {"gamma": "weight", "beta": "bias", "encodings": "weight"}
    *parts, last = key.split("/")
    last = kind.get(last, last)
    side = f"model.{parts[0]}"
    layer = re.fullmatch(r"layer_(\d+)", parts[1])
    if layer:
        prefix = f"{side}.layers.{layer[1]}"
        for module, part in _layer_parts(path, "/".join(parts[2:]), last, value):
            yield f"{prefix}.{module}.{last}", part
        return
    outer = {"embeddings": "embed_tokens", "position_encodings": "embed_positions"}
    yield f"{side}.{outer.get(parts[1], parts[1])}.{last}", value


LAYER_MODULES: dict[str, tuple[str, ...]] = {
    "self_attention/layer_norm": ("self_attn_layer_norm",),
    "self_attention/linear_0": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "self_attention/linear_1": ("self_attn.out_proj",),
    "attention/layer_norm": ("encoder_attn_layer_norm",),
    "attention/linear_0": ("encoder_attn.q_proj",),
    "attention/linear_1": ("encoder_attn.k_proj", "encoder_attn.v_proj"),
    "attention/linear_2": ("encoder_attn.out_proj",),
    "ffn/layer_norm": ("final_layer_norm",),
    "ffn/linear_0": ("fc1",),
    "ffn/linear_1": ("fc2",),
}
"""CTranslate2's modules of a layer and what Hugging Face calls them; several names are stacked along the rows."""


def _layer_parts(path: Path, module: str, last: str, value: NDArray[Any]) -> Iterator[tuple[str, NDArray[Any]]]:
    names = LAYER_MODULES.get(module)
    if names is None:
        raise SpeechLLMError(f"{path}: the array {module}/{last} has no place in Whisper")
    for name, part in zip(names, np.split(value, len(names)), strict=True):
        if last == "bias" and name.endswith("k_proj"):  # Whisper's keys have no bias; CTranslate2 stores zeros
            if part.any():
                raise SpeechLLMError(f"{path}: {module}/{last} has a bias for the keys, which Whisper does not have")
            continue
        yield name, part


def _whisper_sizes(path: Path, arrays: Arrays) -> dict[str, int]:
    """The part of a WhisperConfig that the arrays' shapes say."""

    def layers(side: str) -> int:
        return len({match[1] for key in arrays if (match := re.match(rf"{side}/layer_(\d+)/", key))})

    try:
        return {
            "vocab_size": arrays["decoder/embeddings/weight"].shape[0],
            "d_model": arrays["decoder/embeddings/weight"].shape[1],
            "num_mel_bins": arrays["encoder/conv1/weight"].shape[1],
            "encoder_layers": layers("encoder"),
            "decoder_layers": layers("decoder"),
            "encoder_attention_heads": arrays["encoder/num_heads"].item(),
            "decoder_attention_heads": arrays["decoder/num_heads"].item(),
            "encoder_ffn_dim": arrays["encoder/layer_0/ffn/linear_0/weight"].shape[0],
            "decoder_ffn_dim": arrays["decoder/layer_0/ffn/linear_0/weight"].shape[0],
            "max_source_positions": arrays["encoder/position_encodings/encodings"].shape[0],
            "max_target_positions": arrays["decoder/position_encodings/encodings"].shape[0],
        }
    except KeyError as error:
        raise SpeechLLMError(f"{path}: the array {error} is missing; this is not a Whisper") from error


def _whisper_processor(path: Path, vocab_size: int, mel_bins: int) -> Any:
    """Feature extractor and tokenizer; the time marks, which tokenizer.json leaves out, follow its own tokens."""
    from tokenizers import AddedToken
    from transformers import WhisperFeatureExtractor, WhisperProcessor, WhisperTokenizer

    read = json.loads(path.with_name("tokenizer.json").read_text(encoding="utf-8"))
    special = {token["content"]: token["id"] for token in read["added_tokens"] if token["special"]}
    tokenizer = WhisperTokenizer(
        vocab=read["model"]["vocab"],
        merges=[tuple(pair.split(" ")) if isinstance(pair, str) else tuple(pair) for pair in read["model"]["merges"]],
        pad_token=END,
        extra_special_tokens=sorted(special, key=lambda token: special[token]),
    )
    marks = range(vocab_size - len(tokenizer))
    tokenizer.add_tokens([AddedToken(f"<|{0.02 * i:.2f}|>", normalized=False) for i in marks])
    moved = [token for token, number in special.items() if tokenizer.convert_tokens_to_ids(token) != number]
    if moved:
        raise SpeechLLMError(f"{path.with_name('tokenizer.json')}: the number of {moved[0]} cannot be kept")
    return WhisperProcessor(WhisperFeatureExtractor(mel_bins), tokenizer)


def _generation(settings: dict[str, Any], tokenizer: Any, multilingual: bool) -> dict[str, Any]:
    """What `generate` has to know besides the ends: what is never said and, for multilingual models, the languages."""
    number = tokenizer.convert_tokens_to_ids
    common = {
        "no_timestamps_token_id": number("<|notimestamps|>"),
        "prev_sot_token_id": number("<|startofprev|>"),
        "suppress_tokens": settings["suppress_ids"],
        "begin_suppress_tokens": settings["suppress_ids_begin"],
        "alignment_heads": settings["alignment_heads"],
        "max_initial_timestamp_index": 50,  # the first words start within the first second
        "return_timestamps": False,
        "is_multilingual": multilingual,
    }
    if not multilingual:
        return common
    languages = {tokenizer.convert_ids_to_tokens(language): language for language in settings["lang_ids"]}
    tasks = {task: number(f"<|{task}|>") for task in ("transcribe", "translate")}
    return {**common, "lang_to_id": languages, "task_to_id": tasks}
