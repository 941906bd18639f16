"""Every recipe on a miniature corpus in the official layout, and on human recordings where they are given."""

import os
from pathlib import Path

import pytest
from miniature import Miniature
from miniature_emotions import EMOTIONS
from miniature_parquet import PARQUET
from miniature_parts import PARTS
from miniature_read import READ
from miniature_sounds import SOUNDS
from miniature_speech import SPEECH

from speechllm.data.manifest import read_manifest
from speechllm.data.recipe import find_recipe
from speechllm.errors import SpeechLLMError

MINIATURES = SPEECH | SOUNDS | EMOTIONS | READ | PARTS | PARQUET
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
            part = (utterance.end or MINIATURES[name].seconds) - (utterance.start or 0.0)
            assert utterance.duration == pytest.approx(part, abs=0.1)  # MP3 pads


@pytest.mark.parametrize("name", sorted(MINIATURES))
def test_another_folder_is_told_from_the_corpus(name, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    with pytest.raises(SpeechLLMError, match="elsewhere"):
        find_recipe(str(RECIPES / name))(tmp_path / "elsewhere", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.fixture
def human() -> Path:
    folder = os.environ.get("SPEECHLLM_TEST_DATA")
    if folder is None:
        pytest.skip("SPEECHLLM_TEST_DATA names no folder of human recordings")
    return Path(folder)


@pytest.mark.parametrize(
    ("name", "counts", "attributes"),
    [
        ("crema_d", {"all": 187}, {"gender", "age", "emotion"}),
        ("free_spoken_digit", {"test": 300, "train": 300}, set()),
    ],
)
def test_human_recordings(name, counts, attributes, human, tmp_path):
    manifests = find_recipe(str(RECIPES / name))(human / name, tmp_path)
    utterances = {split: read_manifest(path) for split, path in manifests.items()}
    assert {split: len(rows) for split, rows in utterances.items()} == counts
    assert all(attributes <= u.attributes.keys() and u.text for rows in utterances.values() for u in rows)


def test_human_recordings_of_common_voice(human, tmp_path):
    """The sample has the clips but not the tables, so a table in the official form is made from its genders."""
    genders = dict(line.split(",") for line in (human / "common_voice" / "gender.csv").read_text().split()[1:])
    rows = "".join(f"s{i}\t{path}\tWords.\t\t{gender}\n" for i, (path, gender) in enumerate(genders.items()))
    (tmp_path / "en").mkdir()
    (tmp_path / "en" / "clips").symlink_to(human / "common_voice" / "clips")
    (tmp_path / "en" / "train.tsv").write_text("client_id\tpath\tsentence\tage\tgender\n" + rows)
    manifests = find_recipe(str(RECIPES / "common_voice"))(tmp_path / "en", tmp_path / "out")
    found = {f"{u.id}.flac": u.attributes["gender"] for u in read_manifest(manifests["train"])}
    assert found == genders
    assert len(found) == 250


def test_a_folder_with_a_table(tmp_path):
    corpus = Miniature(
        audio=["a/x.wav", "y.flac", "unlisted.wav"],
        tables={
            "metadata.csv": "file_name,split,text,speaker,language,emotion,age,code\n"
            'a/x.wav,train,"Hi, you",s1,en,happy,31,007\ny.flac,,,,,,0.5,nan\n'
        },
        expected={},
    ).write(tmp_path / "mine")
    manifests = find_recipe(str(RECIPES / "folder"))(corpus, tmp_path / "out")
    (x,), (y,) = read_manifest(manifests["train"]), read_manifest(manifests["all"])
    assert (x.id, x.text, x.speaker, x.language, x.dataset) == ("a/x", "Hi, you", "s1", "en", "mine")
    assert x.attributes == {"emotion": "happy", "age": 31, "code": "007"}
    assert (y.id, y.text, y.speaker, y.attributes) == ("y", None, None, {"age": 0.5, "code": "nan"})


def test_a_folder_with_several_tables(tmp_path):
    corpus = Miniature(
        audio=["clips/x.wav", "y.wav"],
        tables={"gender.csv": "path,gender\nx.wav,male\n", "words.csv": "path,text,gender\ny.wav,Hi,\nx.wav,No,\n"},
        expected={},
    ).write(tmp_path / "mine")
    rows = read_manifest(find_recipe(str(RECIPES / "folder"))(corpus, tmp_path / "out")["all"])
    assert [(u.id, u.text, u.attributes) for u in rows] == [("x", "No", {"gender": "male"}), ("y", "Hi", {})]


def test_a_folder_table_without_files_is_named(tmp_path):
    corpus = Miniature(audio=["x.wav"], tables={"notes.csv": "name\nx\n"}, expected={}).write(tmp_path)
    with pytest.raises(SpeechLLMError, match=r"notes\.csv: has no column 'file_name' or 'path'"):
        find_recipe(str(RECIPES / "folder"))(corpus, tmp_path / "out")


def test_human_recordings_with_tables_of_their_own(human, tmp_path):
    manifests = find_recipe(str(RECIPES / "folder"))(human / "common_voice", tmp_path)
    rows = read_manifest(manifests["all"])
    assert sum("gender" in u.attributes for u in rows) == 250
    assert sum(u.language is not None for u in rows) == 250


def test_a_folder_with_texts_beside_the_audio(tmp_path):
    corpus = Miniature(
        audio=["b.wav", "a/x.ogg", "c.wav"],
        tables={"b.txt": "Two\n lines \n", "a/x.lab": "One", "a/._x.wav": "left by macOS"},
        expected={},
    ).write(tmp_path / "mine")
    manifests = find_recipe(str(RECIPES / "folder"))(corpus, tmp_path / "out")
    rows = read_manifest(manifests["all"])
    assert [(u.id, u.text) for u in rows] == [("a/x", "One"), ("b", "Two lines"), ("c", None)]


def test_a_folder_table_without_a_name_is_named(tmp_path):
    corpus = Miniature(audio=[], tables={"metadata.csv": "file_name,age\n,3\n"}, expected={}).write(tmp_path)
    with pytest.raises(SpeechLLMError, match=r"metadata\.csv: a line names no file"):
        find_recipe(str(RECIPES / "folder"))(corpus, tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "changed", "message"),
    [
        ("crema_d", ("AudioWAV/notes.wav", "x"), r"notes\.wav: is not named <actor>"),
        ("free_spoken_digit", ("recordings/ten_jackson_1.wav", "x"), r"ten_jackson_1\.wav: is not named <digit>"),
        ("free_spoken_digit", ("metadata.py", "x ="), r"metadata\.py: holds no dictionary"),
        ("ravdess", ("Audio_Song_Actors_01-24/Actor_01/01-02-01-01-01-02-01.wav", "x"), "audio only"),
        ("vctk", ("speaker-info.txt", "ID\np225 F\np226 23\n"), "'p226 23' is not a speaker"),
        ("asterisk", ("usr/share/doc/asterisk-core-sounds-fr/core-sounds-fr.txt.gz", "x"), "unpack the package"),
        ("fleurs", ("train.tsv", "6\t10004.wav\n"), "has 2 fields, not 7"),
        ("librispeech", ("SPEAKERS.TXT", "84 | F\n"), r"SPEAKERS\.TXT: '84 \| F' has fewer than five fields"),
        ("esd", ("0001/Bored/0001_000001.wav", "x"), r"is not <speaker>/<emotion>"),
        ("emov_db", ("zoe/Amused/amused_1-15_0001.wav", "x"), r"is not <speaker>/<emotion>"),
        ("iemocap", ("Session1/sentences/wav/x/mine.wav", "x"), r"mine\.wav: is not named like Ses01F"),
        ("accentdb", ("data/american/mine.wav", "x"), r"mine\.wav: is not <accent>"),
        ("dailytalk", ("metadata.json", '{"0": {"0": {"text": "hi"}}}'), r"metadata\.json: is not dialogues"),
        ("vocalsound", ("meta/all_meta.json", '[["f0003", "female"]]'), r"all_meta\.json: is not a list of"),
        ("vocalsound", ("datafiles/te.json", "[]"), r"te\.json: is not a list of files"),
        ("voxceleb1", ("wav/id99999/x/00001.wav", "x"), r"'id99999' is no speaker of vox1_meta"),
        ("expresso", ("splits/dev.txt", "ex01_happy_99999\n"), r"dev\.txt: lists ex01_happy_99999"),
        ("common_voice", ("train.tsv", "path\tsentence\n"), r"train\.tsv: has no column 'client_id'"),
    ],
)
def test_a_damaged_corpus_is_told_with_the_file(name, changed, message, tmp_path):
    corpus = MINIATURES[name].write(tmp_path / "corpus")
    (corpus / changed[0]).parent.mkdir(parents=True, exist_ok=True)
    (corpus / changed[0]).write_text(changed[1])
    with pytest.raises(SpeechLLMError, match=message):
        find_recipe(str(RECIPES / name))(corpus, tmp_path / "out")


def test_a_part_past_the_end_of_its_file_is_skipped(tmp_path, capsys):
    miniature = MINIATURES["expresso"]
    corpus = miniature.write(tmp_path / "corpus")
    (corpus / "splits" / "dev.txt").write_text("ex04_default_longform_00001\t(9.0s,)\n")
    manifests = find_recipe(str(RECIPES / "expresso"))(corpus, tmp_path / "out")
    assert sorted(manifests) == ["test", "train"]
    said = " ".join(capsys.readouterr().err.split())
    assert "ex04_default_longform_00001.wav: ends before 9 s, where ex04_default_longform_00001_9.00 begins" in said


def test_only_the_recipes_that_name_another_encoding_take_it(tmp_path):
    corpus = MINIATURES["libritts_r"].write(tmp_path / "corpus")
    next(corpus.rglob("*.normalized.txt")).write_bytes("Café.".encode("latin-1"))
    with pytest.raises(SpeechLLMError, match=r"normalized\.txt: is not UTF-8"):
        find_recipe(str(RECIPES / "libritts_r"))(corpus, tmp_path / "out")


def test_asterisk_packages_of_debian(tmp_path):
    """As `apt-get download` and `dpkg -x` lay them out (recipes/asterisk/README.md)."""
    folder = os.environ.get("SPEECHLLM_TEST_ASTERISK")
    if folder is None:
        pytest.skip("SPEECHLLM_TEST_ASTERISK names no folder of the unpacked packages")
    utterances = read_manifest(find_recipe(str(RECIPES / "asterisk"))(Path(folder), tmp_path)["all"])
    assert {u.language for u in utterances} == {"en", "es", "fr", "it", "ru"}
    assert all({"gender", "accent"} <= u.attributes.keys() for u in utterances)
    assert sum(bool(u.text) for u in utterances) > 0.9 * len(utterances) > 2500
