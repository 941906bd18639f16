"""Lets torchaudio be imported next to a CPU build of torch.

PyPI's torchaudio wheels for Linux link CUDA libraries. Next to a CPU build of torch its compiled extension cannot be
loaded (`OSError: libc10_cuda.so`), `import torchaudio` dies, and transformers, which imports torchaudio wherever it is
installed, dies with it. Everything of torchaudio that this package uses is plain Python over torch, and torchaudio has
a mode for a missing extension: its private `_load_lib` returns False. `install()` makes an extension that *cannot be
loaded* count as one that is *missing*, by wrapping that one function when (and only when) torchaudio is imported.
Where the extension loads, nothing changes.
"""

from __future__ import annotations

import functools
import importlib.abc
import importlib.machinery
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

_TARGET = "torchaudio._extension.utils"


class _TolerantLoader(importlib.abc.Loader):
    """Runs the real loader of `torchaudio._extension.utils`, then wraps its `_load_lib`."""

    def __init__(self, real: importlib.abc.Loader) -> None:
        self._real = real

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self._real.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Runs the module and puts the tolerant `_load_lib` in the place of its own."""
        self._real.exec_module(module)
        load_lib = getattr(module, "_load_lib", None)
        if load_lib is None:  # a torchaudio without this function has no extension to trip over
            return

        @functools.wraps(load_lib)
        def tolerant(lib: str, *args: Any, **kwargs: Any) -> bool:
            try:
                return bool(load_lib(lib, *args, **kwargs))
            except OSError:
                return False

        module._load_lib = tolerant  # type: ignore[attr-defined]


class _Finder(importlib.abc.MetaPathFinder):
    """Finds one module, `torchaudio._extension.utils`, and leaves all others to the finders behind it."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """The module's own spec with a tolerant loader; None for any other module."""
        if fullname != _TARGET:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _TolerantLoader(spec.loader)
        return spec


def install() -> None:
    """Puts the finder in place, once a process; imports nothing."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
