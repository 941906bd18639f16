"""Archives from a loopback server: fetched once, verified, and unpacked."""

import hashlib
import io
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from speechllm.data.download import Archive, fetch
from speechllm.errors import SpeechLLMError


class Handler(SimpleHTTPRequestHandler):
    """Serves a folder, and notes what is asked for."""

    asked: ClassVar[list[str]] = []

    def do_GET(self):
        self.asked.append(self.path)
        super().do_GET()

    def log_message(self, *_):
        """Silent."""


def tar(files: dict[str, str]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content.encode()))
    return file.getvalue()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """The address of a folder with `a.tar.gz` and `b.zip`."""
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "a.tar.gz").write_bytes(tar({"corpus/one.txt": "one"}))
    with zipfile.ZipFile(folder / "b.zip", "w") as archive:
        archive.writestr("two.txt", "two")
    Handler.asked.clear()
    http = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    threading.Thread(target=http.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{http.server_address[1]}"
    http.shutdown()
    http.server_close()


def checksum(path: Path) -> str:
    return f"md5:{hashlib.md5(path.read_bytes()).hexdigest()}"


def test_archives_are_fetched_once_and_unpacked(server, tmp_path):
    archives = {
        "a": Archive(f"{server}/a.tar.gz", checksum(tmp_path / "served" / "a.tar.gz")),
        "b": Archive(f"{server}/b.zip", into="corpus"),
    }
    fetch(archives, tmp_path / "here")
    fetch(archives, tmp_path / "here")
    assert sorted(Handler.asked) == ["/a.tar.gz", "/b.zip"]
    assert sorted(p.name for p in (tmp_path / "here").rglob("*.txt")) == ["one.txt", "two.txt"]
    assert (tmp_path / "here" / "corpus" / "two.txt").read_text() == "two"
    assert not list((tmp_path / "here").glob("*.gz"))  # the archives are gone


def test_only_the_parts_that_are_wanted(server, tmp_path):
    archives = {"a": Archive(f"{server}/a.tar.gz"), "b": Archive(f"{server}/b.zip")}
    fetch(archives, tmp_path / "here", ["b"])
    assert Handler.asked == ["/b.zip"]
    with pytest.raises(SpeechLLMError, match="'c' is no part"):
        fetch(archives, tmp_path / "here", ["c"])


def test_an_archive_that_lies_there_is_used(server, tmp_path):
    content = tar({"corpus/mine.txt": "mine"})
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "a.tar.gz").write_bytes(content)
    fetch({"a": Archive(f"{server}/a.tar.gz", f"md5:{hashlib.md5(content).hexdigest()}")}, tmp_path / "here")
    assert Handler.asked == []
    assert (tmp_path / "here" / "corpus" / "mine.txt").is_file()


@pytest.mark.parametrize(
    ("archive", "message"),
    [
        ({"url": "a.tar.gz", "checksum": "md5:00000000000000000000000000000000"}, "is not what was published"),
        ({"url": "missing.tar.gz"}, "404"),
        ({"url": "damaged.tar.gz"}, r"damaged\.tar\.gz: cannot be unpacked"),
        ({"url": "damaged.zip"}, r"damaged\.zip: cannot be unpacked"),
        ({"url": "outside.tar.gz"}, "cannot be unpacked"),
    ],
)
def test_what_is_not_the_corpus_is_refused(archive, message, server, tmp_path, monkeypatch):
    monkeypatch.setattr("speechllm.data.download.TRIES", 1)
    for name in ("damaged.tar.gz", "damaged.zip"):
        (tmp_path / "served" / name).write_bytes(b"this is no archive")
    (tmp_path / "served" / "outside.tar.gz").write_bytes(tar({"../outside.txt": "out"}))
    with pytest.raises(SpeechLLMError, match=message):
        fetch({"a": Archive(**archive | {"url": f"{server}/{archive['url']}"})}, tmp_path / "here" / "deep")
    assert not list((tmp_path / "here").rglob("*.txt"))
    assert not list((tmp_path / "here").rglob("*.unpacked"))


def test_a_server_that_does_not_answer_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("speechllm.data.download.TRIES", 1)
    with pytest.raises(SpeechLLMError, match="cannot be filled"):
        fetch({"a": Archive("http://127.0.0.1:9/a.tar.gz")}, tmp_path / "here")
