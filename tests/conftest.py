"""Shared by all tests; speechllm comes first so that torchaudio can be imported next to a CPU build of torch."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings

import speechllm  # noqa: F401
from speechllm.config import TrainConfig, parse_config
from speechllm.testing.corpus import TinyCorpus, tiny_corpus
from speechllm.testing.tiny import tiny_llm, tiny_whisper

# How long an example takes says more about the machine than about the code.
settings.register_profile("speechllm", deadline=None)
settings.load_profile("speechllm")

THREADS = torch.get_num_threads()

BOTH_STAGES = [
    {"objective": "embedding_alignment", "steps": 4, "batch_size": 4, "warmup_steps": 1, "learning_rate": 0.01},
    {"objective": "cross_entropy", "steps": 4, "batch_size": 4, "warmup_steps": 1, "learning_rate": 0.01},
]


@pytest.fixture(scope="session")
def llm_reference(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_llm(tmp_path_factory.mktemp("llm"))


@pytest.fixture(scope="session")
def encoder_reference(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_whisper(tmp_path_factory.mktemp("whisper"))


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> TinyCorpus:
    """Eight tones, each with a target record; read only."""
    return tiny_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="session")
def train_config(corpus: TinyCorpus, encoder_reference: str, llm_reference: str) -> Callable[..., TrainConfig]:
    """Makes the config of a run over the tiny corpus: `train_config(out, stages=[...], adapter={...}, ...)`."""

    def make(out: Path, **changes: Any) -> TrainConfig:
        model = {
            "encoder": encoder_reference,
            "llm": llm_reference,
            "adapter": changes.pop("adapter", {"type": "pooled", "vectors": 10, "hidden_size": 16}),
            "dtype": "float32",
            "device": "cpu",
        }
        data = {"manifest": str(corpus.manifest), "targets": str(corpus.targets)}
        values = {"out": str(out), "stages": BOTH_STAGES, **changes}
        values["model"] = model | values.get("model", {})
        values["data"] = data | values.get("data", {})
        return parse_config(values, TrainConfig, "tests")

    return make


@pytest.fixture(autouse=True)
def _no_real_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, request) -> None:
    """Tests never read or fill the user's cache; only those marked end_to_end use the real one."""
    if request.node.get_closest_marker("end_to_end") is None:
        monkeypatch.setenv("SPEECHLLM_CACHE", str(tmp_path_factory.getbasetemp() / Path("cache")))


@pytest.fixture(autouse=True)
def _one_thread(request: pytest.FixtureRequest) -> None:
    """Tiny models are several times slower on many threads, most of all on a busy machine."""
    torch.set_num_threads(1 if request.node.get_closest_marker("end_to_end") is None else THREADS)
