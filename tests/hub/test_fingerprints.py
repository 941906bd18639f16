"""Fingerprints tell models apart, and nothing else does."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from speechllm import hub
from speechllm.errors import SpeechLLMError


def tensors() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "small": rng.standard_normal((3, 4)).astype(np.float32),
        "large": rng.standard_normal((100, 100)).astype(np.float32),  # 40 kB: sampled
        "empty": np.zeros((0, 4), np.float32),
    }


def model_folder(folder: Path, weights: dict[str, np.ndarray], config: dict | None = None, shards: int = 1) -> Path:
    folder.mkdir()
    config = config or {"model_type": "x", "hidden_size": 4, "text_config": {"layers": 2}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text("{}")
    if shards == 1:
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        return folder
    where = {}
    for index, (name, value) in enumerate(weights.items()):
        where[name] = f"model-{index % shards:05d}.safetensors"
        held = {other: weights[other] for other, file in where.items() if file == where[name]}
        save_file({**held, name: value}, folder / where[name])
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))
    (folder / "model.fp32-00000.safetensors").write_bytes(b"another copy, which nothing reads")
    return folder


def test_fingerprint_does_not_depend_on_sharding_order_or_who_wrote_it(tmp_path):
    one = hub.fingerprint(model_folder(tmp_path / "one", tensors()))
    noise = {"transformers_version": "5.0", "_name_or_path": "y", "torch_dtype": "float32", "dtype": "float32"}
    config = {"text_config": {"dtype": "z", "layers": 2}, "hidden_size": 4, "model_type": "x", **noise}
    other = model_folder(tmp_path / "other", dict(reversed(tensors().items())), config=config, shards=2)
    assert hub.fingerprint(other) == one
    assert set(one) == {"config", "weights", "tokenizer"}


@pytest.mark.parametrize(("name", "index"), [("small", 5), ("large", 0), ("large", 5000), ("large", 9999)])
def test_fingerprint_changes_with_one_weight(tmp_path, name, index):
    one = hub.fingerprint(model_folder(tmp_path / "one", tensors()))
    changed = tensors()
    changed[name].reshape(-1)[index] += 1
    other = hub.fingerprint(model_folder(tmp_path / "other", changed))
    assert {part for part in one if one[part] != other[part]} == {"weights"}


@pytest.mark.parametrize(
    "change",
    [
        lambda weights: {**weights, "small": weights["small"].reshape(4, 3)},
        lambda weights: {**weights, "small": weights["small"].view(np.int32)},
        lambda weights: {"renamed" if name == "small" else name: value for name, value in weights.items()},
        lambda weights: {name: value for name, value in weights.items() if name != "empty"},
    ],
    ids=["shape", "type", "name", "number"],
)
def test_fingerprint_changes_with_the_tensors(tmp_path, change):
    one = hub.fingerprint(model_folder(tmp_path / "one", tensors()))
    assert hub.fingerprint(model_folder(tmp_path / "other", change(tensors())))["weights"] != one["weights"]


def test_fingerprint_changes_with_config_and_tokenizer(tmp_path):
    folder = model_folder(tmp_path / "one", tensors())
    before = hub.fingerprint(folder)
    (folder / "config.json").write_text(json.dumps({"model_type": "x", "hidden_size": 8}))
    (folder / "tokenizer.json").write_text('{"a": 1}')
    after = hub.fingerprint(folder)
    assert {part for part in before if before[part] != after[part]} == {"config", "tokenizer"}
    (folder / "tokenizer.json").unlink()
    assert hub.fingerprint(folder)["tokenizer"] == ""
    (folder / "vocab.json").write_text("{}")
    assert hub.fingerprint(folder)["tokenizer"] != ""


def test_fingerprint_of_bin_checkpoints(tmp_path):
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    with pytest.raises(SpeechLLMError, match=r"bin: is not a whole .* no \*\.safetensors and no \*\.bin"):
        hub.fingerprint(folder)
    (folder / "pytorch_model.bin").write_bytes(b"weights")
    one = hub.fingerprint(folder)["weights"]
    (folder / "pytorch_model.bin").write_bytes(b"Weights")
    assert hub.fingerprint(folder)["weights"] != one


@pytest.mark.parametrize("damage", ["config.json", "model.safetensors"])
def test_fingerprint_of_a_damaged_folder_names_it(tmp_path, damage):
    folder = model_folder(tmp_path / "broken", tensors())
    (folder / damage).write_bytes(b"{")
    with pytest.raises(SpeechLLMError, match="broken: is not a whole"):
        hub.fingerprint(folder)
