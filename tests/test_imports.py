"""What importing the package costs: `--help` must not wait for torch."""

import importlib.util
import subprocess
import sys

import pytest

import speechllm

HEAVY = ("torch", "torchaudio", "transformers")


@pytest.mark.parametrize("module", ["speechllm", "speechllm.hub", "speechllm.cli"])
def test_import_is_light(module):
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"there is no {module} yet")
    code = f"import sys, {module}; print(*sorted(set(sys.modules) & set({HEAVY})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_public_names_can_be_listed_and_imported():
    assert set(speechllm.__all__) <= set(dir(speechllm))
    assert all(getattr(speechllm, name).__name__ == name for name in speechllm.__all__)
    code = "import speechllm; print(*dir(speechllm))"  # before any of them has been used
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(speechllm.__all__) <= set(done.stdout.split())


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'SpeechLM'"):
        speechllm.SpeechLM  # noqa: B018
