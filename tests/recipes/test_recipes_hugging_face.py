"""The recipe for any dataset that `datasets` reads, on Parquet files and folders of audio."""

from pathlib import Path

import pytest
from miniature import Miniature
from miniature_parquet import parquet, sound

from speechllm.data.manifest import read_manifest
from speechllm.data.recipe import find_recipe
from speechllm.errors import SpeechLLMError

RECIPE = str(Path(__file__).parents[2] / "recipes" / "hugging_face")
CLASSES = {"names": ["sad", "happy"], "_type": "ClassLabel"}
DESCRIPTION = """
dataset = "speech"
{more}
[columns]
audio = "clip"
id = "key"
text = "sentence"
speaker = "who"
[attributes]
emotion = "label"
gender = "sex"
loudness = "level"
"""


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    rows = [
        {
            "clip": {"bytes": sound("WAV"), "path": None},
            "key": f"row {i}",
            "sentence": "Hi.",
            "who": i,
            "label": i % 2,
            "sex": "Male",
            "level": 0.5,
        }
        for i in range(5)
    ]
    rows[4] |= {"label": -1, "sex": None, "level": None}
    content = parquet(rows, clip={"_type": "Audio"}, label=CLASSES)
    (tmp_path / "corpus" / "speech").mkdir(parents=True)
    for split in ("train", "test"):
        (tmp_path / "corpus" / "speech" / f"{split}-00000-of-00001.parquet").write_bytes(content)
    return tmp_path / "corpus"


def prepared(corpus: Path, out: Path, more: str = "") -> dict[str, Path]:
    (corpus / "dataset.toml").write_text(DESCRIPTION.replace("{more}", more))
    return find_recipe(RECIPE)(corpus, out)


def test_columns_become_what_the_description_says(corpus, tmp_path):
    manifests = prepared(corpus, tmp_path / "out", 'language = "en"')
    assert sorted(manifests) == ["test", "train"]
    rows = read_manifest(manifests["train"])
    found = [(u.id, u.text, u.language, u.speaker) for u in rows]
    assert found == [(f"train/row {i}", "Hi.", "en", str(i)) for i in range(5)]
    assert rows[0].attributes == {"emotion": "sad", "gender": "male", "loudness": 0.5}
    assert rows[1].attributes["emotion"] == "happy"
    assert rows[4].attributes == {}  # an unknown class, and empty cells
    assert {u.dataset for u in rows} == {"speech"}
    assert Path(rows[0].audio).read_bytes() == sound("WAV")
    assert Path(rows[0].audio).suffix == ".wav"


def test_a_limit_and_a_choice_of_splits(corpus, tmp_path):
    manifests = prepared(corpus, tmp_path / "out", 'limit = 2\nsplits = ["test"]')
    assert {split: len(read_manifest(path)) for split, path in manifests.items()} == {"test": 2}
    assert len(list((tmp_path / "out" / "audio").rglob("*.wav"))) == 2


def test_audio_is_written_once(corpus, tmp_path):
    prepared(corpus, tmp_path / "out")
    written = next((tmp_path / "out" / "audio").rglob("*.wav"))
    before = written.stat().st_mtime_ns
    prepared(corpus, tmp_path / "out")
    assert written.stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('text = "sentence"', 'text = "sentense"', "has no column 'sentense'.*did you mean.*sentence"),
        ("{more}", 'splits = ["tset"]', "has no split 'tset'.*did you mean.*test"),
        ('dataset = "speech"', 'dataset = "speach/none"', "speach/none: cannot be loaded"),
        ("{more}", "rows = 3", r"dataset\.toml: .*rows"),
    ],
)
def test_a_mistake_in_the_description_is_named(old, new, message, corpus, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    (corpus / "dataset.toml").write_text(DESCRIPTION.replace(old, new).replace("{more}", ""))
    with pytest.raises(SpeechLLMError, match=message):
        find_recipe(RECIPE)(corpus, tmp_path / "out")


def test_a_folder_of_audio_is_used_where_it_lies(tmp_path):
    corpus = Miniature(
        audio=["speech/train/a.wav", "speech/train/b.wav"],
        tables={
            "speech/train/metadata.csv": "file_name,said\na.wav,One\nb.wav,Two\n",
            "dataset.toml": 'dataset = "speech"\n[columns]\ntext = "said"\n',
        },
        expected={},
    ).write(tmp_path / "corpus")
    rows = read_manifest(find_recipe(RECIPE)(corpus, tmp_path / "out")["train"])
    assert [(Path(u.audio).resolve(), u.text) for u in rows] == [
        (corpus / "speech" / "train" / "a.wav", "One"),
        (corpus / "speech" / "train" / "b.wav", "Two"),
    ]
