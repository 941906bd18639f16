"""What recipes share: broken files, tables, genders, and finding a recipe by name."""

import contextlib
import io
import json

import numpy as np
import pytest

from speechllm.audio.io import save_audio
from speechllm.cli import main
from speechllm.data.recipe import Clip, audio_files, find_recipe, gender, read_lines, read_table, write_corpus
from speechllm.errors import SpeechLLMError

RECIPE = """
from speechllm.data.recipe import Clip, audio_files, write_corpus
def prepare(corpus_dir, output_dir):
    return write_corpus("mine", [Clip(id=p.stem, audio=p) for p in audio_files(corpus_dir)], output_dir)
"""


@pytest.fixture
def tone(tmp_path):
    path = tmp_path / "corpus" / "tone.wav"
    save_audio(path, 0.1 * np.sin(np.arange(8000) / 20), 8000)
    return path


def test_one_broken_file_is_reported_and_skipped(tone, tmp_path, capsys):
    clips = [Clip(id="good", audio=tone), Clip(id="bad", audio=tmp_path / "gone.wav")]
    manifests = write_corpus("mine", clips, tmp_path / "out")
    rows = [json.loads(line) for line in manifests["all"].read_text().splitlines()]
    assert rows == [
        {
            "id": "good",
            "audio": "../corpus/tone.wav",
            "duration": 1.0,
            "sampling_rate": 8000,
            "dataset": "mine",
            "split": "all",
        }
    ]
    assert "gone.wav: no such audio file" in capsys.readouterr().err.replace("\n", "")


@pytest.mark.parametrize("good", [0, 1, 150])
def test_more_broken_files_than_the_limit_end_the_run_and_write_nothing(good, tone, tmp_path):
    limit = 2 if good == 150 else 1
    clips = [Clip(id=f"good{i}", audio=tone) for i in range(good)]
    clips += [Clip(id=f"bad{i}", audio=tmp_path / f"gone{i}.wav") for i in range(limit + (good > 0))]
    with pytest.raises(SpeechLLMError, match=rf"more than 1% of the {len(clips)} files .*gone0\.wav"):
        write_corpus("mine", clips, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_file_without_samples_is_broken(tone, tmp_path, capsys):
    save_audio(tmp_path / "empty.wav", np.zeros(0), 8000)
    manifests = write_corpus(
        "mine", [Clip(id="a", audio=tone), Clip(id="b", audio=tmp_path / "empty.wav")], tmp_path / "out"
    )
    assert len(manifests["all"].read_text().splitlines()) == 1


def test_two_clips_of_one_id_are_named(tone, tmp_path):
    with pytest.raises(SpeechLLMError, match=r"has the id 'a' that .* has already"):
        write_corpus("mine", [Clip(id="a", audio=tone), Clip(id="a", audio=tone)], tmp_path / "out")


def test_no_clips_are_an_error(tmp_path):
    with pytest.raises(SpeechLLMError, match="lists no recordings"):
        write_corpus("mine", [], tmp_path / "out")


def test_a_folder_without_audio_is_named(tmp_path):
    (tmp_path / "._x.wav").write_text("left by macOS")
    with pytest.raises(SpeechLLMError, match=rf"{tmp_path}: holds no \.wav files"):
        audio_files(tmp_path, ".wav")


def test_a_tab_separated_table_keeps_its_quotation_marks(tmp_path):
    table = tmp_path / "a.tsv"
    table.write_text('path\tsentence\na.mp3\t"Hi, she said.\nb.mp3\tBye\n')
    assert list(read_table(table, "path", "sentence", delimiter="\t")) == [
        {"path": "a.mp3", "sentence": '"Hi, she said.'},
        {"path": "b.mp3", "sentence": "Bye"},
    ]


def test_a_missing_column_and_a_short_row_are_named(tmp_path):
    table = tmp_path / "a.csv"
    table.write_text("ID,sex\n1\n")
    with pytest.raises(SpeechLLMError, match="has no column 'Sex'; did you mean 'sex'"):
        list(read_table(table, "Sex"))
    with pytest.raises(SpeechLLMError, match=r"a\.csv:2: has fewer fields"):
        list(read_table(table, "ID", "sex"))


def test_files_that_cannot_be_read_are_named(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(SpeechLLMError, match=r"a\.txt: is not UTF-8"):
        read_lines(tmp_path / "a.txt")
    with pytest.raises(SpeechLLMError, match=r"b\.txt: cannot be read"):
        read_lines(tmp_path / "b.txt")


def test_genders():
    words = ["F", "w", "Female", "female_feminine", "M", "male", "male_masculine", "", "other", "non-binary"]
    assert [gender(word) for word in words] == ["female"] * 4 + ["male"] * 3 + [None] * 3


def test_a_recipe_of_the_working_folder_goes_before_the_source_tree(tone, tmp_path, monkeypatch):
    recipe = tmp_path / "work" / "recipes" / "crema_d" / "prepare.py"
    recipe.parent.mkdir(parents=True)
    recipe.write_text(RECIPE)
    monkeypatch.chdir(tmp_path / "work")
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert main(["prepare", "crema_d", str(tone.parent), str(tmp_path / "out")]) == 0
    assert out.getvalue() == f"{tmp_path / 'out' / 'all.jsonl'}: 1 utterances\n"


def test_a_recipe_by_path(tone, tmp_path):
    (tmp_path / "prepare.py").write_text(RECIPE)
    assert list(find_recipe(str(tmp_path))(tone.parent, tmp_path / "out")) == ["all"]


def test_a_misspelt_recipe_is_suggested(tmp_path, capsys):
    assert main(["prepare", "crema-d", str(tmp_path), str(tmp_path / "out")]) == 2
    assert "there is no recipe 'crema-d'; did you mean 'crema_d'?" in capsys.readouterr().err


def test_a_recipe_without_prepare_is_named(tmp_path):
    (tmp_path / "prepare.py").write_text("x = 1\n")
    with pytest.raises(SpeechLLMError, match="defines no prepare"):
        find_recipe(str(tmp_path))
