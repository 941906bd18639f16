import itertools
import json
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechllm.data.mixture import Batches, Draw, Mixture, Source, text_length
from speechllm.errors import SpeechLLMError

SIZES = st.lists(st.integers(1, 40), min_size=1, max_size=4)


def mixture(sizes, weights=None, **changes):
    weights = weights or [None] * len(sizes)
    sources = [
        Source(f"s{k}", [1.0 + (7 * i + k) % 11 for i in range(size)], weight)
        for k, (size, weight) in enumerate(zip(sizes, weights, strict=True))
    ]
    return Mixture(sources, **({"seed": 0, "max_total_duration": 40.0} | changes))


@st.composite
def mixtures(draw):
    sizes = draw(SIZES)
    weights = draw(st.one_of(st.none(), st.lists(st.floats(0.1, 9.0), min_size=len(sizes), max_size=len(sizes))))
    return mixture(sizes, weights, seed=draw(st.integers(0, 5)), temperature=draw(st.sampled_from([0.5, 1.0, 3.0])))


@given(mixtures(), st.integers(0, 4), st.integers(1, 4))
def test_the_ranks_share_an_epoch_without_overlap(mixed, epoch, world):
    ranks = [mixed.batches(epoch, rank, world) for rank in range(world)]
    assert len({len(own) for own in ranks}) == 1
    seen = Counter(draw for own in ranks for batch in own for draw in batch)
    expected = Counter(mixed.epoch(epoch))
    assert seen.keys() == expected.keys()
    assert seen == expected or all(len(batch) == 1 for own in ranks for batch in own)  # which cannot be halved
    size = sum(len(source.lengths) for source in mixed.sources)
    assert abs(expected.total() - size) <= len(mixed.sources)


@settings(deadline=None)
@given(mixtures(), st.integers(0, 30), st.integers(1, 3))
def test_resuming_anywhere_gives_the_batches_of_an_unbroken_run(mixed, taken, world):
    for rank in range(world):
        unbroken = list(itertools.islice(Batches(mixed, rank, world), taken + 20))
        first = Batches(mixed, rank, world)
        assert list(itertools.islice(first, taken)) == unbroken[:taken]
        state = json.loads(json.dumps(first.state_dict()))
        resumed = Batches(mixed, rank, world, state)
        assert list(itertools.islice(resumed, 20)) == unbroken[taken:]


@given(mixtures())
def test_nothing_is_drawn_again_before_all_of_its_source_was_drawn(mixed):
    draws = [draw for epoch in range(6) for draw in mixed.epoch(epoch)]
    for number, source in enumerate(mixed.sources):
        counts = Counter(draw.index for draw in draws if draw.source == number)
        times = [counts[index] for index in range(len(source.lengths))]
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


def test_text_and_audio_share_batches_within_the_limit():
    replay = Source("replay", [text_length(150)] * 30)
    mixed = Mixture([Source("speech", [9.0] * 30), replay], seed=0, max_total_duration=40.0)
    assert {len(batch) for batch in mixed.batches(0)} <= {1, 2, 3, 4}
    assert any(len({draw.source for draw in batch}) == 2 for batch in mixed.batches(0))


def test_a_position_of_another_run_is_refused():
    state = Batches(mixture([9, 4]), world=2).state_dict()
    for other in (mixture([9, 5]), mixture([9, 4], seed=1), mixture([9, 4], [1.0, 1.0]), mixture([9, 4], batch_size=2)):
        with pytest.raises(SpeechLLMError, match="other sources, weights, limits or seed"):
            Batches(other, world=2, state=state)
    with pytest.raises(SpeechLLMError, match="of a run with 2 ranks"):
        Batches(mixture([9, 4]), world=3, state=state)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Mixture([], 0), "no sources"),
        (lambda: mixture([3, 0]), "the source 's1' is empty"),
        (lambda: mixture([3, 3], [1.0, 0.0]), "the weight 0 of 's1' must be positive"),
        (lambda: mixture([3, 3], [1.0, None]), "some sources have a weight and some none"),
        (lambda: mixture([3], temperature=0.0), "the temperature 0 must be positive"),
        (lambda: Mixture([Source("a", [1.0]), Source("a", [1.0])], 0), "two sources are called 'a'"),
    ],
)
def test_impossible_mixtures_are_refused(make, message):
    with pytest.raises(SpeechLLMError, match=message):
        make()
