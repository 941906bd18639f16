import json

import pytest

from speechllm.errors import SpeechLLMError
from speechllm.targets.desta import read_desta, write_desta
from speechllm.targets.records import read_targets

ROW = {
    "id": "speech/clip_1.wav",
    "dataset": "Some-Corpus",
    "seed_description": "[00:00:00 - 00:00:04] hello (Gender: Male)",
    "prompt": "Who speaks?",
    "response": "A man.",
    "messages": [
        {"role": "system", "content": "Focus on the audio clips and instructions."},
        {"role": "user", "content": "<|AUDIO|>\nWho speaks?", "audios": [{"audio": "speech/clip_1.wav", "text": None}]},
    ],
}


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_published_rows_become_records(tmp_path):
    [record] = read_desta(write(tmp_path / "rows.jsonl", ROW | {"more": 1}))
    assert record.messages == [
        {"role": "system", "content": "Focus on the audio clips and instructions."},
        {"role": "user", "content": [{"type": "audio"}, {"type": "text", "text": "Who speaks?"}]},
    ]
    assert (record.audio, record.response, record.utterance_id) == ("speech/clip_1.wav", "A man.", "speech/clip_1.wav")
    assert record.seed_description == ROW["seed_description"]


def test_rows_go_there_and_back(tmp_path, corpus):
    records = read_targets(corpus.targets)
    assert write_desta(tmp_path / "rows.jsonl", records) == len(records)
    first = json.loads((tmp_path / "rows.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert set(first) == set(ROW)
    assert first["messages"][-1]["content"] == "<|AUDIO|>\nIs the pitch low or high?"
    back = read_desta(tmp_path / "rows.jsonl")
    for field in ("messages", "response", "seed_description", "prompt", "audio", "utterance_id"):
        assert [getattr(r, field) for r in back] == [getattr(r, field) for r in records]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"response": None}, "response: "),
        ({"messages": [{"role": "user", "content": 3}]}, "is not a string"),
        ({"messages": [{}]}, "role None"),
    ],
)
def test_a_bad_row_is_named(change, message, tmp_path):
    with pytest.raises(SpeechLLMError) as caught:
        read_desta(write(tmp_path / "rows.jsonl", ROW, ROW | change))
    assert str(caught.value).startswith(f"{tmp_path / 'rows.jsonl'}:2: ")
    assert message in str(caught.value)
