import pytest
import torch
from runs import context_of, fit

from speechllm.errors import SpeechLLMError
from speechllm.train.data import AudioStore, conversation, pair_up


def test_a_target_about_an_unknown_utterance_is_an_error(corpus):
    with pytest.raises(SpeechLLMError, match=r"target 'tone-7/pitch' is about utterance 'tone-7', which the manifest"):
        pair_up(corpus.utterances[:7], corpus.records)
    assert [e.utterance.id for e in pair_up(corpus.utterances, corpus.records)] == [u.id for u in corpus.utterances]


def assert_same_audio(found, expected):
    (states, mask), (their_states, their_mask) = found, expected
    assert states.shape == their_states.shape
    assert torch.equal(mask, their_mask)
    real = mask[:, None, :, None]
    torch.testing.assert_close(states * real, their_states * real, atol=1e-5, rtol=1e-5)


def test_a_store_without_room_gives_what_one_with_room_gives(store_config, corpus, long_utterance):
    context = context_of(store_config)
    roomy, full = context.audio, AudioStore(context.model, context.processor, max_bytes=0)
    utterances = [*corpus.utterances, long_utterance]
    roomy.fill(utterances)
    full.fill(utterances)
    assert full._kept == {}
    assert set(roomy._kept) == {u.id for u in utterances}
    for chosen in ([2], [7, 0, 7], [8, 1], range(9)):
        batch = [utterances[i] for i in chosen]
        assert_same_audio(full.get(batch), roomy.get(batch))
        assert [full.frames(u) for u in batch] == [roomy.frames(u) for u in batch]
    assert roomy.frames(long_utterance) == [3000, 10]
    assert full._kept == {}


def test_a_store_gives_what_the_model_hears(store_config, corpus):
    context = context_of(store_config)
    batch = [corpus.utterances[i] for i in (5, 0, 3)]
    context.audio.fill(corpus.utterances)
    audio = [{"role": "user", "content": [{"type": "audio", "path": u.audio}]} for u in batch]
    inputs = context.processor([[message] for message in audio])
    heard = context.model.encode_audio(inputs["input_features"], inputs["input_features_mask"])
    assert_same_audio(context.audio.get(batch), heard)


def test_a_store_hears_the_segment(store_config, corpus, long_utterance):
    context = context_of(store_config)
    part = long_utterance.model_copy(update={"id": "part", "start": 1.0, "end": 1.5})
    context.audio.get([part])
    assert context.audio.frames(part) == [50]


def test_a_store_fills_only_as_far_as_there_is_room(store_config, corpus):
    context = context_of(store_config)
    context.audio.fill(corpus.utterances)
    sizes = {id: sum(w.nbytes for w in kept) for id, kept in context.audio._kept.items()}
    small = AudioStore(context.model, context.processor, max_bytes=sizes["tone-0"] + 1)
    small.fill(corpus.utterances, batch_size=1)
    assert list(small._kept) == ["tone-0", "tone-1"]


def test_training_without_room_is_training(whole, resumable, corpus, tmp_path):
    found = fit(resumable(tmp_path), corpus, max_bytes=0)
    for ours, theirs in zip(found[1], whole[1], strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-4)


def test_the_recognisers_words_come_before_the_corpus_own(corpus):
    utterance, messages = corpus.utterances[0], corpus.records[0].messages
    [part, *_] = conversation(messages, utterance, transcript=True)[-1]["content"]
    assert part == {"type": "audio", "path": utterance.audio, "start": None, "end": None, "transcript": "low"}
    heard = utterance.model_copy(update={"recognised_text": "lo"})
    assert conversation(messages, heard, transcript=True)[-1]["content"][0]["transcript"] == "lo"
    silent = conversation(messages, heard, transcript=False)
    assert "transcript" not in silent[-1]["content"][0]
    assert silent[0] == messages[0]
    assert silent[-1]["content"][1:] == messages[-1]["content"][1:]
