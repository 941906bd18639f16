"""Training on shards is training on the files that they were made of."""

import torch
from runs import log, weights

from speechllm.data.shards import write_shards
from speechllm.train import loop


def trained(config):
    run = loop.load(config)
    loop.fit(run)
    return weights(run), log(config)


def test_the_same_weights_bit_for_bit(resumable, corpus, tmp_path):
    done = write_shards(corpus.manifest, tmp_path / "shards", 40_000)
    assert len(done.shards) > 1
    from_files = trained(resumable(tmp_path / "files"))
    data = {"manifest": str(done.manifest), "feature_cache": str(tmp_path / "features"), "transcript_dropout": 0.5}
    from_shards = trained(resumable(tmp_path / "sharded", data=data))
    assert from_files[0].keys() == from_shards[0].keys()
    assert all(torch.equal(tensor, from_shards[0][name]) for name, tensor in from_files[0].items())
    assert from_files[1] == from_shards[1]
