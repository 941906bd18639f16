"""Checking manifests: every bad line is found, audio is compared with what the line says, shared speakers are named."""

import json

import numpy as np
import pytest

from speechllm.audio.io import save_audio
from speechllm.cli import main
from speechllm.data.check import check_audio, check_lines, check_speakers

ROW = {"id": "a", "audio": "a.wav", "duration": 1.0, "sampling_rate": 16000}


def manifest(path, *rows):
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def audio_problems(path):
    return [(p.kind, p.text.removeprefix(f"{path}:")) for p in check_audio(path, check_lines(path).lines)]


@pytest.fixture
def corpus(tmp_path):
    save_audio(tmp_path / "a.wav", np.full(16000, 0.1, np.float32))
    return tmp_path


def test_every_bad_line_is_reported_and_the_good_ones_kept(tmp_path):
    path = manifest(tmp_path / "m.jsonl", ROW, "{", "", ROW | {"id": 7}, ROW | {"id": "b"}, ROW)
    found = check_lines(path)
    assert list(found.lines) == [1, 5, 6]
    assert found.lines[1].audio == str(tmp_path / "a.wav")
    assert [(p.kind, p.text.split(": ")[0]) for p in found.problems] == [
        ("schema", f"{path}:2"),
        ("schema", f"{path}:4"),
        ("duplicate id", f"{path}:6"),
    ]
    assert found.problems[2].text.endswith("id 'a' stands on line 1 already")


def test_an_empty_manifest_is_a_problem(tmp_path):
    [problem] = check_lines(manifest(tmp_path / "m.jsonl")).problems
    assert "holds no utterances" in problem.text


def test_missing_and_unreadable_audio_is_named_by_line(corpus):
    (corpus / "b.wav").write_text("not audio")
    path = manifest(corpus / "m.jsonl", ROW, ROW | {"id": "b", "audio": "b.wav"}, ROW | {"id": "c", "audio": "c.wav"})
    (kind, broken), (_, missing) = audio_problems(path)
    assert kind == "audio"
    assert broken.startswith("2: ")
    assert "is not audio that can be read" in broken
    assert missing.startswith("3: ")
    assert "no such audio file" in missing


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"duration": 1.04}, []),
        ({"start": 0.25, "end": 0.75, "duration": 0.5}, []),
        ({"start": 0.25, "duration": 0.75}, []),
        ({"duration": 1.2}, ["gives 1.00 s, the line says 1.2"]),
        ({"start": 0.25, "end": 0.75}, ["gives 0.50 s, the line says 1"]),
        ({"start": 0.5, "end": 1.5}, ["lasts 1.00 s, the segment 0.5 to 1.5 s is not in it"]),
        ({"start": 2.0, "duration": 0.0}, ["lasts 1.00 s, the segment 2 to 1 s is not in it"]),
        ({"sampling_rate": 8000}, ["has 16000 Hz, not 8000"]),
    ],
)
def test_what_the_line_says_is_held_against_the_file(change, told, corpus):
    path = manifest(corpus / "m.jsonl", ROW | change)
    assert [text.split("a.wav ")[1] for _, text in audio_problems(path)] == told


def test_a_rounded_duration_of_a_long_file_is_no_problem(corpus):
    save_audio(corpus / "long.wav", np.zeros(20 * 16000, np.float32))
    path = manifest(corpus / "m.jsonl", ROW | {"audio": "long.wav", "duration": 20.15})
    assert audio_problems(path) == []
    path = manifest(corpus / "m.jsonl", ROW | {"audio": "long.wav", "duration": 20.3})
    assert [kind for kind, _ in audio_problems(path)] == ["duration"]


def test_shared_speakers_and_ids_are_found_between_every_two(tmp_path):
    rows = {
        "train": [ROW | {"speaker": "s1"}, ROW | {"id": "b", "speaker": "s2"}],
        "dev": [ROW | {"id": "c", "speaker": "s3"}, ROW | {"id": "d"}],
        "test": [ROW | {"id": "a", "speaker": "s3"}, ROW | {"id": "e", "dataset": "other", "speaker": "s1"}],
    }
    paths = [manifest(tmp_path / f"{name}.jsonl", *lines) for name, lines in rows.items()]
    found = list(check_speakers({path: list(check_lines(path).lines.values()) for path in paths}))
    train, dev, test = paths
    assert [(p.kind, p.text) for p in found] == [
        ("duplicate id", f"{train} and {test} share 1 ids: a"),
        ("speaker overlap", f"{dev} and {test} share 1 speakers: s3"),
    ]


def test_the_command_prints_each_problem_and_fails(corpus, capsys):
    bad = [ROW | {"id": f"x{i}", "audio": "x.wav"} for i in range(25)]
    path = manifest(corpus / "m.jsonl", ROW, *bad)
    assert main(["manifest", "validate", str(path)]) == 2
    told = capsys.readouterr()
    assert told.out.count("no such audio file") == 20
    assert "... and 5 more of this kind (audio)" in told.out
    assert "25 problems" in told.err
    assert main(["manifest", "validate", str(path), "--no-audio"]) == 0
    assert capsys.readouterr().out == f"{path}: 26 utterances, no problems\n"


def test_the_command_wants_a_manifest(capsys):
    assert main(["manifest", "validate"]) == 2
    assert "no manifest given" in capsys.readouterr().err


def test_sound_that_breaks_off_behind_a_good_header_is_found_by_decoding(corpus):
    rng = np.random.default_rng(0)
    save_audio(corpus / "cut.flac", (0.1 * rng.standard_normal(16000)).astype(np.float32))
    body = (corpus / "cut.flac").read_bytes()
    (corpus / "cut.flac").write_bytes(body[: len(body) // 2])
    path = manifest(corpus / "m.jsonl", ROW, ROW | {"id": "cut", "audio": "cut.flac"})
    assert audio_problems(path) == []
    [problem] = check_audio(path, check_lines(path).lines, decode=True)
    assert problem.kind == "audio"
    assert problem.text.startswith(f"{path}:2: 'cut': {corpus}/cut.flac")
    assert main(["manifest", "validate", str(path), "--decode"]) == 2
    assert main(["manifest", "validate", str(path)]) == 0
