import errno
import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from small import ADAPTERS, about, build
from transformers import AutoTokenizer

from speechllm import SpeechLLM, SpeechLLMProcessor
from speechllm.errors import SpeechLLMError
from speechllm.export import write_checkpoint
from speechllm.models import modeling
from speechllm.testing.corpus import tone
from speechllm.testing.tiny import CHAT_TEMPLATE, tiny_llm, tiny_whisper


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """An encoder and an LLM that a test may change; `restore` puts them back."""
    folder = tmp_path_factory.mktemp("places")
    return {"encoder": tiny_whisper(folder / "encoder"), "llm": tiny_llm(folder / "llm")}


def odd_weights(model):
    """Every trainable tensor away from its initial value, so that one that is not loaded is noticed."""
    torch.manual_seed(5)
    with torch.no_grad():
        for parameter in model.adapter_state().values():
            parameter.add_(torch.randn_like(parameter) * 0.1)


@pytest.fixture(scope="module")
def checkpoint(places, tmp_path_factory):
    """(folder, logits, batch) of a checkpoint with odd weights; not to be changed."""
    model, processor = build(places["encoder"], places["llm"], ADAPTERS["qformer"], system_prompt="Listen.")
    odd_weights(model)
    folder = write_checkpoint(model, processor, tmp_path_factory.mktemp("saved") / "checkpoint")
    return folder, answer(model, processor)


@pytest.fixture
def copied(checkpoint, tmp_path):
    """A copy of the checkpoint that a test may damage."""
    return Path(shutil.copytree(checkpoint[0], tmp_path / "checkpoint"))


def answer(model, processor):
    with torch.no_grad():
        return model(**processor([about(tone(0.3), question="Who is it?"), about(tone(0.8), tone(0.2))])).logits


def test_loading_gives_the_same_logits_bit_for_bit(checkpoint):
    folder, logits = checkpoint
    torch.manual_seed(99)
    model, processor = SpeechLLM.from_pretrained(folder), SpeechLLMProcessor.from_pretrained(folder)
    assert torch.equal(answer(model, processor), logits)
    assert model.config.system_prompt == "Listen."
    assert not model.training
    assert not any(p.requires_grad for part in (model.audio_tower, model.language_model) for p in part.parameters())


def test_saving_what_was_loaded_gives_the_same_checkpoint(checkpoint, tmp_path):
    folder, logits = checkpoint
    model, processor = SpeechLLM.from_pretrained(folder), SpeechLLMProcessor.from_pretrained(folder)
    again = write_checkpoint(model, processor, tmp_path / "again")
    for name in ("adapter.safetensors", "fingerprint.json", "config.json", "tokenizer.json"):
        assert (again / name).read_bytes() == (folder / name).read_bytes(), name
    loaded = SpeechLLM.from_pretrained(again)
    assert torch.equal(answer(loaded, SpeechLLMProcessor.from_pretrained(again)), logits)


NEW_PROCESS = """
import sys
import torch
import speechllm
from speechllm import SpeechLLM, SpeechLLMProcessor
from speechllm.testing.corpus import tone

folder, threads, out = sys.argv[1:]
torch.set_num_threads(int(threads))
model, processor = SpeechLLM.from_pretrained(folder), SpeechLLMProcessor.from_pretrained(folder)
def about(clips, question):
    parts = [{"type": "audio", "audio": clip} for clip in clips]
    return [{"role": "user", "content": [*parts, {"type": "text", "text": question}]}]
conversations = [about([tone(0.3)], "Who is it?"), about([tone(0.8), tone(0.2)], "Who?")]
with torch.no_grad():
    torch.save(model(**processor(conversations)).logits, out)
"""


def test_loading_in_a_new_process_gives_the_same_logits_bit_for_bit(checkpoint, tmp_path):
    folder, logits = checkpoint
    command = [sys.executable, "-c", NEW_PROCESS, str(folder), str(torch.get_num_threads()), str(tmp_path / "logits")]
    subprocess.run(command, check=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    assert torch.equal(torch.load(tmp_path / "logits"), logits)


def test_a_checkpoint_holds_trainable_weights_only_and_a_card(checkpoint):
    folder, _ = checkpoint
    weights = load_file(folder / "adapter.safetensors")
    assert weights
    assert all(name.startswith("multi_modal_projector.") for name in weights)
    assert "# A speech adapter for" in (folder / "README.md").read_text(encoding="utf-8")
    found = json.loads((folder / "fingerprint.json").read_text(encoding="utf-8"))
    assert set(found) == {"encoder", "llm", "template"}


@pytest.mark.parametrize("mask", [0o022, 0o027])
def test_the_files_of_a_checkpoint_have_the_usual_permissions(built, mask, tmp_path):
    old = os.umask(mask)
    try:
        folder = write_checkpoint(*built, tmp_path / "checkpoint")
    finally:
        os.umask(old)
    modes = {path.name: oct(stat.S_IMODE(path.stat().st_mode)) for path in folder.iterdir()}
    assert set(modes.values()) == {oct(0o666 & ~mask)}, modes
    assert stat.S_IMODE(folder.stat().st_mode) == 0o777 & ~mask


# ---------------------------------------------------------------- what does not fit is an error


def swap_llm(places):
    tiny_llm(Path(places["llm"]), seed=1)


def swap_encoder(places):
    tiny_whisper(Path(places["encoder"]), seed=1)


def swap_template(places):
    tokenizer = AutoTokenizer.from_pretrained(places["llm"])
    tokenizer.chat_template = CHAT_TEMPLATE.replace("assistant\n", "assistant:\n")
    tokenizer.save_pretrained(places["llm"])


@pytest.mark.parametrize(
    ("swap", "part", "place"),
    [(swap_llm, "llm", "llm"), (swap_encoder, "encoder", "encoder"), (swap_template, "template", "llm")],
)
def test_another_frozen_part_or_template_is_an_error_that_names_both_sides(swap, part, place, tmp_path):
    places = {"encoder": tiny_whisper(tmp_path / "encoder"), "llm": tiny_llm(tmp_path / "llm")}
    folder = write_checkpoint(*build(places["encoder"], places["llm"]), tmp_path / "checkpoint")
    SpeechLLM.from_pretrained(folder)
    trained = json.loads((folder / "fingerprint.json").read_text(encoding="utf-8"))[part]
    swap(places)
    with pytest.raises(SpeechLLMError) as caught:
        SpeechLLM.from_pretrained(folder)
    message = str(caught.value)
    assert f"was trained with {part} {places[place]} (" in message
    assert f"but {places[place]} here has" in message
    hashes = [key for key in trained if key != "reference" and trained[key] and trained[key][:12] in message]
    assert len(hashes) == 1, "the hash that it was trained with"
    assert f"here has {hashes[0]} " in message
    assert trained[hashes[0]][:12] not in message.split(" here has ")[1]


def truncate(folder):
    file = folder / "adapter.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def only_the_header(folder):
    file = folder / "adapter.safetensors"
    file.write_bytes(file.read_bytes()[:20])


def empty(folder):
    (folder / "adapter.safetensors").write_bytes(b"")


def garble(folder):
    (folder / "adapter.safetensors").write_bytes(b"\xff" * 1000)


def change(folder, how):
    file = folder / "adapter.safetensors"
    weights = load_file(file)
    how(weights)
    save_file(weights, file)


def drop_a_tensor(folder):
    change(folder, lambda weights: weights.pop("multi_modal_projector.tap_weights"))


def add_a_tensor(folder):
    change(folder, lambda weights: weights.update({"multi_modal_projector.zzz": torch.zeros(1)}))


def reshape_a_tensor(folder):
    change(folder, lambda weights: weights.update({"multi_modal_projector.tap_weights": torch.zeros(1)}))


def smaller_adapter(folder):
    rewrite(folder / "config.json", lambda config: config["adapter"].update(queries=3))


def rewrite(file, how):
    values = json.loads(file.read_text(encoding="utf-8"))
    how(values)
    file.write_text(json.dumps(values), encoding="utf-8")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncate, r"adapter\.safetensors: is damaged"),
        (only_the_header, r"adapter\.safetensors: is damaged"),
        (empty, r"adapter\.safetensors: is damaged"),
        (garble, r"adapter\.safetensors: is damaged"),
        (drop_a_tensor, r"does not fit the adapter .*'multi_modal_projector\.tap_weights'"),
        (add_a_tensor, r"does not fit the adapter .*'multi_modal_projector\.zzz'"),
        (reshape_a_tensor, r"does not fit the adapter .*'multi_modal_projector\.tap_weights'"),
        (smaller_adapter, r"does not fit the adapter .*'multi_modal_projector\."),
        (lambda folder: (folder / "adapter.safetensors").unlink(), r"is not an adapter checkpoint"),
        (lambda folder: (folder / "fingerprint.json").unlink(), r"fingerprint\.json: cannot be read"),
        (lambda folder: (folder / "fingerprint.json").write_text('{"llm"'), r"fingerprint\.json: cannot be read"),
        (lambda folder: (folder / "fingerprint.json").write_text("[]"), r"fingerprint\.json: "),
        (lambda folder: (folder / "fingerprint.json").write_text("{}"), r"trained with encoder \?"),
        (lambda folder: (folder / "config.json").unlink(), r"config\.json names no llm"),
        (lambda folder: (folder / "config.json").write_text('{"llm"'), r"config\.json cannot be read"),
        (lambda folder: rewrite(folder / "config.json", lambda c: c.pop("llm")), r"config\.json names no llm"),
    ],
)
def test_a_damaged_checkpoint_is_an_error(damage, message, copied):
    damage(copied)
    with pytest.raises(SpeechLLMError, match=message) as caught:
        SpeechLLM.from_pretrained(copied)
    assert str(copied) in str(caught.value)


def test_a_folder_that_is_no_checkpoint_is_an_error(llm_reference, tmp_path):
    for folder in (llm_reference, tmp_path):
        with pytest.raises(SpeechLLMError, match="is not an adapter checkpoint"):
            SpeechLLM.from_pretrained(folder)


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
FULL_FOR_SAFETENSORS = SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")


@pytest.mark.parametrize(
    ("where", "error"), [("weights", FULL_FOR_SAFETENSORS), ("weights", FULL), ("tokenizer", FULL), ("card", FULL)]
)
def test_a_full_disk_leaves_the_old_checkpoint(where, error, built, copied, monkeypatch):
    before = contents(copied.parent)

    def full(*args, **kwargs):
        raise error

    model, processor = built
    if where == "weights":
        monkeypatch.setattr(modeling, "save_file", full)
    elif where == "tokenizer":
        monkeypatch.setattr(processor.tokenizer, "save_pretrained", full)
    else:
        monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(SpeechLLMError, match=r"cannot be written: .*No space left.*; free some space") as caught:
        write_checkpoint(model, processor, copied)
    monkeypatch.undo()
    assert str(copied) in str(caught.value)
    assert contents(copied.parent) == before
    assert sorted(path.name for path in copied.parent.iterdir()) == ["checkpoint"]


def test_a_checkpoint_that_cannot_take_its_place_leaves_the_old_one(built, copied, monkeypatch):
    before = contents(copied.parent)
    real = Path.replace

    def refused(self, target):
        if self.name.startswith(".checkpoint.") and Path(target) == copied:
            raise FULL
        return real(self, target)

    monkeypatch.setattr(Path, "replace", refused)
    with pytest.raises(SpeechLLMError, match="No space left"):
        write_checkpoint(*built, copied)
    assert contents(copied.parent) == before
    assert [path.name for path in copied.parent.iterdir()] == ["checkpoint"]


def test_a_full_disk_leaves_no_folder_where_there_was_none(built, monkeypatch, tmp_path):
    def full(*args, **kwargs):
        raise FULL

    monkeypatch.setattr(modeling, "save_file", full)
    with pytest.raises(SpeechLLMError, match="No space left"):
        write_checkpoint(*built, tmp_path / "checkpoint")
    assert list(tmp_path.iterdir()) == []


def test_a_new_checkpoint_replaces_the_old_one_whole(built, copied):
    (copied / "left-over.txt").write_text("x")
    write_checkpoint(*built, copied)
    assert not (copied / "left-over.txt").exists()
    assert [path.name for path in copied.parent.iterdir()] == ["checkpoint"]
    assert json.loads((copied / "config.json").read_text(encoding="utf-8"))["adapter"] == ADAPTERS["pooled"]
