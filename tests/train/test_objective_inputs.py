import pytest
import torch
from runs import context_of, cross_entropy, warm_up

from speechllm.errors import SpeechLLMError
from speechllm.train.data import Example, pair_up


def test_in_the_warm_up_a_vector_of_zeros_has_a_loss_of_one(train_config, corpus, tmp_path):
    context = context_of(train_config(tmp_path))
    with torch.no_grad():
        for parameter in context.model.adapter_state().values():
            parameter.zero_()
        context.model.get_input_embeddings().weight.fill_(0.02)  # all of one size, so that one is exact
        loss, items = warm_up(context)([Example(u) for u in corpus.utterances], 0)
    assert items == 8 * 10
    assert float(loss) / items == pytest.approx(1.0, rel=1e-5)


def test_the_warm_up_wants_the_embeddings_of_the_attributes(train_config, corpus, tmp_path):
    context = context_of(train_config(tmp_path, adapter={"type": "pooled", "vectors": 30}))
    context.audio.fill(corpus.utterances)
    valid = torch.ones(2, 30, dtype=torch.bool)
    rows, taught = warm_up(context)._token_ids([Example(u) for u in corpus.utterances[:2]], valid)
    assert torch.equal(taught, valid)
    read = [context.processor.decode(row).rstrip() for row in rows]
    assert read == ["<pitch>low</pitch>", "<pitch>high</pitch>"]
    rows, _ = warm_up(context, description_style="desta")._token_ids([Example(corpus.utterances[0])], valid[:1])
    assert context.processor.decode(rows[0]).rstrip() == "(Pitch: Low)"


def test_attributes_that_do_not_fit_into_the_vectors_are_an_error(train_config, corpus, tmp_path):
    context = context_of(train_config(tmp_path, adapter={"type": "pooled", "vectors": 2}))
    context.audio.fill(corpus.utterances)
    with pytest.raises(SpeechLLMError, match=r"tone-0: its attributes take \d+ tokens but the adapter has 2 vectors"):
        warm_up(context)([Example(corpus.utterances[0])], 0)


def test_audio_in_several_windows_can_be_learned(store_config, corpus, long_utterance):
    context = context_of(store_config)
    record = corpus.records[0].model_copy(update={"utterance_id": "long"})
    batch = [Example(corpus.utterances[1], corpus.records[1]), Example(long_utterance, record)]
    for objective, expected in ((warm_up(context), 3 * 10), (cross_entropy(context), None)):
        loss, items = objective(batch, 0)
        loss.backward()
        assert loss.isfinite()
        assert expected is None or items == expected


def test_a_reply_that_was_cut_short_counts_no_end_of_turn(train_config, corpus, tmp_path):
    context = context_of(train_config(tmp_path))
    cut = corpus.records[0].model_copy(update={"finish_reason": "length"})
    objective = cross_entropy(context)
    _, whole = objective([Example(corpus.utterances[0], corpus.records[0])], 0)
    _, short = objective([Example(corpus.utterances[0], cut)], 0)
    assert short == whole - 1


@pytest.mark.parametrize(("dropout", "low", "high"), [(0.0, 1.0, 1.0), (1.0, 0.0, 0.0), (0.3, 0.6, 0.8)])
def test_the_words_are_withheld_as_often_as_asked(dropout, low, high, train_config, corpus, tmp_path):
    context = context_of(train_config(tmp_path, data={"transcript_dropout": dropout}))
    objective = cross_entropy(context)
    drawn = [
        [objective._hears_words(e, step) for e in pair_up(corpus.utterances, corpus.records)] for step in range(80)
    ]
    share = sum(map(sum, drawn)) / (80 * 8)
    assert low <= share <= high
    if 0 < dropout < 1:
        assert len({tuple(row) for row in drawn}) > 40, "not the same ones at every step"
        assert all(10 < sum(column) < 70 for column in zip(*drawn, strict=True))


def test_a_model_without_the_transcript_stream_never_reads_it(train_config, corpus, tmp_path):
    context = context_of(train_config(tmp_path, model={"transcript": False}, data={"transcript_dropout": 0.0}))
    assert not cross_entropy(context)._hears_words(Example(corpus.utterances[0], corpus.records[0]), 0)
