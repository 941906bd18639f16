import pytest
import torch

from speechllm.data.render import describe_audio
from speechllm.errors import SpeechLLMError
from speechllm.eval.gap import speech_text_gap
from speechllm.train.data import conversation


def test_the_gap_is_the_divergence_of_two_plain_passes(model, processor, corpus):
    record = corpus.records[0]
    found = speech_text_gap(model, processor, corpus.utterances, [record])
    logits = []
    heard = conversation(record.messages, corpus.utterances[0], transcript=False)
    for messages in (heard, describe_audio(record.messages, [record.seed_description])):
        inputs = processor([messages], [record.response])
        labels = inputs.pop("labels")[0]
        rows = model(**inputs).logits[0, :-1][labels[1:] != -100]
        logits.append(rows.log_softmax(-1))
    hearing, reading = logits
    expected = torch.nn.functional.kl_div(hearing, reading, reduction="none", log_target=True).sum(-1)
    assert found["tokens"] == len(expected)
    assert found["kl"] == pytest.approx(float(expected.detach().mean()), rel=5e-3)


def test_batches_and_groups_change_nothing(model, processor, corpus):
    whole = speech_text_gap(model, processor, corpus.utterances, corpus.records, batch_size=8)
    alone = speech_text_gap(model, processor, corpus.utterances, corpus.records, batch_size=1)
    assert whole["kl"] == pytest.approx(alone["kl"], rel=5e-3)  # a small number: float32 rounding shows
    rows = whole["by_prompt"].values()
    assert sum(row["tokens"] for row in rows) == whole["tokens"]
    assert sum(row["kl"] * row["tokens"] for row in rows) == pytest.approx(whole["kl"] * whole["tokens"])
    assert list(whole["by_strategy"]) == ["self_output"]


def test_targets_of_another_manifest_are_named(model, processor, corpus):
    with pytest.raises(SpeechLLMError, match="the manifest does not hold"):
        speech_text_gap(model, processor, corpus.utterances[1:], corpus.records)
