"""A recipe of changes as a file."""

import numpy as np
import pytest

from speechllm.cli import main
from speechllm.data.augmentation import Recipe, apply_recipe, read_recipe
from speechllm.data.manifest import Utterance, read_manifest
from speechllm.errors import SpeechLLMError
from speechllm.testing.corpus import tone

TOML = """
noise = [5, 20]
reverberation = [0.2, 0.5]
codecs = ["telephone"]
chance = 0.5
chances = { noise = 0.25, codec = 1.0 }
"""


@pytest.fixture
def file(tmp_path):
    def write(text=TOML):
        (tmp_path / "recipe.toml").write_text(text, encoding="utf-8")
        return tmp_path / "recipe.toml"

    return write


def test_a_recipe_is_read(file):
    recipe = read_recipe(file())
    assert recipe.noise == (5, 20)
    assert recipe.changes() == ["reverberation", "noise", "codec"]


def test_each_change_happens_with_its_own_chance(file):
    recipe = read_recipe(file())
    known = Utterance(id="u", audio="u.wav", duration=0.3, sampling_rate=16_000)
    lines = [apply_recipe(tone(0.3), known, recipe, np.random.default_rng(seed))[1] for seed in range(60)]
    assert all(line.attributes.get("codec") == "telephone" for line in lines)
    assert 0.1 < sum("snr_db" in line.attributes for line in lines) / 60 < 0.45


def test_what_a_change_makes_untrue_is_known():
    recipe = Recipe(speed=(0.9, 1.1), noise=(5, 20), gain=(-3, 3), chances={"noise": 0.5})
    assert recipe.makes_untrue({"gender", "emotion", "volume"}) == {
        "speed": ["gender"],
        "noise": ["volume"],
        "gain": ["volume"],
    }
    assert Recipe(reverberation=(0.2, 0.5), codecs=("opus",)).makes_untrue({"gender", "pitch", "emotion"}) == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nois = [5, 20]", r"recipe\.toml: unknown key 'nois'; did you mean 'noise'"),
        ("noise = [20, 5]", r"recipe\.toml: noise: the first number is greater"),
        ("noise = 5", r"recipe\.toml: noise"),
        ("chances = { nose = 0.5 }", r"recipe\.toml: chances"),
        ("noise = [5, 20", r"recipe\.toml: is not valid TOML"),
    ],
)
def test_a_mistake_in_a_recipe_is_named(file, text, message):
    with pytest.raises(SpeechLLMError, match=message):
        read_recipe(file(text))


def test_the_command_takes_a_recipe_or_options(file, corpus, tmp_path, capsys):
    arguments = ["augment", str(corpus.manifest), str(tmp_path / "out"), "--recipe", str(file()), "--processes", "1"]
    assert main(arguments) == 0
    made = read_manifest(tmp_path / "out" / "manifest.jsonl")
    assert {u.attributes["codec"] for u in made} == {"telephone"}
    assert main([*arguments, "--noise", "5", "10"]) == 2
    assert "not both" in capsys.readouterr().err
