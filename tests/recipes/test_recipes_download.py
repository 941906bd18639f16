"""Recipes that fetch their corpus: what they ask for, and the command that does it."""

import re
import tarfile
from pathlib import Path

import pytest
from miniature_sounds import SOUNDS

from speechllm.cli import main
from speechllm.data.manifest import read_manifest
from speechllm.data.recipe import find_download
from speechllm.errors import SpeechLLMError

RECIPES = Path(__file__).parents[2] / "recipes"
FETCHED = sorted(p.parent.name for p in RECIPES.glob("*/prepare.py") if "\ndef download(" in p.read_text())
CHECKSUM = re.compile(r"md5:[0-9a-f]{32}|sha256:[0-9a-f]{64}")


@pytest.fixture
def wanted(monkeypatch) -> list:
    """What recipes ask of `fetch`, which does nothing here."""
    asked: list = []
    monkeypatch.setattr("speechllm.data.download.fetch", lambda archives, *_: asked.append(archives))
    return asked


@pytest.mark.parametrize("name", FETCHED)
def test_a_recipe_asks_for_archives(name, wanted, tmp_path):
    folder = find_download(str(RECIPES / name))(tmp_path / "here", [])
    assert folder == tmp_path / "here" or folder.parent == tmp_path / "here"
    assert wanted
    for archive in (a for archives in wanted for a in archives.values()):
        assert archive.url.startswith("https://")
        assert archive.checksum is None or CHECKSUM.fullmatch(archive.checksum)
        assert (tmp_path / "here" / archive.into) in (tmp_path / "here", folder)


@pytest.mark.parametrize("name", sorted(p.parent.name for p in RECIPES.glob("*/prepare.py")))
def test_the_readme_says_whether_a_recipe_downloads(name):
    assert ("--download" in (RECIPES / name / "README.md").read_text()) == (name in FETCHED)


def test_the_speakers_archives_of_aishell_are_unpacked(wanted, tmp_path):
    folder = tmp_path / "data_aishell" / "wav"
    (tmp_path / "x.wav").write_bytes(b"sound")
    folder.mkdir(parents=True)
    with tarfile.open(folder / "S0002.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "x.wav", "train/S0002/x.wav")
    find_download(str(RECIPES / "aishell1"))(tmp_path, [])
    assert [p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()] == ["train/S0002/x.wav"]


def test_a_corpus_on_request_is_not_downloaded():
    with pytest.raises(SpeechLLMError, match=r"iemocap cannot be downloaded.*iemocap/README\.md says how"):
        find_download(str(RECIPES / "iemocap"))


def test_download_and_prepare_in_one_command(tmp_path, capsys, monkeypatch):
    """The real recipe of ESC-50, with a `fetch` that unpacks a miniature instead of asking GitHub."""

    def fetch(archives, folder, parts):
        assert parts == ("master",)
        SOUNDS["esc50"].write(folder / "ESC-50-master")

    monkeypatch.setattr("speechllm.data.download.fetch", fetch)
    command = ["prepare", str(RECIPES / "esc50"), str(tmp_path / "here"), str(tmp_path / "out"), "--download"]
    assert main([*command, "--parts", "master"]) == 0
    assert f"{tmp_path / 'here' / 'ESC-50-master'}: downloaded" in capsys.readouterr().out
    assert [u.id for u in read_manifest(tmp_path / "out" / "fold1.jsonl")] == ["1-100032-A-0"]


def test_parts_without_download_are_a_mistake(tmp_path, capsys):
    assert main(["prepare", "esc50", str(tmp_path), str(tmp_path), "--parts", "master"]) == 2
    assert "--parts chooses what --download fetches" in capsys.readouterr().err
