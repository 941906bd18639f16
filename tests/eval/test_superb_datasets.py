"""Dynamic-SUPERB's data sets as the Hub has them, read as its dumps are."""

import io
import json

import datasets
import pyarrow
import pyarrow.parquet
import pytest
import soundfile

from speechllm.errors import SpeechLLMError
from speechllm.eval.sources import find_tasks
from speechllm.eval.superb_datasets import dumped_datasets, instance_of
from speechllm.testing.corpus import tone


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SPEECHLLM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def audio(hertz, ending="wav"):
    held = io.BytesIO()
    soundfile.write(held, tone(0.2, hertz), 16_000, format=ending)
    return {"bytes": held.getvalue(), "path": f"{hertz}.{ending}"}


def rows(n=2, **more):
    return [
        {"file": f"part/{k}.flac", "audio": audio(200 + k), "instruction": "Same? The answer could be yes or no.",
         "label": "no", **{name: audio(300 + k) for name in more.get("further", ())}}
        for k in range(n)
    ]  # fmt: skip


def write(path, told):
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(told), path)
    return path


@pytest.mark.parametrize("benchmark", ["dynamic_superb", "dynamic_superb_phase2"])
def test_a_data_set_becomes_a_task_with_all_its_clips(tmp_path, benchmark):
    folder = tmp_path / "superb"
    write(folder / "Speaker_X" / "data" / "test-00000-of-00001.parquet", rows(further=("audio2", "audio3")))
    write(folder / "Speaker_X" / "data" / "train-00000-of-00001.parquet", rows(5))
    (task,) = find_tasks([benchmark], folder)
    assert task.name == f"{benchmark}.Speaker_X"
    assert [q.prompt.id for q in task.questions] == ["Speaker_X_0.wav", "Speaker_X_1.wav"]
    assert [len(q.utterances) for q in task.questions] == [3, 3]
    first, second, _ = (soundfile.read(u.audio)[0] for u in task.questions[1].utterances)
    assert (first == soundfile.read(io.BytesIO(audio(201)["bytes"]))[0]).all()
    assert (second == soundfile.read(io.BytesIO(audio(301)["bytes"]))[0]).all()
    assert task.questions[0].row == {"file": "part/0.flac", "instruction": task.questions[0].prompt.text, "label": "no"}


def test_numbered_labels_become_words_and_audio_needs_no_decoder(tmp_path):
    features = datasets.Features(
        {"file": datasets.Value("string"), "audio": datasets.Audio(), "instruction": datasets.Value("string"),
         "label": datasets.ClassLabel(names=["yes", "no"])}
    )  # fmt: skip
    path = tmp_path / "Speaker_X" / "data" / "test-00000-of-00001.parquet"
    path.parent.mkdir(parents=True)
    plain = datasets.Dataset.from_list([{**row, "label": 1} for row in rows()])
    plain.cast(features).to_parquet(path)
    (task,) = find_tasks(["dynamic_superb"], tmp_path)
    assert [q.truth for q in task.questions] == ["no", "no"]
    assert task.questions[0].choices == ("yes", "no")


def test_a_data_set_is_dumped_once_and_again_when_it_changes(tmp_path, cache):
    path = write(tmp_path / "Speaker_X" / "test-00000-of-00001.parquet", rows())
    (first,) = dumped_datasets(tmp_path)
    assert first.is_relative_to(cache)
    first.write_text(json.dumps({}))
    assert dumped_datasets(tmp_path / "Speaker_X") == [first]
    assert json.loads(first.read_text()) == {}
    write(path, rows(3))
    (again,) = [found for found in dumped_datasets(tmp_path) if found != first]
    assert len(json.loads(again.read_text())) == 3


def test_the_hubs_own_cache_is_known(tmp_path):
    root = tmp_path / "datasets--DynamicSuperb--Speaker_X" / "snapshots" / "0123abcd"
    write(root / "data" / "test-00000-of-00001.parquet", rows(1))
    assert instance_of(root) == "Speaker_X"
    assert [task.name for task in find_tasks(["dynamic_superb"], tmp_path)] == ["dynamic_superb.Speaker_X"]


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ([{"audio": audio(200), "label": "x"}], "row 0: lacks its file name"),
        ([{"file": "x.wav", "label": "x"}], "row 0: lacks audio"),
        (rows(1) + rows(1), r"row 1: another row is called 'Speaker_X_0\.wav'"),
        ([{**rows(1)[0], "audio2": audio(1, "flac")}], r"its clips are \.wav and \.flac"),
        ([{**rows(1)[0], "audio": {"bytes": b"no audio", "path": None}}], r"Speaker_X_0\.unknown"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, told, message):
    write(tmp_path / "Speaker_X" / "test-00000-of-00001.parquet", told)
    with pytest.raises(SpeechLLMError, match=message):
        find_tasks(["dynamic_superb"], tmp_path)
    (tmp_path / "Speaker_X" / "test-00000-of-00001.parquet").write_bytes(b"PAR1")
    with pytest.raises(SpeechLLMError, match="cannot be read as Parquet"):
        find_tasks(["dynamic_superb"], tmp_path)
