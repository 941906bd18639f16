"""Clips that sound different each time that they are heard."""

import pytest
import torch
from runs import Killed, assert_same, context_of, fit, kill_at

from speechllm.errors import SpeechLLMError
from speechllm.train import loop


@pytest.fixture
def recipe(tmp_path):
    (tmp_path / "recipe.toml").write_text('reverberation = [0.1, 0.4]\ncodecs = ["mu-law"]\n', encoding="utf-8")
    return str(tmp_path / "recipe.toml")


def with_recipe(resumable, out, recipe, **values):
    return resumable(out, data={"augmentation": recipe, "attributes": ["pitch"]}, **values)


def test_a_clip_sounds_as_the_seed_says_and_as_long_as_before(resumable, corpus, recipe, tmp_path):
    audio = context_of(with_recipe(resumable, tmp_path / "run", recipe)).audio
    clean = context_of(resumable(tmp_path / "clean")).audio
    clips = corpus.utterances[:3]
    heard = []
    for seed in (0, 1, 0):
        torch.manual_seed(seed)
        heard.append(audio.get(clips))
    states, mask = clean.get(clips)
    assert torch.equal(heard[0][0], heard[2][0])
    assert not torch.allclose(heard[0][0], heard[1][0], atol=1e-3)
    assert not torch.allclose(heard[0][0], states, atol=1e-3)
    assert torch.equal(heard[0][1], mask)


def test_a_killed_run_hears_the_same_again(resumable, corpus, recipe, tmp_path, monkeypatch):
    whole = fit(with_recipe(resumable, tmp_path / "whole", recipe), corpus)
    with monkeypatch.context() as patch:
        kill_at(patch, 6)
        with pytest.raises(Killed):
            fit(with_recipe(resumable, tmp_path / "cut", recipe), corpus)
    assert_same(fit(with_recipe(resumable, tmp_path / "cut", recipe), corpus), whole)


def test_a_change_that_makes_descriptions_untrue_is_refused(resumable, tmp_path):
    (tmp_path / "recipe.toml").write_text("pitch = [-4, 4]\n", encoding="utf-8")
    config = resumable(tmp_path / "run", data={"augmentation": str(tmp_path / "recipe.toml"), "attributes": ["pitch"]})
    with pytest.raises(SpeechLLMError, match=r"recipe\.toml: pitch would make pitch untrue.*speechllm augment"):
        loop.train(config)
