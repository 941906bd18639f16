"""Repositories on Hugging Face: a snapshot into its cache, a folder up."""

from __future__ import annotations

import errno
from pathlib import Path

from speechllm.errors import SpeechLLMError

PATTERNS = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"]
IGNORED = ["*/*", "*.fp32*", "consolidated*"]
"""Subfolders and second copies of the same weights in other precisions or layouts."""


def snapshot(reference: str) -> Path:
    """Configuration, tokenizer and weights of `owner/name[@revision]`; safetensors, `*.bin` only where there are none.

    Raises:
        SpeechLLMError: no such repository or revision, no access, no network and not in the cache, no space, or no
            weights.
    """
    from huggingface_hub import errors

    repo, _, revision = reference.partition("@")
    try:
        folder = _download(repo, revision, PATTERNS)
        if not any(folder.glob("*.safetensors")):
            folder = _download(repo, revision, [*PATTERNS, "pytorch_model*.bin"])
    except (errors.HFValidationError, OSError, *errors.HfHubHTTPError.__bases__) as error:
        raise SpeechLLMError(f"{reference}: {_why_not(error, revision)}") from error
    if not any(folder.glob("*.safetensors")) and not any(folder.glob("*.bin")):
        raise SpeechLLMError(f"{reference}: the repository has no weights (*.safetensors or pytorch_model*.bin)")
    return folder


def _download(repo: str, revision: str, patterns: list[str]) -> Path:
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(repo, revision=revision or None, allow_patterns=patterns, ignore_patterns=IGNORED))


def _why_not(error: Exception, revision: str) -> str:
    """What failed and what to do; a reference that may have been meant as a folder is read both ways."""
    from huggingface_hub import errors

    reason = _first_line(error)
    if isinstance(error, errors.GatedRepoError):
        return "access is restricted; accept the terms on its Hugging Face page, then run `hf auth login`"
    if isinstance(error, errors.RepositoryNotFoundError):
        return "no such folder, and no such repository on Hugging Face (a private one needs `hf auth login`)"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"the repository has no revision {revision!r}"
    if isinstance(error, errors.HFValidationError):
        return f"no such folder, and not a Hugging Face id: {reason}"
    if getattr(error, "errno", None) == errno.ENOSPC:
        return f"cannot be fetched ({reason}); free some space or set HF_HOME to another folder"
    return (
        f"no such folder, and cannot be fetched from Hugging Face ({reason}); "
        "it is not in the cache either: check the path, or connect to the network"
    )


def upload(folder: Path, repo_id: str) -> str:
    """Puts the files of a folder into a Hugging Face repository, which is made where there is none.

    Args:
        folder: what to upload, subfolders included.
        repo_id: `owner/name`, or `name` for the account that is logged in. Other files in the repository stay.

    Returns:
        The repository's address.

    Raises:
        SpeechLLMError: no such folder, not logged in, no right to write there, not an id, no network.
    """
    from huggingface_hub import create_repo, errors, upload_folder

    if not folder.is_dir():
        raise SpeechLLMError(f"{folder}: no such folder, so it cannot be uploaded")
    try:
        made = create_repo(repo_id, exist_ok=True)
        upload_folder(repo_id=made.repo_id, folder_path=folder)
    except errors.HFValidationError as error:
        raise SpeechLLMError(f"{repo_id}: not a Hugging Face id (owner/name): {_first_line(error)}") from error
    except (OSError, RuntimeError, *errors.HfHubHTTPError.__bases__) as error:  # an upload cut short is a RuntimeError
        status = getattr(getattr(error, "response", None), "status_code", None)
        advice = "connect to the network and try again" if status is None else "Hugging Face refuses it"
        if status == 401 or isinstance(error, errors.LocalTokenNotFoundError):
            advice = "log in with `hf auth login`, or set HF_TOKEN to a token that may write"
        elif status == 403:
            advice = "your token may not write there; use one with write access, or a repository of your own"
        raise SpeechLLMError(f"{repo_id}: {folder} cannot be uploaded ({_first_line(error)}); {advice}") from error
    return str(made)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
