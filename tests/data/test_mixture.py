from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechllm.data.mixture import Draw, Mixture, Source
from speechllm.errors import SpeechLLMError

SIZES = st.lists(st.integers(1, 40), min_size=1, max_size=4)


def mixture(sizes, weights=None, **changes):
    weights = weights or [None] * len(sizes)
    sources = [Source(f"s{k}", size, weight) for k, (size, weight) in enumerate(zip(sizes, weights, strict=True))]
    return Mixture(sources, **({"seed": 0} | changes))


@st.composite
def mixtures(draw):
    sizes = draw(SIZES)
    weights = draw(st.one_of(st.none(), st.lists(st.floats(0.1, 9.0), min_size=len(sizes), max_size=len(sizes))))
    return mixture(sizes, weights, seed=draw(st.integers(0, 5)), temperature=draw(st.sampled_from([0.5, 1.0, 3.0])))


@given(mixtures(), st.integers(0, 4))
def test_an_epoch_holds_as_many_examples_as_all_sources(mixed, epoch):
    assert len(mixed.epoch(epoch)) == sum(source.size for source in mixed.sources)


@given(mixtures())
def test_nothing_is_drawn_again_before_all_of_its_source_was_drawn(mixed):
    draws = [draw for epoch in range(6) for draw in mixed.epoch(epoch)]
    for number, source in enumerate(mixed.sources):
        counts = Counter(draw.index for draw in draws if draw.source == number)
        times = [counts[index] for index in range(source.size)]
        assert max(times) - min(times) <= 1


def drawn(mixed, epochs):
    counts = Counter(draw.source for epoch in range(epochs) for draw in mixed.epoch(epoch))
    return [counts[k] / counts.total() for k in range(len(mixed.sources))]


def test_shares_follow_weights_sizes_and_temperature():
    assert drawn(mixture([90, 10], [1.0, 3.0]), 4) == pytest.approx([0.25, 0.75])
    assert drawn(mixture([90, 10]), 1) == pytest.approx([0.9, 0.1])
    assert drawn(mixture([90, 10], temperature=2.0), 40) == pytest.approx([0.75, 0.25], abs=0.001)
    assert drawn(mixture([90, 10], temperature=float("inf")), 1) == pytest.approx([0.5, 0.5])


def test_a_share_of_less_than_one_example_an_epoch_comes_in_the_long_run():
    assert drawn(mixture([10, 10], [99.0, 1.0]), 50) == pytest.approx([0.99, 0.01])


def test_every_epoch_without_weights_is_each_example_once_in_a_new_order():
    mixed = mixture([5, 7])
    everything = [Draw(0, i) for i in range(5)] + [Draw(1, i) for i in range(7)]
    assert sorted(mixed.epoch(0)) == sorted(mixed.epoch(1)) == everything
    assert mixed.epoch(0) != mixed.epoch(1)
    assert mixed.epoch(0) != mixture([5, 7], seed=1).epoch(0)


def test_names_do_not_matter():
    """A run that was moved, with its targets elsewhere, goes on in the same order."""
    here, there = (Mixture([Source(f"{folder}/a", 9), Source(f"{folder}/b", 4)], 0) for folder in ("here", "there"))
    assert here.epoch(3) == there.epoch(3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Mixture([], 0), "no sources"),
        (lambda: mixture([3, 0]), "the source 's1' is empty"),
        (lambda: mixture([3, 3], [1.0, 0.0]), "the weight 0 of 's1' must be positive"),
        (lambda: mixture([3, 3], [1.0, None]), "some sources have a weight and some none"),
        (lambda: mixture([3], temperature=0.0), "the temperature 0 must be positive"),
        (lambda: Mixture([Source("a", 1), Source("a", 1)], 0), "two sources are called 'a'"),
    ],
)
def test_impossible_mixtures_are_refused(make, message):
    with pytest.raises(SpeechLLMError, match=message):
        make()
