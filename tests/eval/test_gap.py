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


def test_the_gap_is_told_by_attribute_and_by_kind_of_prompt(model, processor, corpus):
    told = {"voice": "soft", "snr_db": 20.0}
    utterances = [
        u.model_copy(update={"attributes": {**u.attributes, **told, "note": f"no. {k}"}, "language": "de"})
        for k, u in enumerate(corpus.utterances * 3)
    ]
    utterances = [u.model_copy(update={"id": f"clip-{k}"}) for k, u in enumerate(utterances)]
    records = [r.model_copy(update={"utterance_id": f"clip-{k}"}) for k, r in enumerate(corpus.records * 3)]
    older = {"prompt_kind": "", "prompt_id": "speaking_rate-07"}
    records = [*(r.model_copy(update=older) for r in records[:4]), *records[4:]]
    found = speech_text_gap(model, processor, utterances, records)
    assert {name: set(rows) for name, rows in found["by_attribute"].items()} == {
        "pitch": {"low", "high"}, "voice": {"soft"}, "language": {"German"},
    }  # fmt: skip
    assert set(found["by_kind"]) == {"speaking_rate", "pitch"}
    for rows in (found["by_kind"], *found["by_attribute"].values()):
        assert sum(row["tokens"] for row in rows.values()) == found["tokens"]
        assert sum(row["kl"] * row["tokens"] for row in rows.values()) == pytest.approx(found["kl"] * found["tokens"])


def test_a_record_that_tells_no_kind_is_in_no_group_by_kind(model, processor, corpus):
    unknown = corpus.records[0].model_copy(update={"prompt_kind": "", "prompt_id": ""})
    assert speech_text_gap(model, processor, corpus.utterances, [unknown])["by_kind"] == {}


def test_targets_of_another_manifest_are_named(model, processor, corpus):
    with pytest.raises(SpeechLLMError, match="the manifest does not hold"):
        speech_text_gap(model, processor, corpus.utterances[1:], corpus.records)
