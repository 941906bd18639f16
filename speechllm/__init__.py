"""speechllm: teach a text LLM to hear without making it forget."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from speechllm import _torchaudio
from speechllm.errors import SpeechLLMError

_torchaudio.install()

if TYPE_CHECKING:
    from speechllm.models.configuration import SpeechLLMConfig
    from speechllm.models.modeling import SpeechLLM
    from speechllm.models.processing import SpeechLLMProcessor

__version__ = "0.1.0"
__all__ = ["SpeechLLM", "SpeechLLMConfig", "SpeechLLMError", "SpeechLLMProcessor"]

_LAZY = {
    "SpeechLLM": "speechllm.models.modeling",
    "SpeechLLMConfig": "speechllm.models.configuration",
    "SpeechLLMProcessor": "speechllm.models.processing",
}


def __getattr__(name: str) -> Any:
    """Loads the models on first use: `import speechllm` and `--help` must not wait for torch."""
    if name not in _LAZY:
        raise AttributeError(f"module 'speechllm' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
