"""torchaudio whose compiled part cannot be loaded (a CUDA wheel next to a CPU torch) must not stop the package.

A false torchaudio stands in front of the real one, so that these tests can fail where the real extension loads, too.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

LOAD_LIB = {
    "unloadable": 'raise OSError("libc10_cuda.so.13: cannot open shared object file")',
    "loadable": "return True",
    "missing": "return False",
}


def false_torchaudio(folder: Path, kind: str) -> Path:
    """A package with the parts of torchaudio that matter here: importing it runs `_load_lib`, as the real one does."""
    package = folder / "torchaudio"
    (package / "_extension").mkdir(parents=True)
    (package / "__init__.py").write_text("from torchaudio import _extension, functional\n")
    (package / "functional.py").write_text("here = True\n")
    (package / "_extension" / "__init__.py").write_text(
        "from torchaudio._extension.utils import _load_lib\nLOADED = _load_lib('libtorchaudio')\n"
    )
    (package / "_extension" / "utils.py").write_text(f"def _load_lib(lib):\n    {LOAD_LIB[kind]}\n")
    return folder


def run(code: str, front: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Runs `code` in a fresh interpreter that finds `front` before everything else."""
    paths = [str(front or ""), str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)


def test_without_this_package_the_false_one_cannot_be_imported(tmp_path):
    done = run("import torchaudio.functional", false_torchaudio(tmp_path, "unloadable"))
    assert "OSError: libc10_cuda.so.13" in done.stderr


@pytest.mark.parametrize(("kind", "loaded"), [("loadable", True), ("missing", False)])
def test_torchaudio_that_needs_no_help_is_as_it_was(tmp_path, kind, loaded):
    code = (
        "import speechllm, torchaudio._extension, torchaudio.functional\n"
        f"assert torchaudio.functional.here and torchaudio._extension.LOADED is {loaded}"
    )
    done = run(code, false_torchaudio(tmp_path, kind))
    assert done.returncode == 0, done.stderr


def test_extension_that_cannot_be_loaded_counts_as_missing(tmp_path):
    """For torchaudio itself and for the module through which transformers imports it."""
    code = (
        "import sys, speechllm; from speechllm import _torchaudio; _torchaudio.install()\n"
        "assert sum(isinstance(finder, _torchaudio._Finder) for finder in sys.meta_path) == 1\n"
        "assert not {'torch', 'torchaudio', 'transformers'} & set(sys.modules)\n"
        "import torchaudio._extension, torchaudio.functional, transformers.audio_utils\n"
        "assert torchaudio.functional.here and torchaudio._extension.LOADED is False\n"
        "assert transformers.audio_utils.is_torchaudio_available()"
    )
    done = run(code, false_torchaudio(tmp_path, "unloadable"))
    assert done.returncode == 0, done.stderr


def test_the_real_torchaudio_can_be_used():
    import torch
    import torchaudio.functional

    assert torchaudio.functional.resample(torch.zeros(1, 160), 16000, 8000).shape == (1, 80)
