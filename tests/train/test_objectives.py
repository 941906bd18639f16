"""What the objectives over replies minimise; how they are summed is tested with the loop."""

import math

import pytest
import torch
from transformers import AutoModelForCausalLM

from speechllm import hub
from speechllm.config import StageConfig
from speechllm.data.describe import describe_attributes
from speechllm.data.render import PromptRenderer, describe_audio
from speechllm.errors import SpeechLLMError
from speechllm.train import loop
from speechllm.train.data import AudioStore, Example, pair_up
from speechllm.train.objectives import Context, CrossEntropy, Distillation, EmbeddingAlignment
from speechllm.train.objectives.divergences import DIVERGENCES, hidden_state, jensen_shannon, kl, reverse_kl


@pytest.fixture
def context(train_config, tmp_path):
    config = train_config(tmp_path, adapter={"type": "pooled", "vectors": 8, "dropout": 0.0})
    model, processor = loop.build(config)
    return Context(model, processor, AudioStore(model, processor), None, 0.0, 0)


def distillation(context, **settings):
    return Distillation(context, StageConfig(objective="distillation", steps=1, **settings))


def cross_entropy(context, **settings):
    return CrossEntropy(context, StageConfig(objective="cross_entropy", steps=1, **settings))


LOGITS = torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(0)) * 3


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_divergences_are_those_of_the_two_distributions(temperature):
    hearing, reading = LOGITS
    p, q = (torch.distributions.Categorical(logits=x / temperature) for x in (reading, hearing))
    mixture = torch.distributions.Categorical(probs=(p.probs + q.probs) / 2)
    kl_of = torch.distributions.kl_divergence
    scale = temperature**2
    torch.testing.assert_close(kl(hearing, reading, temperature), kl_of(p, q) * scale)
    torch.testing.assert_close(reverse_kl(hearing, reading, temperature), kl_of(q, p) * scale)
    expected = (kl_of(p, mixture) + kl_of(q, mixture)) / 2 * scale
    torch.testing.assert_close(jensen_shannon(hearing, reading, temperature), expected)
    assert bool((jensen_shannon(100 * hearing, 100 * reading, 1.0) <= math.log(2) + 1e-5).all())


@pytest.mark.parametrize("name", DIVERGENCES)
def test_who_hears_as_it_reads_has_nothing_to_learn(name):
    torch.testing.assert_close(DIVERGENCES[name](LOGITS[0], LOGITS[0].clone(), 2.0), torch.zeros(5), atol=1e-5, rtol=0)
    assert float(hidden_state(LOGITS[0], LOGITS[0]).abs().max()) == 0


def test_the_teacher_is_the_untouched_llm_reading_the_description(context, corpus, llm_reference):
    example, record = Example(corpus.utterances[2], corpus.records[2]), corpus.records[2]
    loss, items = distillation(context)([example], 0)
    llm = AutoModelForCausalLM.from_pretrained(hub.resolve(llm_reference))
    tokenizer = context.processor.tokenizer
    read = describe_audio(record.messages, [record.seed_description])
    text, start = PromptRenderer(tokenizer).conversation(read, record.response)
    ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
    prompt = len(tokenizer(text[:start], add_special_tokens=False)["input_ids"])
    with torch.no_grad():
        reading = llm(ids).logits[0, prompt - 1 : -1]
        inputs, _ = cross_entropy(context)._inputs([example], 0)
        hearing = context.model.predict_replies(**inputs).logits
    assert items == ids.shape[1] - prompt
    torch.testing.assert_close(loss.detach(), kl(hearing, reading, 1.0).sum(), rtol=1e-3, atol=1e-7)
    assert all(p.grad is None for p in context.model.language_model.parameters())


def test_the_distance_of_hidden_states_is_taken_at_all_tokens_or_where_the_reply_begins(context, corpus):
    batch = pair_up(corpus.utterances, corpus.records)[:3]
    inputs, _ = cross_entropy(context)._inputs(batch, 0)
    objective = distillation(context, terms={"hidden_state": 1.0})
    hearing = context.model.predict_replies(**inputs, output_hidden_states=True).hidden.detach()
    reading = context.model.predict_replies(**objective._described(batch), output_hidden_states=True).hidden
    each = (hearing - reading).square().mean(-1) / reading.square().mean(-1)
    lengths = (inputs["labels"] != -100).sum(1)
    begins = lengths.cumsum(0) - lengths
    assert float(objective(batch, 0)[0].detach()) == pytest.approx(float(each.sum()), rel=1e-5)
    last, items = distillation(context, terms={"hidden_state_last": 1.0})(batch, 0)
    assert float(last.detach()) == pytest.approx(float(each[begins].sum()), rel=1e-5)
    assert items == int(lengths.sum())


def test_the_contrastive_teacher_moves_away_from_what_the_question_alone_suggests(context, corpus):
    batch = pair_up(corpus.utterances, corpus.records)[:2]
    inputs, _ = cross_entropy(context)._inputs(batch, 0)
    objective = distillation(context, terms={"contrastive_kl": 1.0}, contrast=0.5, temperature=2.0)
    with torch.no_grad():
        hearing = context.model.predict_replies(**inputs).logits
        reading = context.model.predict_replies(**objective._described(batch)).logits
        silent = [describe_audio(e.target.messages, [""]) for e in batch]
        replies = [e.target.response for e in batch]
        guessing = context.model.predict_replies(**context.processor.tokenise(silent, [[], []], replies)).logits
    assert not torch.allclose(guessing, reading, atol=1e-3)
    expected = kl(hearing, 1.5 * reading - 0.5 * guessing, 2.0).sum()
    assert float(objective(batch, 0)[0].detach()) == pytest.approx(float(expected), rel=1e-4)
    plain = distillation(context, terms={"contrastive_kl": 1.0}, contrast=0.0)(batch, 0)[0]
    assert float(plain.detach()) == pytest.approx(float(distillation(context)(batch, 0)[0].detach()), rel=1e-5)


LEARNING_LLMS = [{"lora": {"where": "everywhere"}}, {"lora": {"where": "audio"}}, {"train_llm": True}]


@pytest.mark.parametrize("changes", LEARNING_LLMS)
def test_the_teacher_stays_the_published_llm_while_the_one_that_hears_learns(
    changes, corpus, train_config, llm_reference, tmp_path
):
    model, processor = loop.build(train_config(tmp_path, model=changes))
    context = Context(model, processor, AudioStore(model, processor), None, 0.0, 0)
    objective = distillation(context)
    example = pair_up(corpus.utterances, corpus.records)[1]
    inputs = objective._described([example])
    published = AutoModelForCausalLM.from_pretrained(hub.resolve(llm_reference))
    predicts = torch.nn.functional.pad(inputs["labels"][:, 1:] != -100, (0, 1))
    with torch.no_grad():
        expected = published(input_ids=inputs["input_ids"]).logits[predicts]
        for name, parameter in model.adapter_state().items():
            parameter.add_(torch.randn_like(parameter), alpha=0.3 if name.startswith("language_model") else 0.0)
        with model.untouched():
            found = model.predict_replies(**inputs).logits
        hearing = model.predict_replies(**objective._inputs([example], 0)[0]).logits
    torch.testing.assert_close(found, expected)
    loss, _ = objective([example], 0)
    torch.testing.assert_close(loss.detach(), kl(hearing, expected, 1.0).sum(), rtol=1e-4, atol=1e-6)
    assert {n.split(".")[0] for n in model.adapter_state()} == {"multi_modal_projector", "language_model"}


def alignment(context, **settings):
    return EmbeddingAlignment(context, StageConfig(objective="embedding_alignment", steps=1, **settings))


def test_aligned_to_the_attributes_the_first_vectors_say_them_and_the_others_a_line_break(context, corpus):
    example = Example(corpus.utterances[4])
    told = describe_attributes(example.utterance, "tags", context.attributes)
    tokenizer = context.processor.tokenizer
    ids = tokenizer(told, add_special_tokens=False)["input_ids"]
    vectors, _ = context.model.project(context.audio.get([example.utterance]))
    assert len(ids) < vectors.shape[1]
    ids += tokenizer("\n", add_special_tokens=False)["input_ids"] * (vectors.shape[1] - len(ids))
    table = context.model.get_input_embeddings().weight
    error = (vectors[0] - table[ids]).square().mean(-1) / table.square().mean()
    loss, items = alignment(context, description_style="tags")([example], 0)
    assert items == len(ids)
    torch.testing.assert_close(loss, error.sum())


def test_aligned_to_the_transcript_the_last_vectors_say_the_words_and_the_others_are_free(context, corpus):
    example = Example(corpus.utterances[4])
    words = context.processor.tokenizer(example.utterance.text, add_special_tokens=False)["input_ids"]
    objective = alignment(context, align_to="transcript")
    loss, items = objective([example], 0)
    assert items == len(words) < 8
    vectors, _ = context.model.project(context.audio.get([example.utterance]))
    table = context.model.get_input_embeddings().weight
    error = (vectors[0, -len(words) :] - table[words]).square().mean(-1) / table.square().mean()
    torch.testing.assert_close(loss, error.sum())
    long = example.utterance.model_copy(update={"text": "low " * 20})
    with pytest.raises(SpeechLLMError, match=r"tone-4: its words take .* but the adapter has 8 vectors"):
        objective([Example(long)], 0)
    with pytest.raises(SpeechLLMError, match=r"tone-4: align_to = \"transcript\" needs the words"):
        objective([Example(example.utterance.model_copy(update={"text": ""}))], 0)


def test_terms_add_up_with_their_weights(context, corpus):
    batch = pair_up(corpus.utterances, corpus.records)[:4]

    def loss(**terms):
        return float(distillation(context, terms=terms, temperature=2.0)(batch, 0)[0].detach())

    parts = 0.3 * loss(cross_entropy=1.0) + 2.0 * loss(hidden_state=1.0) + 0.5 * loss(reverse_kl=1.0)
    assert loss(cross_entropy=0.3, hidden_state=2.0, reverse_kl=0.5) == pytest.approx(parts, rel=1e-5)
    assert loss(cross_entropy=1.0) == pytest.approx(float(cross_entropy(context)(batch, 0)[0].detach()), rel=1e-6)


@pytest.mark.parametrize("term", ["cross_entropy", "hidden_state", "hidden_state_last", "contrastive_kl", *DIVERGENCES])
def test_every_term_is_learned(term, context, corpus):
    batch = pair_up(corpus.utterances, corpus.records)
    objective = distillation(context, terms={term: 1.0})
    optimizer = torch.optim.Adam(context.model.adapter_state().values(), lr=0.01)
    losses = []
    for step in range(12):
        loss, items = objective(batch, step)
        (loss / items).backward()
        losses.append(float(loss.detach()))
        optimizer.step()
        optimizer.zero_grad()
    assert losses[-1] < (0.999 if term == "cross_entropy" else 0.8) * losses[0]


def test_a_masked_token_is_not_learned(context, corpus):
    record = corpus.records[0]
    tokens = len(context.processor.tokenizer(record.response, add_special_tokens=False)["input_ids"])
    whole, items = cross_entropy(context)([Example(corpus.utterances[0], record)], 0)
    assert items == tokens + 1
    losses = []
    for kept in range(tokens):
        mask = [int(i == kept) for i in range(tokens)]
        masked = record.model_copy(update={"token_mask": mask, "finish_reason": "length"})
        loss, items = cross_entropy(context)([Example(corpus.utterances[0], masked)], 0)
        assert items == 1
        losses.append(float(loss.detach()))
    only_end = record.model_copy(update={"token_mask": [0] * tokens})
    end, _ = cross_entropy(context)([Example(corpus.utterances[0], only_end)], 0)
    assert sum(losses) + float(end.detach()) == pytest.approx(float(whole.detach()), rel=1e-5)


def test_a_mask_of_another_length_is_one_clear_error(context, corpus):
    record = corpus.records[0].model_copy(update={"token_mask": [1, 0]})
    with pytest.raises(SpeechLLMError, match=rf"target '{record.id}': token_mask has 2 entries but the reply takes"):
        cross_entropy(context)([Example(corpus.utterances[0], record)], 0)


def test_a_record_counts_by_its_weight(context, corpus):
    examples = pair_up(corpus.utterances, corpus.records)[:2]
    heavy = Example(examples[0].utterance, examples[0].target.model_copy(update={"weight": 3.0}))
    one, other = (float(cross_entropy(context)([e], 0)[0].detach()) for e in examples)
    loss, items = cross_entropy(context)([heavy, examples[1]], 0)
    assert float(loss.detach()) == pytest.approx(3 * one + other, rel=1e-5)
    assert items == cross_entropy(context)(examples, 0)[1]


def test_the_end_of_a_turn_can_weigh_more_where_the_reply_ended(context, corpus):
    record = corpus.records[0]
    tokens = len(context.processor.tokenizer(record.response, add_special_tokens=False)["input_ids"])
    for reason, extra in (("stop", 4.0), ("length", 0.0)):
        target = record.model_copy(update={"finish_reason": reason})
        ones, weighted = (
            cross_entropy(context, end_of_turn_weight=w)._inputs([Example(corpus.utterances[0], target)], 0)[1]
            for w in (1.0, 5.0)
        )
        assert bool((ones == 1).all())
        assert float((weighted - ones).sum()) == extra
        assert len(weighted) == tokens + (reason == "stop")


def test_a_target_without_audio_is_one_clear_error(corpus):
    replay = corpus.records[0].model_copy(update={"utterance_id": "", "audio": "", "strategy": "pseudo_replay"})
    with pytest.raises(SpeechLLMError, match=r"is text only \(pseudo_replay\).*leave that strategy out"):
        pair_up(corpus.utterances, [replay])
