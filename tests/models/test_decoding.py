"""The decoder writes what `model.generate` writes, prompt by prompt."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    AutoModelForCausalLM,
    DynamicCache,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
)

from speechllm.models.decoding import Decoder, _common_prefix, supports_fast_decoding
from speechllm.models.prefix import cached


@pytest.fixture(scope="module")
def model(llm_reference):
    return AutoModelForCausalLM.from_pretrained(llm_reference).eval()


def plain(model, ids, stops, limit):
    """One at a time, without padding: the reference."""
    out = model.generate(torch.tensor([ids]), max_new_tokens=limit, do_sample=False, eos_token_id=stops, pad_token_id=0)
    return out[0, len(ids) :].tolist()


tokens = st.lists(st.integers(3, 340), min_size=1, max_size=12)


@settings(max_examples=25, deadline=None)
@given(
    prefix=st.lists(st.integers(3, 340), max_size=5),
    rests=st.lists(tokens, min_size=1, max_size=9),
    batch_size=st.integers(1, 6),
    limit=st.integers(1, 9),
    stops=st.lists(st.integers(0, 340), min_size=1, max_size=120),
)
def test_greedy_replies_are_those_of_generate(model, prefix, rests, batch_size, limit, stops):
    """Whatever the lengths, the shared beginning, the size of the batch and who ends first."""
    prompts = [prefix + rest for rest in rests]
    written = Decoder(model, stops, batch_size)(prompts, max_new_tokens=limit)
    assert written == [plain(model, ids, stops, limit) for ids in prompts]


@pytest.fixture(scope="module")
def sensitive():
    """Large weights, so that what it writes depends on every token and on where it stands."""
    torch.manual_seed(0)
    size = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "vocab_size": 356}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    return LlamaForCausalLM(LlamaConfig(**size, **heads, initializer_range=0.3)).eval()


AUDIO = 2
"""Stands for vectors."""


def hearing(model, sounds, asked):
    """Reads prompts in which placeholders stand for the vectors (N, D) of a prompt's sound; notes how much is read."""

    def read(numbers, input_ids, **kwargs):
        embeddings = model.get_input_embeddings()(input_ids)
        places = input_ids == AUDIO
        asked.append(input_ids.numel())
        if places.any():
            embeddings = embeddings.masked_scatter(places[..., None], torch.cat([sounds[k] for k in numbers]))
        return model(inputs_embeds=embeddings, **kwargs)

    return read


@settings(max_examples=25, deadline=None)
@given(
    clips=st.lists(st.tuples(tokens, st.integers(1, 5), tokens), min_size=1, max_size=4),
    asked=st.lists(st.tuples(st.integers(0, 3), tokens), min_size=1, max_size=12),
    audio_last=st.booleans(),
    batch_size=st.integers(1, 8),
)
def test_prompts_about_the_same_audio_are_answered_as_if_read_alone(sensitive, clips, asked, audio_last, batch_size):
    """Whatever stands before and after the audio, however long it is, and however many prompts are about each."""
    generator = torch.Generator().manual_seed(0)
    width = sensitive.config.hidden_size
    vectors = [0.3 * torch.randn(n, width, generator=generator) for _, n, _ in clips]
    about = [k % len(clips) for k, _ in asked]
    prompts = []
    for k, (_, question) in zip(about, asked, strict=True):
        before, n, after = clips[k]
        prompts.append([*question, *before, *[AUDIO] * n] if audio_last else [*before, *[AUDIO] * n, *after, *question])
    sounds = [vectors[k] for k in about]
    decode = Decoder(sensitive, [1], batch_size, hearing(sensitive, sounds, []), AUDIO, about)
    written = decode(prompts, max_new_tokens=6)
    for ids, sound, reply in zip(prompts, sounds, written, strict=True):
        embeddings = sensitive.get_input_embeddings()(torch.tensor([ids]))
        embeddings = embeddings.masked_scatter((torch.tensor([ids]) == AUDIO)[..., None], sound)
        out = sensitive.generate(
            inputs_embeds=embeddings, max_new_tokens=6, do_sample=False, eos_token_id=[1], pad_token_id=0
        )
        assert reply == out[0].tolist()


def test_audio_that_many_prompts_are_about_is_read_once(model):
    sounds = [torch.randn(40, model.config.hidden_size)] * 8
    prompts = [[5, 6, *[AUDIO] * 40, 7, 10 + k] for k in range(8)]
    asked: list[int] = []
    Decoder(model, [1], 8, hearing(model, sounds, asked), AUDIO, ["clip"] * 8)(prompts, max_new_tokens=1)
    assert sum(asked) < 2 * len(prompts[0])


def test_rows_leave_and_others_join(model):
    """With a quarter of the ids ending a reply, most replies end early, and every refill is of another length."""
    generator = torch.Generator().manual_seed(0)
    prompts = [torch.randint(3, 341, (n % 17 + 1,), generator=generator).tolist() for n in range(40)]
    stops = list(range(0, 356, 4))
    ended: list[int] = []
    written = Decoder(model, stops, 8)(prompts, max_new_tokens=40, finished=ended.append)
    assert written == [plain(model, ids, stops, 40) for ids in prompts]
    assert sum(ended) == 40
    assert len({len(reply) for reply in written}) > 3


@pytest.mark.filterwarnings("error::FutureWarning")
def test_nothing_that_transformers_is_about_to_remove_is_used(model):
    Decoder(model, [1], 2)([[5, 6, 7, 8], [5, 6, 7, 9, 10]], max_new_tokens=3)


def test_the_cache_goes_by_the_name_that_the_llm_knows():
    class Old:
        def forward(self, input_ids, past_key_values=None):
            pass

    class New:
        def forward(self, input_ids, cache=None):
            pass

    cache = DynamicCache()
    assert cached(Old(), cache) == {"past_key_values": cache}
    assert cached(New(), cache) == {"cache": cache}


def test_sampling_is_seeded_and_follows_the_distribution(model):
    prompts = [[5, 6, 7]] * 4000
    torch.manual_seed(0)
    drawn = Decoder(model, [1], 500)(prompts, max_new_tokens=1, temperature=0.7)
    torch.manual_seed(0)
    assert Decoder(model, [1], 500)(prompts, max_new_tokens=1, temperature=0.7) == drawn
    counts = torch.bincount(torch.tensor(drawn)[:, 0], minlength=356) / 4000
    with torch.no_grad():
        expected = (model(torch.tensor([[5, 6, 7]])).logits[0, -1] / 0.7).softmax(-1)
    assert (counts - expected).abs().max() < 0.02
    torch.manual_seed(0)
    narrow = Decoder(model, [1], 500)(prompts, max_new_tokens=1, temperature=0.7, top_p=0.05)
    assert {row[0] for row in narrow} < {row[0] for row in drawn}


def test_common_prefix_leaves_each_prompt_something_of_its_own():
    assert _common_prefix([[1, 2, 3], [1, 2, 4]]) == 2
    assert _common_prefix([[1, 2], [1, 2]]) == 1
    assert _common_prefix([[1], [1, 2]]) == 0
    assert _common_prefix([[2, 1], [1, 2]]) == 0
    assert _common_prefix([[1, 9, 3, 4], [1, 9, 3, 5]], placeholder=9) == 1


def test_models_with_windows_are_left_to_generate():
    size = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "vocab_size": 9}
    assert supports_fast_decoding(LlamaForCausalLM(LlamaConfig(**size, num_key_value_heads=1)))
    windowed = MistralConfig(**size, num_key_value_heads=1, sliding_window=4)
    assert not supports_fast_decoding(MistralForCausalLM(windowed))
