from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from runs import fit, log

from speechllm.train.data import Example, pair_up
from speechllm.train.order import BatchOrder, length, one_source

LENGTHS = st.none() | st.lists(st.integers(1, 9), min_size=40, max_size=40)


@given(n=st.integers(1, 40), size=st.integers(1, 60), epochs=st.integers(1, 4), seed=st.integers(0, 5), lengths=LENGTHS)
def test_every_epoch_is_a_permutation(n, size, epochs, seed, lengths):
    order = BatchOrder(one_source(n, seed), lengths, size, seed)
    steps = -(-n * epochs // size)
    seen = [i for step in range(steps) for i in order[step]]
    assert len(seen) == steps * size
    for epoch in range(epochs):
        assert sorted(seen[epoch * n : (epoch + 1) * n]) == list(range(n))


@given(n=st.integers(2, 40), size=st.integers(1, 20), steps=st.lists(st.integers(0, 100), max_size=8), lengths=LENGTHS)
def test_the_order_does_not_depend_on_what_was_asked_before(n, size, steps, lengths):
    order = BatchOrder(one_source(n, 3), lengths, size, 3)
    straight = {step: order[step] for step in range(101)}
    another = BatchOrder(one_source(n, 3), lengths, size, 3)
    assert [another[step] for step in steps] == [straight[step] for step in steps]


def test_epochs_and_seeds_have_orders_of_their_own():
    for lengths in (None, [i % 7 for i in range(20)]):
        first, second = (BatchOrder(one_source(20, 0), lengths, 10, 0)[step] for step in (0, 2))
        assert set(first) != set(second), "other company each epoch"
        assert first != BatchOrder(one_source(20, 1), lengths, 10, 1)[0]
        assert first != sorted(first)


def test_batches_of_an_epoch_are_balanced():
    """Each example is seen as often as any other, whole epochs or not."""
    order = BatchOrder(one_source(7, 0), None, 5, 0)
    seen = Counter(i for step in range(10) for i in order[step])
    assert max(seen.values()) - min(seen.values()) <= 1


def padding(lengths, size, steps):
    """Share of padding over so many batches."""
    order = BatchOrder(one_source(100, 0), lengths, size, 0)
    mixed = BatchOrder(one_source(100, 0), None, size, 0)
    real = [i * 7 % 100 + 1 for i in range(100)]

    def share(batches):
        rows = [[real[i] for i in batches[step]] for step in range(steps)]
        return 1 - sum(map(sum, rows)) / sum(max(row) * len(row) for row in rows)

    return share(order), share(mixed)


def test_batches_of_similar_length_have_little_padding():
    """Epochs of 100 examples in batches of 8: most batches are aligned with those that were sorted, in every epoch."""
    sorted_share, mixed_share = padding([i * 7 % 100 + 1 for i in range(100)], 8, 60)
    assert sorted_share < 0.25
    assert mixed_share > 0.35


def test_the_length_counts_text_and_audio(corpus):
    [example, *_] = pair_up(corpus.utterances, corpus.records)
    longer = example.target.model_copy(update={"response": example.target.response + "x" * 40})
    slower = example.utterance.model_copy(update={"duration": example.utterance.duration + 2})
    assert length(Example(example.utterance, longer)) == length(example) + 10
    assert length(Example(slower, example.target)) == length(example) + 20
    assert length(Example(example.utterance)) == example.utterance.duration * 10


def test_bucketing_changes_the_order_and_nothing_else(resumable, corpus, tmp_path):
    mixed = resumable(tmp_path / "mixed", data={"bucket": False})
    fit(mixed, corpus)
    fit(resumable(tmp_path / "bucketed"), corpus)
    bucketed = log(resumable(tmp_path / "bucketed"))
    assert [e["learning_rate"] for e in bucketed] == [e["learning_rate"] for e in log(mixed)]
    assert [e["loss"] for e in bucketed] != [e["loss"] for e in log(mixed)]
