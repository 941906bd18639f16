"""Every recipe on a miniature corpus in the official layout, and on human recordings where they are given."""

import os
from pathlib import Path

import pytest
from miniature import MINIATURES, SECONDS

from speechllm.data.manifest import read_manifest
from speechllm.data.recipe import find_recipe
from speechllm.errors import SpeechLLMError

RECIPES = Path(__file__).parents[2] / "recipes"
SAME_EVERYWHERE = {"audio", "duration", "sampling_rate", "dataset", "split"}


@pytest.mark.parametrize("name", sorted(MINIATURES))
def test_a_miniature_corpus_becomes_the_expected_manifests(name, tmp_path):
    corpus = MINIATURES[name].write(tmp_path / "corpus")
    manifests = find_recipe(str(RECIPES / name))(corpus, tmp_path / "out")
    assert manifests == {split: tmp_path / "out" / f"{split}.jsonl" for split in MINIATURES[name].expected}
    for split, rows in MINIATURES[name].expected.items():
        utterances = read_manifest(manifests[split])
        assert [u.model_dump(exclude_unset=True, exclude=SAME_EVERYWHERE) for u in utterances] == rows
        for utterance in utterances:
            assert Path(utterance.audio).is_file()
            assert (utterance.dataset, utterance.split) == (name, split)
            assert utterance.duration == pytest.approx(SECONDS, abs=0.1)  # MP3 pads


@pytest.mark.parametrize("name", sorted(MINIATURES))
def test_another_folder_is_told_from_the_corpus(name, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    with pytest.raises(SpeechLLMError, match="elsewhere"):
        find_recipe(str(RECIPES / name))(tmp_path / "elsewhere", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "clips", "attributes"),
    [
        ("crema_d", 187, {"gender", "age", "emotion"}),
    ],
)
def test_human_recordings(name, clips, attributes, tmp_path):
    folder = os.environ.get("SPEECHLLM_TEST_DATA")
    if folder is None:
        pytest.skip("SPEECHLLM_TEST_DATA names no folder of human recordings")
    manifests = find_recipe(str(RECIPES / name))(Path(folder) / name, tmp_path)
    utterances = [u for path in manifests.values() for u in read_manifest(path)]
    assert len(utterances) == clips
    for utterance in utterances:
        assert attributes <= utterance.attributes.keys()
