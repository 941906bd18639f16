import json
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field

from speechllm.data.jsonl import read_jsonl, write_jsonl, written_aside
from speechllm.data.manifest import Utterance, attribute_values, read_manifest, write_manifest
from speechllm.errors import SpeechLLMError

ROW = {"id": "a", "audio": "a.wav", "duration": 1.0, "sampling_rate": 16000}


def write_rows(path, *rows):
    path.write_text(
        "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows), encoding="utf-8"
    )
    return path


def without(key):
    return {k: v for k, v in ROW.items() if k != key}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (without("duration"), "the key 'duration' is missing"),
        (without("audio") | {"audoi": "a.wav"}, "unknown key 'audoi'; did you mean 'audio'?"),
        (ROW | {"xyzzy": 1}, "unknown key 'xyzzy'; known: attributes, audio, "),
        (ROW | {"duration": "long"}, "duration: Input should be a valid number, not 'long'"),
        (ROW | {"duration": -1.0}, "duration: Input should be greater than or equal to 0, not -1.0"),
        ('{"id": "a", "audio": "a.wav", "duration": NaN, "sampling_rate": 16000}', "duration: "),
        (ROW | {"sampling_rate": 16000.5}, "sampling_rate: "),
        (ROW | {"id": ""}, "id: "),
        (ROW | {"id": 7}, "id: Input should be a valid string, not 7"),
        (ROW | {"text": "x" * 5000, "id": ["y" * 5000]}, "id: "),
        (ROW | {"attributes": {"age": None}}, "attributes.age: Input should be str or int or float, not None"),
        (ROW | {"attributes": {"age": [1]}}, "attributes.age: Input should be str or int or float, not [1]"),
        (ROW | {"start": 2.0, "end": 1.0}, "end: 1 s is not after start, 2 s"),
        ('{"id": "a", "audio"', "Invalid JSON"),
        ("[1, 2]", "Input should be an object"),
    ],
)
def test_a_bad_line_is_named_with_its_key(row, message, tmp_path):
    path = write_rows(tmp_path / "train.jsonl", ROW | {"id": "fine"}, "", row)
    with pytest.raises(SpeechLLMError) as caught:
        read_manifest(path)
    assert str(caught.value).startswith(f"{path}:3: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < len(str(path)) + 250


def test_a_repeated_id_is_named_with_both_lines(tmp_path):
    path = write_rows(tmp_path / "train.jsonl", ROW, "", ROW | {"id": "b"}, ROW)
    with pytest.raises(SpeechLLMError, match=r"train.jsonl:4: id 'a' stands on line 1 already"):
        read_manifest(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read"),
        (b"", "holds no utterances"),
        (b"\n\n", "holds no utterances"),
        (b"\xff\xfe\x00", "UTF-8"),
    ],
)
def test_a_file_that_is_no_manifest_is_named(content, message, tmp_path):
    path = tmp_path / "train.jsonl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SpeechLLMError, match=f"train.jsonl: .*{message}"):
        read_manifest(path)


def test_audio_paths_open_from_anywhere(tmp_path):
    write_rows(tmp_path / "train.jsonl", ROW, ROW | {"id": "b", "audio": "/elsewhere/b.wav"})
    first, second = read_manifest(tmp_path / "train.jsonl")
    assert first.audio == str(tmp_path / "a.wav")
    assert second.audio == "/elsewhere/b.wav"


def test_a_byte_order_mark_and_unusual_line_separators_do_no_harm(tmp_path):
    row = json.dumps(ROW | {"text": "one\u2028two\x85three"}, ensure_ascii=False)
    (tmp_path / "train.jsonl").write_text("\ufeff" + row + "\r\n", encoding="utf-8")
    assert read_manifest(tmp_path / "train.jsonl")[0].text == "one\u2028two\x85three"


def test_attribute_values_are_distinct_and_sorted():
    rows = [Utterance(**ROW, attributes=a) for a in ({"g": "m"}, {"g": "f"}, {}, {"g": "m"})]
    assert attribute_values(rows, "g") == ["f", "m"]
    with pytest.raises(ValueError, match="finite"):
        Utterance(**ROW, attributes={"snr_db": float("nan")})


optional_text = st.none() | st.text()
utterances = st.builds(
    Utterance,
    id=st.text(min_size=1),
    audio=st.text(min_size=1),
    duration=st.floats(0, 1e6),
    sampling_rate=st.integers(1, 2**40),
    text=optional_text,
    language=optional_text,
    speaker=optional_text,
    attributes=st.dictionaries(st.text(), st.text() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)),
    dataset=optional_text,
    split=optional_text,
    start=st.none() | st.floats(0, 1e6),
)


@given(st.lists(utterances, max_size=3))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_utterance_survives_the_round_trip(tmp_path, records):
    path = tmp_path / "any.jsonl"
    assert write_manifest(path, records) == len(records)
    back = read_jsonl(path, Utterance)
    assert back == records
    assert [list(map(type, u.attributes.values())) for u in back] == [
        list(map(type, u.attributes.values())) for u in records
    ]


def test_fields_that_were_never_set_are_left_out(tmp_path):
    write_manifest(tmp_path / "a.jsonl", [Utterance(**ROW)])
    assert (tmp_path / "a.jsonl").read_bytes() == json.dumps(ROW, separators=(",", ":")).encode() + b"\n"


def test_records_with_aliased_keys_round_trip_and_suggest_the_alias(tmp_path):
    class Aliased(BaseModel):
        model_config = ConfigDict(extra="forbid")
        kind: str = Field(alias="class")

    write_jsonl(tmp_path / "a.jsonl", [Aliased(**{"class": "x"})])
    assert read_jsonl(tmp_path / "a.jsonl", Aliased)[0].kind == "x"
    write_rows(tmp_path / "a.jsonl", {"clas": "x"})
    with pytest.raises(SpeechLLMError, match="unknown key 'clas'; did you mean 'class'"):
        read_jsonl(tmp_path / "a.jsonl", Aliased)


def test_datasets_loads_a_manifest(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    from datasets import load_dataset

    rows = [Utterance(**ROW, text="hello", attributes={"gender": "female", "words_per_minute": 120})]
    rows.append(Utterance(**ROW | {"id": "b"}, attributes={"gender": "male"}, start=0.0, end=0.5))
    write_manifest(tmp_path / "train.jsonl", rows)
    loaded = load_dataset(
        "json", data_files=str(tmp_path / "train.jsonl"), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert loaded["id"][:] == ["a", "b"]
    assert loaded[0]["attributes"]["words_per_minute"] == 120
    assert loaded[1]["attributes"]["gender"] == "male"
    assert loaded[1]["end"] == 0.5
    assert loaded[0]["text"] == "hello"


@contextmanager
def full_disk():
    """Within the block no file may grow beyond 4 KB: what a full disk or a quota does, from the real system call."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("count", [80, 5000], ids=["refused at the last flush", "refused halfway"])
def test_a_full_disk_leaves_the_previous_file_and_no_litter(count, tmp_path):
    path = tmp_path / "train.jsonl"
    write_manifest(path, [Utterance(**ROW)])
    before = path.read_bytes()
    with pytest.raises(SpeechLLMError, match=r"train.jsonl: cannot be written \(.*\); free some space"), full_disk():
        write_manifest(path, (Utterance(**ROW | {"id": str(n)}) for n in range(count)))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.jsonl").mkdir()
    for path in (tmp_path / "file" / "a.jsonl", tmp_path / "folder.jsonl"):
        with pytest.raises(SpeechLLMError, match=f"{path}: cannot be written"):
            write_manifest(path, [Utterance(**ROW)])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder.jsonl"]


@pytest.mark.parametrize(
    "error", [ValueError("mine"), FileNotFoundError(2, "No such file", "other.wav"), KeyboardInterrupt()]
)
def test_an_error_of_the_caller_comes_through_as_it_is(error, tmp_path):
    path = tmp_path / "train.jsonl"
    path.write_text("before")

    def write_half():
        with written_aside(path) as out:
            out.write("half")
            raise error

    with pytest.raises(type(error)) as caught:
        write_half()
    assert caught.value is error
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_the_written_file_has_the_usual_permissions(tmp_path):
    (tmp_path / "plain").write_text("")
    with written_aside(tmp_path / "new" / "file") as out:
        out.write("one\n")
    assert Path(tmp_path / "new" / "file").read_bytes() == b"one\n"
    assert (tmp_path / "new" / "file").stat().st_mode == (tmp_path / "plain").stat().st_mode
