"""DeSTA2.5-Audio's size with random weights: `python -m pytest -m gpu tests/gpu` on a machine with one GPU."""

import json

import pytest
import torch

from speechllm.cli import main

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def test_a_batch_of_twelve_trains_in_less_than_40_gb(capsys):
    assert main(["bench", "reference", "--clips", "48", "--json"]) == 0
    on = json.loads(capsys.readouterr().out)["modes"]["all on"]
    assert on["peak_memory_gb"] < 40
