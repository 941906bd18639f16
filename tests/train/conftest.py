"""Configs and finished runs that several tests of this folder share."""

import pytest
import torch
from runs import TWO_STAGES, fit

from speechllm.audio.io import save_audio
from speechllm.data.manifest import Utterance
from speechllm.testing.corpus import tone


@pytest.fixture(scope="session")
def resumable(train_config):
    """Saves between the steps, draws dropout and withheld transcripts: all that a resumed run has to get right."""

    def make(out, **changes):
        values = {"stages": TWO_STAGES, "save_every": 3, "data": {"transcript_dropout": 0.5}, **changes}
        return train_config(out, **values)

    return make


@pytest.fixture(scope="session")
def whole(resumable, corpus, tmp_path_factory):
    """Weights and log of a run that was not killed."""
    torch.set_num_threads(1)
    return fit(resumable(tmp_path_factory.mktemp("whole")), corpus)


@pytest.fixture(scope="module", params=["pooled", "qformer"])
def store_config(request, train_config, tmp_path_factory):
    small = {"pooled": {"vectors": 10}, "qformer": {"queries": 10, "blocks": 1, "size": 8, "heads": 2, "ffn_size": 8}}
    adapter = {"type": request.param, **small[request.param]}
    return train_config(tmp_path_factory.mktemp("store"), adapter=adapter)


@pytest.fixture
def long_utterance(tmp_path):
    """Just over one window: the last window is very short."""
    save_audio(tmp_path / "long.wav", tone(30.05))
    return Utterance(
        id="long", audio=str(tmp_path / "long.wav"), duration=30.05, sampling_rate=16_000, attributes={"pitch": "low"}
    )
