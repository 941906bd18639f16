import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speechllm.errors import SpeechLLMError
from speechllm.models.splice import splice

SIZE = 3


@st.composite
def layouts(draw):
    """A batch: for each row a sequence of text runs and audios, an audio being the valid counts of its windows."""
    counts = st.lists(st.integers(0, 4), min_size=1, max_size=3)
    rows = draw(
        st.lists(
            st.lists(st.one_of(st.integers(0, 3), counts), max_size=6).filter(lambda parts: parts != []),
            min_size=1,
            max_size=4,
        )
    )
    left = draw(st.booleans())
    return rows, left


def build(rows, left):
    """What `splice` takes for a layout, and for each row what it has to give, position by position."""
    windows = [count for row in rows for part in row if isinstance(part, list) for count in part]
    longest = max([*windows, 1])
    vectors = torch.arange(len(windows) * longest * SIZE, dtype=torch.float32).reshape(len(windows), longest, SIZE)
    vectors = vectors + 1000
    valid = torch.arange(longest)[None, :] < torch.tensor(windows, dtype=torch.long)[:, None]
    window = iter(range(len(windows)))
    flags, wanted = [], []
    for row in rows:
        flag, expected = [], []
        for part in row:
            if isinstance(part, int):
                flag += [False] * part
                expected += [None] * part
            else:
                for count in part:
                    w = next(window)
                    flag += [True] * count
                    expected += [vectors[w, k] for k in range(count)]
        flags.append(flag)
        wanted.append(expected)
    width = max(max(map(len, flags)), 1)
    for flag, expected in zip(flags, wanted, strict=True):
        fill = width - len(flag)
        flag[:] = [False] * fill + flag if left else flag + [False] * fill
        expected[:] = [None] * fill + expected if left else expected + [None] * fill
    embeddings = -torch.arange(1, len(rows) * width * SIZE + 1, dtype=torch.float32).reshape(len(rows), width, SIZE)
    return embeddings, torch.tensor(flags), vectors, valid, wanted


@settings(max_examples=150, deadline=None)
@given(layouts())
def test_every_placeholder_gets_its_vector_and_every_other_row_stays(layout):
    embeddings, is_audio, vectors, valid, wanted = build(*layout)
    before = embeddings.clone()
    out = splice(embeddings, is_audio, vectors, valid)
    for b, row in enumerate(wanted):
        for s, vector in enumerate(row):
            assert torch.equal(out[b, s], before[b, s] if vector is None else vector)
    assert torch.equal(embeddings, before), "the input was overwritten"


@settings(max_examples=50, deadline=None)
@given(layouts())
def test_the_gradient_reaches_valid_vectors_and_only_those(layout):
    embeddings, is_audio, vectors, valid, _ = build(*layout)
    embeddings.requires_grad_()
    vectors.requires_grad_()
    weight = torch.arange(1.0, embeddings.numel() + 1).reshape(embeddings.shape)
    (splice(embeddings, is_audio, vectors, valid) * weight).sum().backward()
    assert torch.equal(vectors.grad[valid], weight[is_audio])
    assert not vectors.grad[~valid].any()
    assert torch.equal(embeddings.grad, weight * ~is_audio[..., None])


def test_vectors_take_the_dtype_of_the_embeddings():
    out = splice(torch.zeros(1, 2, SIZE).bfloat16(), torch.tensor([[True, False]]), torch.ones(1, 1, SIZE), one_valid())
    assert out.dtype == torch.bfloat16
    assert out[0, 0].float().tolist() == [1.0] * SIZE


def one_valid():
    return torch.ones(1, 1, dtype=torch.bool)


@pytest.mark.parametrize("placeholders", [0, 1, 3])
def test_a_wrong_number_of_placeholders_is_an_error_that_names_both_numbers(placeholders):
    is_audio = torch.arange(4)[None, :] < placeholders
    with pytest.raises(SpeechLLMError, match=f"{placeholders} audio placeholders but the audio has 2 vectors"):
        splice(torch.zeros(1, 4, SIZE), is_audio, torch.ones(1, 2, SIZE), torch.ones(1, 2, dtype=torch.bool))
