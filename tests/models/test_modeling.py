import copy
import dataclasses

import pytest
import torch
from small import ADAPTERS, about, build
from transformers import AutoModelForCausalLM

from speechllm.data.render import ask
from speechllm.errors import SpeechLLMError
from speechllm.testing.corpus import SYSTEM, tone
from speechllm.train import loop
from speechllm.train.data import AudioStore
from speechllm.train.objectives import OBJECTIVES, Context
from speechllm.train.ranks import Ranks
from speechllm.train.sources import TrainingSource
from speechllm.train.steps import take_step


@pytest.fixture(params=ADAPTERS)
def adapter(request):
    return ADAPTERS[request.param]


def run_of(config, corpus):
    """A run of the loop up to where `loop.train` calls `fit`."""
    model, processor = loop.build(config)
    store = AudioStore(model, processor)
    context = Context(model, processor, store, config.data.attributes, config.data.transcript_dropout, config.seed)
    return loop.prepare(config, context, [TrainingSource(corpus.utterances, corpus.records)], Ranks())


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
    hooks = model.language_model.get_output_embeddings()._forward_pre_hooks
    before = dict(hooks)
    with pytest.raises(TypeError):
        model(**batch, position_ids="x")
    assert dict(hooks) == before


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
    fixed = kind in ("pooled", "qformer")
    # The warm-up needs a vector a token; these tones are too short for adapters whose vectors follow the frames.
    objectives = [name for name in OBJECTIVES if fixed or name != "embedding_alignment"]
    stages = [{"objective": objective, **settings} for objective in objectives]
    still = {"dropout": 0.0} if fixed else {}
    config = train_config(tmp_path, stages=stages, adapter=ADAPTERS[kind] | still)
    run = run_of(config, corpus)
    for stage in config.stages:
        found = {}
        for micro in (8, 4, 3, 1):
            recorder = Recorder(run.model.adapter_state().values(), lr=1.0)
            objective = OBJECTIVES[stage.objective](run.context, stage)
            settings = dataclasses.replace(stage, micro_batch_size=micro)
            out = take_step(objective, run.examples[stage.objective][:8], 0, settings, recorder, Ranks())
            found[micro] = (out.loss, out.items, out.grad_norm, recorder.seen)
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


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_adapter_multiplies_in_the_type_of_the_frozen_parts_and_learns_in_float32(
    dtype, adapter, encoder_reference, llm_reference
):
    model, _ = build(encoder_reference, llm_reference, adapter, dtype=dtype)
    layers, size = len(model.config.audio_layers), model.audio_tower.config.hidden_size
    encoded = model.multi_modal_projector.reduce(
        torch.randn(2, layers, 40, size, generator=torch.Generator().manual_seed(0)), torch.ones(2, 40).bool()
    )
    products = set()
    linear = [m for m in model.multi_modal_projector.modules() if isinstance(m, torch.nn.Linear)]
    hooks = [m.register_forward_hook(lambda _, __, out: products.add(out.dtype)) for m in linear]
    vectors, _ = model.project(encoded)
    for hook in hooks:
        hook.remove()
    assert products == {dtype}
    assert vectors.dtype == torch.float32
    vectors.square().sum().backward()
    gradients = [p.grad for p in model.multi_modal_projector.parameters() if p.grad is not None]
    assert {g.dtype for g in gradients} == {torch.float32}
    exact, _ = model.multi_modal_projector(encoded[0].float(), encoded[1])
    torch.testing.assert_close(vectors, exact, rtol=0.05, atol=0.05 * float(exact.abs().max()))
