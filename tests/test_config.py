import dataclasses
import json
from pathlib import Path

import pytest

from speechllm.config import TrainConfig, load_toml, parse_config, save_config
from speechllm.errors import SpeechLLMError

TOML = """
out = "runs/a"
seed = 3

[model]
encoder = "openai/whisper-small"
llm = "owner/llm@main"
adapter = { type = "qformer", queries = 32, dropout = 0.0 }
audio_layers = [3, 6]

[data]
manifest = "train.jsonl"
targets = "targets.jsonl"
attributes = ["gender"]

[[stages]]
objective = "embedding_alignment"
steps = 10

[[stages]]
objective = "cross_entropy"
steps = 20
batch_size = 8
learning_rate = 1
"""


@pytest.fixture
def toml(tmp_path):
    def write(text=TOML, *changes):
        for old, new in changes:
            assert text.count(old) == 1
            text = text.replace(old, new)
        path = tmp_path / "train.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_a_config_is_read(toml):
    config = load_toml(toml(), TrainConfig)
    assert config.out == Path("runs/a")
    assert config.seed == 3
    assert config.model.adapter == {"type": "qformer", "queries": 32, "dropout": 0.0}
    assert config.model.audio_layers == [3, 6]
    assert config.model.transcript is True
    assert config.data.manifest == Path("train.jsonl")
    assert [stage.objective for stage in config.stages] == ["embedding_alignment", "cross_entropy"]
    assert config.stages[1].learning_rate == 1.0
    assert config.stages[0].batch_size == 16
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.seed = 4


def test_what_is_saved_is_read_back(toml, tmp_path):
    config = load_toml(toml(), TrainConfig)
    save_config(config, tmp_path / "deep" / "config.json")
    values = json.loads((tmp_path / "deep" / "config.json").read_text(encoding="utf-8"))
    assert parse_config(values, TrainConfig, "config.json") == config


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("seed = 3", "sead = 3", "unknown key 'sead'; did you mean 'seed'?"),
        ("seed = 3", "xyzzy = 3", "unknown key 'xyzzy'; known: data, keep_last, "),
        ("attributes =", "atributes =", "unknown key 'data.atributes'; did you mean 'attributes'?"),
        ("learning_rate = 1", "lerning_rate = 1", "'stages.1.lerning_rate'; did you mean 'learning_rate'?"),
        ("audio_layers =", "layers =", "unknown key 'model.layers'; "),
        ('manifest = "train.jsonl"\n', "", "data: manifest is missing"),
        ('out = "runs/a"\n', "", "the key 'out' is missing"),
        ("steps = 10\n", "", "the key 'stages.0.steps' is missing"),
        ("seed = 3", 'seed = "3"', "seed: Input should be a valid integer, not '3'"),
        ("seed = 3", "seed = true", "seed: "),
        ("seed = 3", "seed = 3.5", "seed: "),
        ("audio_layers = [3, 6]", 'audio_layers = ["3"]', "model.audio_layers.0: "),
        ("audio_layers = [3, 6]", "transcript = 1", "model.transcript: "),
        ("queries = 32", "queries = [32]", "model.adapter.queries: "),
        ("steps = 20", "steps = 0", "stages.1.steps: Input should be greater than or equal to 1, not 0"),
        ("batch_size = 8", "batch_size = -8", "stages.1.batch_size: "),
        ("batch_size = 8", "micro_batch_size = 0", "stages.1.micro_batch_size: "),
        ("learning_rate = 1", "learning_rate = 0", "stages.1.learning_rate: "),
        ("learning_rate = 1", "learning_rate = nan", "stages.1.learning_rate: "),
        ("learning_rate = 1", "learning_rate = inf", "stages.1.learning_rate: "),
        ('attributes = ["gender"]', "transcript_dropout = 1.5", "data.transcript_dropout: "),
        ('"cross_entropy"', '"cross_entropie"', "stages.1.objective: Input should be "),
        ("seed = 3", "save_every = 0", "save_every: "),
        ("seed = 3", "seed = 1979-05-27", "put strings in quotes"),
        ("seed = 3", "seed = 3\nseed = 4", "is not valid TOML: "),
        ("[data]", "[data", "is not valid TOML: "),
        ("seed = 3", "[model]\nseed = 3", "is not valid TOML: "),
    ],
)
def test_a_mistake_is_named_with_its_file_and_key(old, new, message, toml):
    path = toml(TOML, (old, new))
    with pytest.raises(SpeechLLMError) as caught:
        load_toml(path, TrainConfig)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("content", "message"), [(None, "cannot be read: No such file"), (b"\xff\xfe", "TOML")])
def test_a_file_that_is_no_config_is_named(content, message, tmp_path):
    path = tmp_path / "train.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SpeechLLMError, match=rf"train\.toml: .*{message}"):
        load_toml(path, TrainConfig)


def test_a_folder_is_no_config(tmp_path):
    with pytest.raises(SpeechLLMError, match="cannot be read: Is a directory"):
        load_toml(tmp_path, TrainConfig)


def test_changes_from_the_command_line_come_last(toml):
    changes = ["seed=5", "stages.1.steps=7", "model.llm=owner/other", "model.adapter.queries = 8", 'out="runs/b"']
    config = load_toml(toml(), TrainConfig, [*changes, "data.transcript_dropout=0.5"])
    assert (config.seed, config.stages[1].steps, config.model.llm) == (5, 7, "owner/other")
    assert config.model.adapter["queries"] == 8
    assert config.out == Path("runs/b")
    assert config.data.transcript_dropout == 0.5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("seed", "write a change of the config as KEY=VALUE"),
        ("sead=3", "unknown key 'sead'; did you mean 'seed'?"),
        ("seed=x", "seed: Input should be a valid integer, not 'x'"),
        ("stages.2.steps=3", "there is no 'stages.2.steps' in the config"),
        ("stages.x.steps=3", "there is no 'stages.x.steps' in the config"),
        ("seed.x=3", "there is no 'seed.x' in the config"),
    ],
)
def test_a_bad_change_is_named(change, message, toml):
    with pytest.raises(SpeechLLMError) as caught:
        load_toml(toml(), TrainConfig, [change])
    assert message in str(caught.value)
    assert change in str(caught.value)
