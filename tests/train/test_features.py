import shutil

import pytest
import torch
from runs import assert_same, context_of, fit, log

from speechllm import SpeechLLM
from speechllm.errors import SpeechLLMError
from speechllm.train.data import AudioStore
from speechllm.train.features import FeatureCache

GB = 1 << 30


@pytest.fixture
def context(train_config, tmp_path):
    settings = {"queries": 10, "blocks": 1, "size": 8, "heads": 2, "ffn_size": 8}
    return context_of(train_config(tmp_path, adapter={"type": "qformer", **settings}))


def store(context, folder, max_bytes=GB, memory=0):
    cache = FeatureCache(folder, max_bytes, context.model)
    return AudioStore(context.model, context.processor, memory, cache)


def files(folder):
    return sorted(folder.glob("*/*.safetensors"))


def test_cached_features_are_the_computed_ones_bit_for_bit(context, corpus, tmp_path, monkeypatch):
    computed = AudioStore(context.model, context.processor, 0).get(corpus.utterances)
    store(context, tmp_path / "cache").get(corpus.utterances)
    assert len(files(tmp_path / "cache")) == 8
    monkeypatch.setattr(SpeechLLM, "encode_audio", None)
    again = store(context, tmp_path / "cache")
    cached = again.get(corpus.utterances)
    assert torch.equal(cached[0], computed[0])
    assert torch.equal(cached[1], computed[1])
    reference = context.audio
    monkeypatch.undo()
    reference.get(corpus.utterances)
    assert [again.frames(u) for u in corpus.utterances] == [reference.frames(u) for u in corpus.utterances]


def test_training_with_a_cache_is_training(whole, resumable, corpus, tmp_path):
    data = {"transcript_dropout": 0.5, "feature_cache": str(tmp_path / "cache")}
    for name in ("fills it", "reads it"):
        assert_same(fit(resumable(tmp_path / name, data=data), corpus), whole)


def test_the_cache_knows_audio_segment_and_model(context, corpus, train_config, tmp_path):
    utterance = corpus.utterances[0]
    cache = FeatureCache(tmp_path / "cache", GB, context.model)
    cache.put(utterance, [torch.ones(1, 2, 3)], [4])
    assert cache.get(utterance)[1] == [4]
    assert cache.get(corpus.utterances[1]) is None
    assert cache.get(utterance.model_copy(update={"start": 0.1, "end": 0.2})) is None
    shutil.copy(utterance.audio, tmp_path / "renamed.wav")
    renamed = utterance.model_copy(update={"id": "other", "audio": str(tmp_path / "renamed.wav")})
    assert torch.equal(cache.get(renamed)[0][0], torch.ones(1, 2, 3))
    pooled = context_of(train_config(tmp_path)).model
    assert FeatureCache(tmp_path / "cache", GB, pooled).get(utterance) is None
    fewer = context_of(train_config(tmp_path, model={"audio_layers": [1]})).model
    assert FeatureCache(tmp_path / "cache", GB, fewer).get(utterance) is None


def test_the_folder_stays_within_its_bound_and_what_is_used_stays(context, corpus, tmp_path):
    cache = FeatureCache(tmp_path / "cache", 5000, context.model)
    windows = [torch.zeros(1, 1, 250)]  # a good 1000 bytes
    for utterance in corpus.utterances:
        cache.get(corpus.utterances[0])
        cache.put(utterance, windows, [4])
        assert sum(file.stat().st_size for file in files(tmp_path / "cache")) <= 5000
    assert cache.get(corpus.utterances[0]) is not None
    assert cache.get(corpus.utterances[1]) is None
    assert cache.get(corpus.utterances[7]) is not None


def test_what_is_larger_than_the_bound_is_not_kept(context, corpus, tmp_path):
    cache = FeatureCache(tmp_path / "cache", 5000, context.model)
    cache.put(corpus.utterances[0], [torch.zeros(1, 1, 9000)], [4])
    assert files(tmp_path / "cache") == []


def test_a_damaged_file_is_computed_again(context, corpus, tmp_path):
    store(context, tmp_path / "cache").get(corpus.utterances)
    before = [file.read_bytes() for file in files(tmp_path / "cache")]
    files(tmp_path / "cache")[3].write_bytes(b"cut short")
    store(context, tmp_path / "cache").get(corpus.utterances)
    assert [file.read_bytes() for file in files(tmp_path / "cache")] == before


def test_a_folder_that_cannot_be_made_is_an_error(context, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SpeechLLMError, match=r"data\.feature_cache .*file/cache: Not a directory; name a folder"):
        FeatureCache(tmp_path / "file" / "cache", GB, context.model)


def test_a_run_may_be_gone_on_from_with_another_cache(resumable, corpus, tmp_path):
    fit(resumable(tmp_path / "run"), corpus)
    data = {"transcript_dropout": 0.5, "feature_cache": str(tmp_path / "cache")}
    config = resumable(tmp_path / "run", data=data)
    fit(config, corpus)
    assert len(log(config)) == 7
