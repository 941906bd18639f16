"""TOML files that build on one another."""

from pathlib import Path

import pytest

from speechllm.config import TrainConfig, load_toml
from speechllm.errors import SpeechLLMError
from speechllm.inheritance import read_toml

BASE = """
out = "run"
[model]
encoder = "e"
llm = "l"
adapter = { type = "pooled", vectors = 26 }
[data]
manifest = "m.jsonl"
targets = "t.jsonl"
[[stages]]
objective = "embedding_alignment"
steps = 5
[[stages]]
objective = "cross_entropy"
steps = 7
"""


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        (folder / f"{name}.toml").write_text(text, encoding="utf-8")


def test_tables_are_merged_and_lists_replaced(tmp_path):
    (tmp_path / "arms").mkdir()
    write(tmp_path, base=BASE)
    arm = tmp_path / "arms" / "arm.toml"
    arm.write_text(
        'base = "../base.toml"\n[data]\ntargets = "other.jsonl"\n[model.adapter]\nvectors = 8\n'
        '[[stages]]\nobjective = "on_policy"\nsteps = 3\n',
        encoding="utf-8",
    )
    config = load_toml(arm, TrainConfig)
    assert config.data.targets == Path("other.jsonl")
    assert config.data.manifest == Path("m.jsonl")
    assert config.model.adapter == {"type": "pooled", "vectors": 8}
    assert [(stage.objective, stage.steps) for stage in config.stages] == [("on_policy", 3)]


def test_a_base_may_have_a_base_and_changes_come_last(tmp_path):
    write(tmp_path, base=BASE, middle='base = "base.toml"\nseed = 1\nout = "m"', top='base = "middle.toml"\nout = "t"')
    config = load_toml(tmp_path / "top.toml", TrainConfig, ["seed=2"])
    assert (config.out, config.seed) == (Path("t"), 2)
    assert read_toml(tmp_path / "top.toml")["seed"] == 1


@pytest.mark.parametrize(
    ("base", "told"),
    [
        (None, "cannot be read"),
        ("out = ", "not valid TOML"),
        ('base = "arm.toml"', "circle"),
        ("base = 3", "in quotes"),
    ],
)
def test_what_is_wrong_with_a_base_names_both_files(tmp_path, base, told):
    write(tmp_path, arm='base = "base.toml"')
    if base is not None:
        write(tmp_path, base=base)
    with pytest.raises(SpeechLLMError, match=told) as error:
        load_toml(tmp_path / "arm.toml", TrainConfig)
    assert "arm.toml" in str(error.value)
    assert "base.toml" in str(error.value)


def test_an_unknown_key_names_both_files(tmp_path):
    write(tmp_path, base=BASE, arm='base = "base.toml"\nsede = 1')
    with pytest.raises(SpeechLLMError, match=r"arm\.toml on top of .*base\.toml.*sede"):
        load_toml(tmp_path / "arm.toml", TrainConfig)
