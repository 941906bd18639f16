"""Shared by all tests; speechllm comes first so that torchaudio can be imported next to a CPU build of torch."""

from pathlib import Path

import pytest

import speechllm  # noqa: F401
from speechllm.testing.tiny import tiny_llm, tiny_whisper


@pytest.fixture(scope="session")
def llm_reference(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_llm(tmp_path_factory.mktemp("llm"))


@pytest.fixture(scope="session")
def encoder_reference(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_whisper(tmp_path_factory.mktemp("whisper"))


@pytest.fixture(autouse=True)
def _no_real_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, request) -> None:
    """Tests never read or fill the user's cache; only those marked end_to_end use the real one."""
    if request.node.get_closest_marker("end_to_end") is None:
        monkeypatch.setenv("SPEECHLLM_CACHE", str(tmp_path_factory.getbasetemp() / Path("cache")))
