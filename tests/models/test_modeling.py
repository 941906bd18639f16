import copy
import dataclasses
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
from transformers import AutoModelForCausalLM, AutoTokenizer

from speechllm import SpeechLLM, SpeechLLMProcessor
from speechllm.data.render import ask
from speechllm.errors import SpeechLLMError
from speechllm.export import write_checkpoint
from speechllm.models import modeling
from speechllm.testing.corpus import SYSTEM, tone
from speechllm.testing.tiny import CHAT_TEMPLATE, tiny_llm, tiny_whisper
from speechllm.train import loop
from speechllm.train.data import AudioStore, pair_up
from speechllm.train.objectives import OBJECTIVES, Context

ADAPTERS = {
    "pooled": {"type": "pooled", "vectors": 10, "hidden_size": 16},
    "qformer": {"type": "qformer", "queries": 10, "blocks": 2, "size": 16, "heads": 2, "ffn_size": 32},
}


@pytest.fixture(params=ADAPTERS)
def adapter(request):
    return ADAPTERS[request.param]


def build(encoder, llm, adapter=ADAPTERS["pooled"], **settings):
    torch.manual_seed(0)
    model = SpeechLLM.from_references(encoder, llm, adapter, **settings)
    return model, SpeechLLMProcessor.for_config(model.config)


@pytest.fixture(scope="module")
def built(encoder_reference, llm_reference):
    """An untrained model and its processor; not to be changed."""
    return build(encoder_reference, llm_reference)


def run_of(config, corpus):
    """A run of the loop up to where `loop.train` calls `fit`."""
    model, processor = loop.build(config)
    store = AudioStore(model, processor)
    context = Context(model, processor, store, config.data.attributes, config.data.transcript_dropout, config.seed)
    return loop.prepare(config, context, corpus.utterances, pair_up(corpus.utterances, corpus.records))


def about(*clips, question="Who?"):
    parts = [{"type": "audio", "audio": clip} for clip in clips]
    return [{"role": "user", "content": [*parts, {"type": "text", "text": question}]}]


def tensors(module):
    return {name: t.detach().clone() for name, t in [*module.named_parameters(), *module.named_buffers()]}


def assert_untouched_llm(model, processor, reference):
    """Logits, loss and replies on text are those of the LLM loaded on its own, bit for bit."""
    plain = AutoModelForCausalLM.from_pretrained(reference)
    batch = processor([ask("Who is it?"), ask("Is the pitch low or high?", system=SYSTEM)])
    assert not batch["attention_mask"].all(), "the batch should have padding in it"
    with torch.no_grad():
        assert torch.equal(model(**batch).logits, plain(**batch).logits)
        taught = processor([ask("Who?")], ["The speaker is male."])
        assert torch.equal(model(**taught).logits, predicting_rows(plain, taught))
    chosen = {"max_new_tokens": 8, "do_sample": False, "pad_token_id": 0}
    assert torch.equal(model.generate(**batch, **chosen), plain.generate(**batch, **chosen))
    torch.manual_seed(3)
    drawn = model.generate(**batch, **chosen | {"do_sample": True})
    torch.manual_seed(3)
    assert torch.equal(drawn, plain.generate(**batch, **chosen | {"do_sample": True}))


def predicting_rows(llm, batch):
    ids = {key: batch[key] for key in ("input_ids", "attention_mask")}
    return llm(**ids).logits[:, :-1][batch["labels"][:, 1:] != -100]


# ---------------------------------------------------------------- 1 and 2: nothing frozen changes


def test_text_runs_the_untouched_llm(built, llm_reference):
    assert_untouched_llm(*built, llm_reference)


def test_training_changes_every_trainable_tensor_and_nothing_else(
    adapter, corpus, train_config, tmp_path, llm_reference
):
    run = run_of(train_config(tmp_path, adapter=adapter), corpus)
    model = run.model
    before = tensors(model)
    trainable = set(model.adapter_state())
    assert trainable == {name for name in dict(model.named_parameters()) if name.startswith("multi_modal_projector.")}
    loop.fit(run)
    after = tensors(model)
    assert after.keys() == before.keys()
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert changed == trainable
    assert [name for name, p in model.named_parameters() if p.grad is not None and name not in trainable] == []
    model.eval()
    assert_untouched_llm(model, run.context.processor, llm_reference)


def test_each_objective_alone_changes_only_the_adapter(corpus, train_config, tmp_path):
    for stage in train_config(tmp_path).stages:
        run = run_of(train_config(tmp_path / stage.objective), corpus)
        before = tensors(run.model)
        loss, _ = OBJECTIVES[stage.objective](run.context, stage)(run.examples[stage.objective], 0)
        loss.backward()
        torch.optim.SGD(run.model.parameters(), lr=1.0).step()
        changed = {name for name, t in tensors(run.model).items() if not torch.equal(t, before[name])}
        assert changed == set(run.model.adapter_state())


def test_frozen_parts_stay_in_eval_mode(built):
    model, _ = copy.deepcopy(built[0]), built[1]
    model.train()
    assert model.training
    assert model.multi_modal_projector.training
    assert all(m.training for m in model.multi_modal_projector.modules())
    assert not any(m.training for part in (model.audio_tower, model.language_model) for m in part.modules())
    model.eval()
    assert not any(m.training for m in model.modules())


def test_dropout_of_the_frozen_parts_is_off_in_training(encoder_reference, llm_reference):
    settings = dict(ADAPTERS["pooled"], dropout=0.0)
    model, processor = build(encoder_reference, llm_reference, settings)
    for module in [*model.audio_tower.modules(), *model.language_model.modules()]:
        if isinstance(module, torch.nn.Dropout) or hasattr(module, "attention_dropout"):
            module.attention_dropout = module.p = 0.9
    batch = processor([about(tone(0.3))], ["It is."])
    model.train()
    with torch.no_grad():
        assert model(**batch).loss == model(**batch).loss


# ---------------------------------------------------------------- the loss


def test_projecting_only_the_predicting_rows_gives_the_loss_of_full_logits(built):
    model, processor = built
    batch = processor([about(tone(0.3)), about(tone(0.7), tone(0.2)), ask("Hi?")], ["It is her.", "No", "Hello there."])
    labels = batch["labels"]
    with torch.no_grad():
        out = model(**batch)
        full = model(**{key: value for key, value in batch.items() if key != "labels"}).logits
        expected = torch.nn.functional.cross_entropy(full[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
        torch.testing.assert_close(out.loss, expected)
        torch.testing.assert_close(out.logits, full[:, :-1][labels[:, 1:] != -100])
        items = int((labels != -100).sum())
        torch.testing.assert_close(model(**batch, num_items_in_batch=1).loss, expected * items)
        torch.testing.assert_close(model(**batch, num_items_in_batch=torch.tensor(5)).loss, expected * items / 5)
    again = model(input_ids=batch["input_ids"][2:], attention_mask=batch["attention_mask"][2:])
    assert again.logits.shape[:2] == (1, labels.shape[1]), "the hook outlived the forward pass"


def test_a_failing_forward_pass_leaves_no_hook(built):
    model, processor = built
    batch = processor([ask("Hi?")], ["Hello."])
    with pytest.raises(TypeError):
        model(**batch, position_ids="x")
    assert not model.language_model.get_output_embeddings()._forward_pre_hooks


def test_a_batch_without_a_word_to_learn_has_no_loss(built):
    model, processor = built
    with torch.no_grad():
        assert model(**processor([about(tone(0.2))], [""], [False])).loss == 0


@pytest.mark.parametrize("kind", ADAPTERS)
def test_the_loss_of_an_example_does_not_depend_on_its_company(kind, encoder_reference, llm_reference):
    model, processor = build(encoder_reference, llm_reference, ADAPTERS[kind])
    conversations = [about(tone(0.2)), about(tone(1.5), tone(0.3), question="Is the speaker male or female? " * 3)]
    replies = ["No", "The speaker is female, and she speaks slowly."]
    with torch.no_grad():
        together = model(**processor(conversations, replies), num_items_in_batch=1).loss
        alone = [
            model(**processor([c], [r]), num_items_in_batch=1).loss for c, r in zip(conversations, replies, strict=True)
        ]
    torch.testing.assert_close(together, sum(alone), rtol=1e-5, atol=1e-4)


class Recorder(torch.optim.SGD):
    """Keeps the gradients instead of taking a step."""

    def step(self):
        self.seen = [p.grad.clone() for group in self.param_groups for p in group["params"]]


@pytest.mark.parametrize("kind", ADAPTERS)
def test_any_split_into_micro_batches_gives_the_same_gradients(kind, corpus, train_config, tmp_path):
    terms = {"cross_entropy": 0.1, "kl": 1.0, "hidden_state": 1.0}
    settings = {"steps": 1, "batch_size": 8, "max_grad_norm": 1e9, "terms": terms, "prompts": str(corpus.prompts)}
    stages = [{"objective": objective, **settings} for objective in OBJECTIVES]
    config = train_config(tmp_path, stages=stages, adapter=ADAPTERS[kind] | {"dropout": 0.0})
    run = run_of(config, corpus)
    for stage in config.stages:
        found = {}
        for micro in (8, 4, 3, 1):
            recorder = Recorder(run.model.adapter_state().values(), lr=1.0)
            objective = OBJECTIVES[stage.objective](run.context, stage)
            settings = dataclasses.replace(stage, micro_batch_size=micro)
            entry = loop._step(objective, run.examples[stage.objective], settings, 0, recorder, run)
            found[micro] = (entry["loss"], entry["items"], entry["grad_norm"], recorder.seen)
        loss, items, norm, gradients = found[8]
        assert items > 8
        assert any(bool(g.any()) for g in gradients)
        for micro in (4, 3, 1):
            assert found[micro][1] == items
            assert found[micro][0] == pytest.approx(loss, rel=1e-5, abs=1e-7)
            assert found[micro][2] == pytest.approx(norm, rel=1e-4)
            for ours, theirs in zip(found[micro][3], gradients, strict=True):
                torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5 * norm)


# ---------------------------------------------------------------- generation


def greedy(n=6):
    return {"max_new_tokens": n, "do_sample": False, "pad_token_id": 0, "eos_token_id": None}


def test_generate_returns_the_prompt_and_the_reply(built):
    model, processor = built
    batch = processor([about(tone(0.3)), ask("Who is it, male or female?")])
    out = model.generate(**batch, **greedy())
    length = batch["input_ids"].shape[1]
    assert out.shape == (2, length + 6)
    assert torch.equal(out[:, :length], batch["input_ids"])
    # The reply is what the logits say, one token after the other.
    row = processor([about(tone(0.3))])
    ids = row["input_ids"]
    with torch.no_grad():
        for _ in range(6):
            best = model(**{**row, "input_ids": ids, "attention_mask": torch.ones_like(ids)}).logits[:, -1].argmax(-1)
            ids = torch.cat([ids, best[:, None]], dim=1)
    assert torch.equal(out[0, -6:], ids[0, -6:])


@pytest.mark.parametrize("kind", ADAPTERS)
def test_a_batch_is_answered_as_one_by_one(kind, encoder_reference, llm_reference):
    model, processor = build(encoder_reference, llm_reference, ADAPTERS[kind])
    conversations = [
        about(tone(0.2)),
        about(tone(1.5), tone(0.3), question="Is the speaker male or female?"),
        ask("Hi?"),
        about(tone(0.6), question="Write it down."),
    ]
    together = model.generate(**processor(conversations), **greedy())[:, -6:]
    alone = torch.cat([model.generate(**processor([c]), **greedy())[:, -6:] for c in conversations])
    assert torch.equal(together, alone)


def test_what_is_heard_matters(built):
    model, processor = built
    with torch.no_grad():
        low, high = (model(**processor([about(tone(0.4, hertz))])).logits for hertz in (100.0, 3000.0))
    assert not torch.allclose(low, high, atol=1e-4)


def test_audio_encoded_ahead_gives_the_same_logits(built):
    model, processor = built
    batch = processor([about(tone(0.3), tone(0.6))])
    features = batch.pop("input_features"), batch.pop("input_features_mask")
    with torch.no_grad():
        direct = model(**batch, input_features=features[0], input_features_mask=features[1]).logits
        ahead = model(**batch, encoded_audio=model.encode_audio(*features)).logits
    assert torch.equal(direct, ahead)


def test_placeholders_without_audio_are_an_error(built):
    model, processor = built
    batch = processor([about(tone(0.3))])
    ids = {key: batch[key] for key in ("input_ids", "attention_mask")}
    for call in (model, model.generate):
        with pytest.raises(SpeechLLMError, match="no input_features were given"):
            call(**ids)


def test_frozen_parts_may_be_bfloat16(encoder_reference, llm_reference):
    model, processor = build(encoder_reference, llm_reference, dtype=torch.bfloat16)
    assert {p.dtype for p in model.language_model.parameters()} == {torch.bfloat16}
    assert {p.dtype for p in model.adapter_state().values()} == {torch.float32}
    out = model(**processor([about(tone(0.3))], ["It is."]))
    out.loss.backward()
    assert out.loss.dtype == torch.float32
    assert out.loss.isfinite()
    model.generate(**processor([about(tone(0.3))]), **greedy())


@pytest.mark.parametrize("layers", [[0], [1, 3], []])
def test_layers_that_the_encoder_lacks_are_an_error(layers, encoder_reference, llm_reference):
    with pytest.raises(SpeechLLMError, match=r"audio_layers .* has the layers 1 to 2"):
        build(encoder_reference, llm_reference, audio_layers=layers)


# ---------------------------------------------------------------- 7: save and load


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
