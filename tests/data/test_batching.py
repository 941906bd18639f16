import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechllm.data.batching import batches
from speechllm.errors import SpeechLLMError

LENGTHS = st.lists(st.floats(0.0, 40.0), min_size=1, max_size=200)
LIMITS = st.sampled_from(
    [{"max_total_duration": 30.0}, {"max_total_duration": 90.0, "batch_size": 5}, {"batch_size": 7}]
)


@given(LENGTHS, LIMITS, st.integers(0, 3), st.integers(0, 3), st.integers(1, 5))
def test_the_ranks_see_everything_once_in_equally_many_batches_within_the_limits(lengths, limits, seed, epoch, world):
    ranks = [batches(lengths, **limits, seed=seed, epoch=epoch, rank=r, world=world) for r in range(world)]
    assert len({len(own) for own in ranks}) == 1
    seen = [index for own in ranks for batch in own for index in batch]
    assert set(seen) == set(range(len(lengths)))
    again = len(seen) - len(lengths)  # only batches of one cannot be halved to come out even
    assert again == 0 or (again < world and all(len(batch) == 1 for own in ranks for batch in own))
    for batch in (batch for own in ranks for batch in own):
        assert 1 <= len(batch) <= limits.get("batch_size", len(lengths))
        padded = max(lengths[index] for index in batch) * len(batch)
        assert len(batch) == 1 or padded <= limits.get("max_total_duration", float("inf"))


@given(LENGTHS, LIMITS, st.integers(0, 3), st.integers(0, 3))
def test_the_same_arguments_give_the_same_batches(lengths, limits, seed, epoch):
    assert batches(lengths, **limits, seed=seed, epoch=epoch) == batches(lengths, **limits, seed=seed, epoch=epoch)


def test_epochs_and_seeds_differ():
    lengths = [1.0 + k / 100 for k in range(500)]
    first = batches(lengths, batch_size=4, seed=0)
    assert first != batches(lengths, batch_size=4, seed=0, epoch=1)
    assert first != batches(lengths, batch_size=4, seed=1)


def test_a_batch_holds_examples_of_similar_length_and_little_padding():
    lengths = [1.0 + (k * 7919 % 2900) / 100 for k in range(2900)]  # 1 to 30 s, in no order
    padded = sum(
        max(lengths[i] for i in batch) * len(batch) for batch in batches(lengths, max_total_duration=120, seed=3)
    )
    assert sum(lengths) / padded > 0.95
    unsorted = sum(max(lengths[k : k + 8]) * len(lengths[k : k + 8]) for k in range(0, 2900, 8))
    assert sum(lengths) / unsorted < 0.65


def test_short_and_long_batches_are_mixed_through_the_epoch():
    lengths = [float(k) for k in range(1, 401)]
    means = [lengths[batch[0]] for batch in batches(lengths, batch_size=4, seed=0)]
    early, late = sum(means[:50]) / 50, sum(means[50:]) / 50
    assert abs(early - late) < 60


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"lengths": [1.0]}, "no limit"),
        ({"lengths": [1.0], "max_total_duration": 0.0}, "must be positive"),
        ({"lengths": [1.0], "batch_size": 0}, "must be positive"),
        ({"lengths": [1.0], "batch_size": 1, "rank": 2, "world": 2}, "rank 2 is outside a world of 2"),
        ({"lengths": [], "batch_size": 1}, "nothing to batch"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(SpeechLLMError, match=message):
        batches(**arguments, seed=0)
