import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from speechllm import SpeechLLM, SpeechLLMProcessor
from speechllm.data.render import ask
from speechllm.errors import SpeechLLMError
from speechllm.export import write_checkpoint
from speechllm.models.decoding import Decoder
from speechllm.models.lora import add_lora
from speechllm.models.reply import Sampling, TextReplier, UntouchedReplier
from speechllm.testing.corpus import SYSTEM, tone
from speechllm.train import loop
from speechllm.train.data import AudioStore
from speechllm.train.llm import set_up, training_mode
from speechllm.train.objectives import OBJECTIVES, Context
from speechllm.train.ranks import Ranks
from speechllm.train.sources import TrainingSource

LORA = {"rank": 4, "alpha": 8.0, "dropout": 0.0, "target_modules": "all-linear", "where": "audio"}
WHERE = ["audio", "everywhere"]
CROSS_ENTROPY = [{"objective": "cross_entropy", "steps": 3, "batch_size": 4, "learning_rate": 0.01}]


def build(encoder, llm, **settings):
    """A model whose updates, unlike fresh ones, change something."""
    torch.manual_seed(0)
    adapter = {"type": "pooled", "vectors": 6, "hidden_size": 16}
    model = SpeechLLM.from_references(encoder, llm, adapter, dtype=torch.float32, **settings)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.5)
    return model, SpeechLLMProcessor.for_config(model.config)


@pytest.fixture(params=WHERE)
def built(request, encoder_reference, llm_reference):
    return build(encoder_reference, llm_reference, lora={**LORA, "where": request.param})


@pytest.fixture
def gated(encoder_reference, llm_reference):
    return build(encoder_reference, llm_reference, lora=LORA)


@pytest.fixture
def untouched(llm_reference):
    return AutoModelForCausalLM.from_pretrained(llm_reference).eval()


def spoken(processor, *lengths):
    """Prompts about tones of these lengths, in seconds."""
    return processor([ask("Who?", audio={"audio": tone(s)}, system=SYSTEM) for s in lengths])


@torch.no_grad()
def logits(model, **inputs):
    return model(**inputs).logits


def text(processor):
    return dict(processor([[{"role": "user", "content": "Who is it?"}], [{"role": "user", "content": "Why?"}]]))


# ---------------------------------------------------------------- where it acts


def test_at_audio_positions_only_text_runs_the_untouched_llm(gated, untouched):
    model, processor = gated
    inputs = text(processor)
    assert torch.equal(logits(model, **inputs), logits(untouched, **inputs))
    assert torch.equal(model.generate(**inputs, max_new_tokens=8), untouched.generate(**inputs, max_new_tokens=8))
    prompts = [[3, 4, 5], [3, 4, 9, 7]]
    decoded = [Decoder(llm, [1], 2)(prompts, max_new_tokens=8) for llm in (model.language_model, untouched)]
    assert decoded[0] == decoded[1]


def test_everywhere_text_runs_the_changed_llm_unless_told_otherwise(encoder_reference, llm_reference, untouched):
    model, processor = build(encoder_reference, llm_reference, lora={**LORA, "where": "everywhere"})
    inputs = text(processor)
    assert not torch.allclose(logits(model, **inputs), logits(untouched, **inputs), atol=0.01)
    with model.untouched():
        assert torch.equal(logits(model, **inputs), logits(untouched, **inputs))
    assert not torch.allclose(logits(model, **inputs), logits(untouched, **inputs), atol=0.01)


@pytest.mark.parametrize("changes", [{"lora": {**LORA, "where": "everywhere"}}, {"train_llm": True}])
def test_the_untouched_llm_can_be_asked_beside_the_one_that_learned(
    changes, encoder_reference, llm_reference, untouched
):
    model, processor = build(encoder_reference, llm_reference, **changes)
    with torch.no_grad():
        for parameter in model.adapter_state().values():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    asked, sampling = [ask("Who is it?"), ask("Why?")], Sampling(max_new_tokens=8)
    mine, published = (TextReplier(llm, processor.tokenizer) for llm in (model.language_model, untouched))
    expected = published(asked, sampling)
    assert UntouchedReplier(model, processor.tokenizer)(asked, sampling) == expected
    assert mine(asked, sampling) != expected
    assert mine.model is model.language_model


def test_the_update_is_masked_at_every_position_without_audio(gated, untouched):
    """One layer's output differs from the untouched one's at audio positions, and only there."""
    model, processor = gated
    inputs = spoken(processor, 0.3, 0.6)
    seen = []
    layer = model.language_model.model.layers[0].self_attn.q_proj
    layer.register_forward_hook(lambda module, args, out: seen.append((args[0], out)))
    logits(model, **inputs)
    before, after = seen[0]
    plain = torch.nn.functional.linear(before, untouched.model.layers[0].self_attn.q_proj.weight)
    changed = (after != plain).any(-1)
    assert torch.equal(changed, inputs["input_ids"] == model.config.audio_token_id)
    expected = layer.lora_B["default"](layer.lora_A["default"](before)) * (LORA["alpha"] / LORA["rank"])
    torch.testing.assert_close((after - plain)[changed], expected[changed])


def test_with_audio_the_updates_matter(built):
    model, processor = built
    inputs = spoken(processor, 0.3)
    with model.untouched():
        without = logits(model, **inputs)
    assert not torch.allclose(logits(model, **inputs), without, atol=0.01)


def test_generating_with_a_cache_is_the_argmax_of_full_passes(built):
    model, processor = built
    inputs = spoken(processor, 0.3, 0.6)
    found = model.generate(**inputs, max_new_tokens=6, do_sample=False, eos_token_id=None)
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    for _ in range(6):
        following = logits(model, **{**inputs, "input_ids": ids, "attention_mask": mask})[:, -1].argmax(-1)
        ids = torch.cat([ids, following[:, None]], 1)
        mask = torch.nn.functional.pad(mask, (0, 1), value=1)
    assert torch.equal(found, ids)


def test_beams_are_searched_with_the_updates_of_their_prompt(gated):
    model, processor = gated
    inputs = spoken(processor, 0.3, 0.6)
    together = model.generate(**inputs, max_new_tokens=5, num_beams=3, do_sample=False)
    for row, seconds in zip(together, (0.3, 0.6), strict=True):
        alone = model.generate(**spoken(processor, seconds), max_new_tokens=5, num_beams=3, do_sample=False)[0]
        assert row[-5:].tolist() == alone[-5:].tolist()


def test_a_prompt_that_is_read_in_pieces_is_refused(gated):
    model, _ = gated
    is_audio = torch.ones(1, 6, dtype=torch.bool)
    with model.lora_gate.hearing(is_audio), pytest.raises(SpeechLLMError, match="let it read prompts whole"):
        model.language_model(inputs_embeds=torch.zeros(1, 4, 32))


def test_recomputed_activations_give_the_same_gradients(built):
    """Activation checkpointing runs layers again in the backward pass, after another use of the LLM."""
    model, processor = built
    inputs = spoken(processor, 0.3)
    found = []
    for checkpointing in (False, True):
        if checkpointing:
            model.language_model.gradient_checkpointing_enable(
                {"use_reentrant": False, "context_fn": model.lora_gate.checkpoint_contexts}
            )
            model.language_model.train()
        loss = model(**inputs).logits.square().sum()
        with torch.no_grad(), model.untouched():
            model(**text(processor))
        loss.backward()
        found.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})
        model.zero_grad()
    assert found[0].keys() == found[1].keys() == set(model.adapter_state())
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient)


# ---------------------------------------------------------------- training, saving


def run_of(config, corpus):
    model, processor = loop.build(config)
    store = AudioStore(model, processor)
    context = Context(model, processor, store, config.data.attributes, config.data.transcript_dropout, config.seed)
    return loop.prepare(config, context, [TrainingSource(corpus.utterances, corpus.records)], Ranks())


TRAINED = {
    "audio": {"lora": {"rank": 4, "where": "audio", "dropout": 0.1}},
    "everywhere": {"lora": {"rank": 4, "where": "everywhere", "target_modules": ["q_proj", "v_proj"]}},
    "llm": {"train_llm": True},
}


@pytest.mark.parametrize("kind", TRAINED)
def test_training_changes_what_is_trainable_and_nothing_else(kind, corpus, train_config, tmp_path):
    run = run_of(train_config(tmp_path, model=TRAINED[kind], stages=CROSS_ENTROPY), corpus)
    before = {name: tensor.detach().clone() for name, tensor in run.model.state_dict().items()}
    loop.fit(run)
    trainable = set(run.model.adapter_state())
    after = dict(run.model.named_parameters())
    assert {name for name in after if not torch.equal(after[name], before[name])} == trainable
    assert {name.split(".")[0] for name in trainable} == {"multi_modal_projector", "language_model"}
    assert all("lora_" in n or kind == "llm" for n in trainable if n.startswith("language_model"))


@pytest.mark.parametrize("kind", TRAINED)
def test_save_and_load_give_the_same_logits_bit_for_bit(kind, corpus, train_config, tmp_path):
    run = run_of(train_config(tmp_path / "run", model=TRAINED[kind], stages=CROSS_ENTROPY), corpus)
    loop.fit(run)
    run.model.train(False)
    folder = write_checkpoint(run.model, run.context.processor, tmp_path / "checkpoint")
    loaded, processor = SpeechLLM.from_pretrained(folder), SpeechLLMProcessor.from_pretrained(folder)
    assert loaded.adapter_state().keys() == run.model.adapter_state().keys()
    for inputs in (spoken(processor, 0.3, 0.6), text(processor)):
        assert torch.equal(logits(loaded, **inputs), logits(run.model, **inputs))


def test_a_killed_run_goes_on_to_the_same_weights(corpus, train_config, tmp_path, monkeypatch):
    changes = {"model": TRAINED["audio"], "stages": CROSS_ENTROPY, "save_every": 1}
    rate = loop.learning_rate
    whole = run_of(train_config(tmp_path / "whole", **changes), corpus)
    loop.fit(whole)
    config = train_config(tmp_path / "killed", **changes)
    killed = run_of(config, corpus)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "learning_rate", lambda stage, step: rate(stage, step) if step < 2 else 1 / 0)
        with pytest.raises(ZeroDivisionError):
            loop.fit(killed)
    again = run_of(config, corpus)
    loop.fit(again)
    for name, tensor in whole.model.adapter_state().items():
        assert torch.equal(again.model.adapter_state()[name], tensor), name


@pytest.mark.parametrize("kind", ["audio", "everywhere"])
def test_activation_checkpointing_trains_the_same_updates(kind, corpus, train_config, tmp_path):
    """Distillation uses the LLM without the updates between the forward pass that learns and its backward pass."""
    found = []
    for on in (False, True):
        model = {"lora": {**TRAINED[kind]["lora"], "dropout": 0.0}, "activation_checkpointing": on}
        stages = [{"objective": "distillation", "steps": 1, "batch_size": 4}]
        run = run_of(train_config(tmp_path / str(on), model=model, stages=stages), corpus)
        set_up(run.model.language_model, run.config.model, run.model.lora_gate)
        training_mode(run.model)
        loss, _ = OBJECTIVES["distillation"](run.context, run.config.stages[0])(run.examples["distillation"][:4], 0)
        loss.backward()
        found.append({name: p.grad for name, p in run.model.adapter_state().items() if "lora_B" in name})
    assert found[0]
    for name, gradient in found[0].items():
        assert bool(gradient.any())
        torch.testing.assert_close(found[1][name], gradient)


@pytest.mark.parametrize("changes", [{"shard": True}, {"compile": True}])
def test_what_is_not_made_for_a_learning_llm_is_refused(changes, train_config, tmp_path):
    with pytest.raises(SpeechLLMError, match=r"model\.lora and model\.train_llm do not go with"):
        loop.build(train_config(tmp_path, model={**TRAINED["audio"], **changes}))


def test_dropout_of_the_updates_is_on_in_training_only(encoder_reference, llm_reference):
    model, processor = build(encoder_reference, llm_reference, lora={**LORA, "dropout": 0.5})
    inputs = spoken(processor, 0.3)
    assert torch.equal(logits(model, **inputs), logits(model, **inputs))
    model.train()
    assert not torch.equal(logits(model, **inputs), logits(model, **inputs))
    model.train(False)
    assert torch.equal(logits(model, **inputs), logits(model, **inputs))


def test_updates_of_a_bfloat16_llm_are_float32(encoder_reference, llm_reference):
    adapter = {"type": "pooled", "vectors": 6, "hidden_size": 16}
    model = SpeechLLM.from_references(encoder_reference, llm_reference, adapter, dtype=torch.bfloat16, lora=LORA)
    assert {p.dtype for p in model.adapter_state().values()} == {torch.float32}
    inputs = spoken(SpeechLLMProcessor.for_config(model.config), 0.3)
    out = model(**inputs).logits
    assert out.dtype == torch.bfloat16
    out.float().sum().backward()
    assert all(p.grad is not None for p in model.adapter_state().values())


# ---------------------------------------------------------------- errors


def tiny():
    return LlamaForCausalLM(
        LlamaConfig(vocab_size=8, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2)
    )


@pytest.mark.parametrize(
    ("targets", "message"), [(["nowhere"], "not found"), (["embed_tokens"], "plain linear layers, not Embedding")]
)
def test_modules_that_the_llm_lacks_are_one_clear_error(targets, message):
    with pytest.raises(SpeechLLMError, match=rf"model\.lora\.target_modules .*{message}") as caught:
        add_lora(tiny(), {**LORA, "target_modules": targets})
    assert "\n" not in str(caught.value)


def test_both_updates_and_all_weights_are_refused(encoder_reference, llm_reference):
    with pytest.raises(SpeechLLMError, match="not both"):
        build(encoder_reference, llm_reference, lora=LORA, train_llm=True)
