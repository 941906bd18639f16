"""Manifests from manifests: nothing lost in merging, no speaker on two sides of a split, conditions that hold."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechllm.cli import main
from speechllm.data.manifest import Utterance, read_manifest
from speechllm.data.select import filter_manifest, merge, parse_condition, split_by_speaker
from speechllm.errors import SpeechLLMError


def utterance(name, duration=1.0, **values):
    return Utterance(id=name, audio=f"{name}.wav", duration=duration, sampling_rate=16000, **values)


def write(path, *ids):
    path.parent.mkdir(exist_ok=True)
    rows = ({"id": i, "audio": f"{i}.wav", "duration": 1.0, "sampling_rate": 16000, "speaker": i} for i in ids)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_merged_audio_can_be_found_from_the_new_place(tmp_path):
    one, two = write(tmp_path / "one/m.jsonl", "a", "b"), write(tmp_path / "two/m.jsonl", "c")
    assert main(["manifest", "merge", str(one), str(two), "--out", str(tmp_path / "all.jsonl")]) == 0
    assert [(u.id, u.audio) for u in read_manifest(tmp_path / "all.jsonl")] == [
        ("a", str(tmp_path / "one/a.wav")),
        ("b", str(tmp_path / "one/b.wav")),
        ("c", str(tmp_path / "two/c.wav")),
    ]


def test_an_id_in_two_manifests_is_refused(tmp_path):
    one, two = write(tmp_path / "one.jsonl", "a", "b"), write(tmp_path / "two.jsonl", "c", "b")
    with pytest.raises(SpeechLLMError, match=r"two.jsonl: id 'b' stands in .*one.jsonl already"):
        merge([one, two])


LINES = st.lists(
    st.tuples(st.sampled_from("abcdefgh"), st.sampled_from([None, "d"]), st.floats(0.1, 30)), min_size=1, max_size=60
)


@given(LINES, st.integers(0, 5))
def test_no_speaker_is_in_two_splits_and_shares_are_met_up_to_one_speaker(lines, seed):
    utterances = [utterance(str(i), s, speaker=name, dataset=d) for i, (name, d, s) in enumerate(lines)]
    shares = {"train": 3, "test": 1}
    try:
        splits = split_by_speaker(utterances, shares, seed)
    except SpeechLLMError:
        assert len({(u.dataset, u.speaker) for u in utterances}) < len(shares)
        return
    speakers = {name: {(u.dataset, u.speaker) for u in part} for name, part in splits.items()}
    assert not speakers["train"] & speakers["test"]
    assert sorted(u.id for part in splits.values() for u in part) == sorted(u.id for u in utterances)
    assert all(u.split == name for name, part in splits.items() for u in part)
    seconds = {}
    for u in utterances:
        seconds[u.dataset, u.speaker] = seconds.get((u.dataset, u.speaker), 0) + u.duration
    got = sum(u.duration for u in splits["train"])
    assert abs(got - 0.75 * sum(seconds.values())) <= max(seconds.values()) + 1e-6


def test_a_split_depends_on_the_seed_and_not_on_the_order():
    utterances = [utterance(str(i), speaker=f"s{i % 10}") for i in range(40)]
    ids = [
        {name: {u.id for u in part} for name, part in split_by_speaker(lines, {"a": 1, "b": 1}, seed).items()}
        for lines, seed in [(utterances, 0), (utterances[::-1], 0), (utterances, 1)]
    ]
    assert ids[0] == ids[1] != ids[2]


def test_segments_of_one_file_stay_together_where_no_speaker_is_known():
    utterances = [utterance(str(i)).model_copy(update={"audio": f"{i // 10}.wav"}) for i in range(40)]
    splits = split_by_speaker(utterances, {"a": 1, "b": 1})
    files = [{u.audio for u in part} for part in splits.values()]
    assert not files[0] & files[1]
    assert [len(f) for f in files] == [2, 2]


@pytest.mark.parametrize("shares", [{}, {"a": 0.0}, {"a": 1, "b": -1}])
def test_shares_must_be_positive(shares):
    with pytest.raises(SpeechLLMError, match="positive share"):
        split_by_speaker([utterance("a")], shares)


def test_too_few_speakers_are_told():
    with pytest.raises(SpeechLLMError, match="1 speakers leave b empty"):
        split_by_speaker([utterance("a", speaker="s"), utterance("b", speaker="s")], {"a": 1, "b": 1})


PEOPLE = [
    utterance("short", 1.0, language="en", attributes={"gender": "female", "snr_db": 10}),
    utterance("long", 20.0, language="de", attributes={"gender": "male", "snr_db": 20.5}),
    utterance("bare", 5.0),
]


@pytest.mark.parametrize(
    ("conditions", "kept"),
    [
        (["gender=female"], ["short"]),
        (["gender!=female"], ["long"]),
        (["duration<20"], ["short", "bare"]),
        (["duration <= 20"], ["short", "long", "bare"]),
        (["duration>1"], ["long", "bare"]),
        (["snr_db>=10", "language!=en"], ["long"]),
        (["snr_db=20.5"], ["long"]),
    ],
)
def test_conditions(conditions, kept):
    assert [u.id for u in filter_manifest(PEOPLE, [parse_condition(c) for c in conditions])] == kept


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("gender", "write it as key=value"),
        ("gender=", "write it as key=value"),
        ("=female", "write it as key=value"),
        ("gendr=female", "did you mean 'gender'"),
        ("gender<3", "is a word, 'female'; compare with = or !="),
        ("snr_db>high", "is a number"),
        ("duration>100", "no utterance meets duration>100"),
    ],
)
def test_conditions_that_cannot_be_met(condition, message):
    with pytest.raises(SpeechLLMError, match=message):
        filter_manifest(PEOPLE, [parse_condition(condition)])


def test_split_and_filter_from_the_command_line(tmp_path, capsys):
    path = write(tmp_path / "m.jsonl", *"abcdefgh")
    assert main(["manifest", "split", str(path), str(tmp_path / "out"), "--shares", "train", "3", "dev", "1"]) == 0
    parts = {name: read_manifest(tmp_path / "out" / f"{name}.jsonl") for name in ("train", "dev")}
    assert {name: len(part) for name, part in parts.items()} == {"train": 6, "dev": 2}
    assert parts["dev"][0].audio.endswith(f"/../{parts['dev'][0].id}.wav")
    capsys.readouterr()
    assert main(["manifest", "filter", str(path), str(tmp_path / "f.jsonl"), "--where", "speaker!=a", "id!=b"]) == 0
    assert capsys.readouterr().out.endswith("f.jsonl: 6 of 8 utterances\n")
