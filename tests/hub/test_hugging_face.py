"""Snapshots and uploads against a false Hugging Face: nothing here touches the network."""

import errno
from pathlib import Path

import pytest
from huggingface_hub import RepoUrl, errors

from speechllm import hub
from speechllm.errors import SpeechLLMError


@pytest.mark.parametrize("weights", ["model.safetensors", "pytorch_model.bin"])
def test_hugging_face_id(tmp_path, monkeypatch, weights):
    """safetensors are enough where there are any; `*.bin` is asked for only where there are none."""
    asked = []

    def snapshot(repo, *, revision, allow_patterns, ignore_patterns):
        asked.append((repo, revision, any(pattern.endswith(".bin") for pattern in allow_patterns)))
        if weights.endswith(".safetensors") or asked[-1][2]:
            (tmp_path / weights).touch()
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    assert hub.resolve("owner/name@v1.0") == tmp_path
    expected = [("owner/name", "v1.0", False), ("owner/name", "v1.0", True)]
    assert asked == expected[: 1 if weights.endswith(".safetensors") else 2]


def test_hugging_face_repository_without_weights(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda repo, **_: str(tmp_path))
    with pytest.raises(SpeechLLMError, match="owner/name: the repository has no weights"):
        hub.resolve("owner/name")


def http_error(kind: type, message: str) -> Exception:
    error = kind.__new__(kind)
    Exception.__init__(error, message)
    return error


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (http_error(errors.RepositoryNotFoundError, "404"), "no such folder, and no such repository"),
        (http_error(errors.GatedRepoError, "403"), "access is restricted"),
        (http_error(errors.RevisionNotFoundError, "404"), "no revision 'v9'"),
        (errors.HFValidationError("bad"), "not a Hugging Face id: bad"),
        (
            errors.LocalEntryNotFoundError("Got: ConnectError\nmore"),
            r"folder, and .*\(Got: ConnectError\); it is",
        ),
        (
            http_error(errors.HfHubHTTPError.__bases__[0], "timed out"),
            r"folder, and .*\(timed out\).*network",
        ),
        (OSError(errno.ENOSPC, "No space left on device"), "No space left.*HF_HOME"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_hugging_face_errors_are_one_line(monkeypatch, error, message):
    def snapshot(*_args, **_kwargs):
        raise error

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    with pytest.raises(SpeechLLMError, match=message) as caught:
        hub.resolve("owner/name@v9")
    assert str(caught.value).startswith("owner/name@v9: ")
    assert "\n" not in str(caught.value)


# --- upload


class Hub:
    """A false Hugging Face, logged in as `me`, that keeps what it is given; `error` is raised by the upload."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, error: Exception | None = None) -> None:
        self.error, self.repositories = error, {}
        monkeypatch.setattr("huggingface_hub.create_repo", self.create_repo)
        monkeypatch.setattr("huggingface_hub.upload_folder", self.upload_folder)

    def create_repo(self, repo_id: str, *, exist_ok: bool) -> RepoUrl:
        repo_id = repo_id if "/" in repo_id else f"me/{repo_id}"
        assert exist_ok or repo_id not in self.repositories
        self.repositories.setdefault(repo_id, {})
        return RepoUrl(f"https://huggingface.co/{repo_id}")

    def upload_folder(self, *, repo_id: str, folder_path: Path) -> None:
        if self.error:
            raise self.error
        self.repositories[repo_id] |= {path.name: path.read_text() for path in Path(folder_path).iterdir()}


@pytest.mark.parametrize("name", ["me/adapter", "adapter"])
def test_upload_makes_the_repository_and_then_adds_to_it(tmp_path, monkeypatch, name):
    fake = Hub(monkeypatch)
    (tmp_path / "config.json").write_text("{}")
    assert hub.upload(tmp_path, name) == "https://huggingface.co/me/adapter"
    (tmp_path / "config.json").write_text("{1}")
    (tmp_path / "README.md").write_text("card")
    assert hub.upload(tmp_path, name) == "https://huggingface.co/me/adapter"
    assert fake.repositories == {"me/adapter": {"config.json": "{1}", "README.md": "card"}}


def refused(status: int) -> Exception:
    error = http_error(errors.HfHubHTTPError, f"{status} refused\nmore")
    error.response = type("Response", (), {"status_code": status})()
    return error


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (refused(401), r"\(401 refused\); log in with `hf auth login`"),
        (errors.LocalTokenNotFoundError("no token"), "log in with `hf auth login`"),
        (refused(403), "may not write there"),
        (refused(413), r"\(413 refused\); Hugging Face refuses it"),
        (http_error(errors.HfHubHTTPError.__bases__[0], "timed out"), r"\(timed out\); connect to the network"),
        (errors.OfflineModeIsEnabled("offline"), r"\(offline\); connect to the network"),
        (RuntimeError("Error while uploading 'a'"), r"\(Error while uploading 'a'\); connect to the network"),
        (errors.HFValidationError("bad"), "not a Hugging Face id .*: bad"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_upload_errors_are_one_line(tmp_path, monkeypatch, error, message):
    Hub(monkeypatch, error)
    with pytest.raises(SpeechLLMError, match=f"^me/adapter: .*{message}") as caught:
        hub.upload(tmp_path, "me/adapter")
    assert "\n" not in str(caught.value)


def test_upload_of_a_folder_that_is_not_there(tmp_path, monkeypatch):
    fake = Hub(monkeypatch)
    with pytest.raises(SpeechLLMError, match="nowhere: no such folder"):
        hub.upload(tmp_path / "nowhere", "me/adapter")
    assert not fake.repositories
