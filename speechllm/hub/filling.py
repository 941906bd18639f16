"""How a converted model is filled and written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from speechllm.errors import SpeechLLMError


def fill(path: Path, model: Any, state: dict[str, Any]) -> Any:
    """Gives an empty model (device "meta") its tensors; every tensor is used and every parameter filled.

    Raises:
        SpeechLLMError: names what the file at `path` lacks, or has too much, or in another shape.
    """
    try:
        model.load_state_dict(state, strict=True, assign=True)
    except RuntimeError as error:
        raise SpeechLLMError(
            f"{path}: does not fill a {type(model).__name__}: {' '.join(str(error).split())}"
        ) from error
    model.tie_weights()
    return model


@contextmanager
def without_bars() -> Iterator[None]:
    """Keeps transformers' own progress bars out of the one display of this package."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
