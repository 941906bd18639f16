"""Measuring a manifest: all of it, the same in parallel, on after a kill, past a broken file."""

import json

import numpy as np
import pytest

from speechllm.audio.io import save_audio
from speechllm.cli import main
from speechllm.data import measuring
from speechllm.data.bins import Limits, read_limits
from speechllm.data.manifest import Utterance, read_manifest, write_manifest
from speechllm.data.measuring import measure_all, put_into_words
from speechllm.data.parallel import kept_path
from speechllm.errors import SpeechLLMError
from speechllm.testing.corpus import tone


@pytest.fixture
def manifest(tmp_path):
    lines = []
    for i in range(40):
        save_audio(tmp_path / "audio" / f"{i}.wav", tone(0.5, 100.0 + 5 * i, seed=i))
        lines.append(
            Utterance(id=str(i), audio=f"audio/{i}.wav", duration=0.5, sampling_rate=16000, text="one two three")
        )
    write_manifest(tmp_path / "m.jsonl", lines)
    return tmp_path / "m.jsonl"


def counted(monkeypatch, stop_after=None):
    calls, real = [], measuring._measure

    def measure(utterance):
        if stop_after is not None and len(calls) == stop_after:
            raise KeyboardInterrupt
        calls.append(utterance.id)
        return real(utterance)

    monkeypatch.setattr(measuring, "_measure", measure)
    return calls


def test_numbers_become_attributes_and_the_same_in_parallel(manifest, tmp_path):
    utterances = read_manifest(manifest)
    alone = measure_all(utterances, tmp_path / "a.jsonl", processes=1)
    assert measure_all(utterances, tmp_path / "b.jsonl", processes=2) == alone
    assert [u.attributes["pitch_hz"] for u in alone] == pytest.approx([100 + 5 * i for i in range(40)], rel=0.02)


def test_a_segment_is_measured_alone(tmp_path):
    wave = np.concatenate([tone(1, 120), tone(1, 300)])
    save_audio(tmp_path / "a.wav", wave)
    whole = Utterance(id="a", audio=str(tmp_path / "a.wav"), duration=1.0, sampling_rate=16000, start=1.0, end=2.0)
    [found] = measure_all([whole], tmp_path / "o.jsonl", processes=1)
    assert found.attributes["pitch_hz"] == pytest.approx(300, rel=0.02)


def test_a_killed_run_goes_on_and_measures_nothing_twice(manifest, tmp_path, monkeypatch):
    utterances, out = read_manifest(manifest), tmp_path / "o.jsonl"
    expected = measure_all(utterances, tmp_path / "whole.jsonl", processes=1)
    with monkeypatch.context() as patch:
        counted(patch, stop_after=33)
        with pytest.raises(KeyboardInterrupt):
            measure_all(utterances, out, processes=1)
    with kept_path(out).open("a") as file:
        file.write(
            '["torn',
        )
    calls = counted(monkeypatch)
    assert measure_all(utterances, out, processes=1) == expected
    assert calls == [str(i) for i in range(33, 40)]


def test_another_text_is_measured_anew(manifest, tmp_path, monkeypatch):
    utterances = read_manifest(manifest)
    measure_all(utterances, tmp_path / "o.jsonl", processes=1)
    calls = counted(monkeypatch)
    utterances[3] = utterances[3].model_copy(update={"text": "one two three four five six"})
    faster = measure_all(utterances, tmp_path / "o.jsonl", processes=1)
    assert calls == ["3"]
    assert faster[3].attributes["syllables_per_second"] > 1.5 * faster[2].attributes["syllables_per_second"]


def test_a_damaged_file_of_finished_measures_is_named(manifest, tmp_path):
    kept_path(tmp_path / "o.jsonl").write_text("nonsense\n")
    with pytest.raises(SpeechLLMError, match=r"o.jsonl.partial:1: is damaged; delete"):
        measure_all(read_manifest(manifest), tmp_path / "o.jsonl", processes=1)


def test_one_broken_file_is_reported_and_skipped_and_two_end_the_run(manifest, tmp_path, capsys):
    (tmp_path / "audio" / "7.wav").write_text("broken")
    assert len(measure_all(read_manifest(manifest), tmp_path / "o.jsonl", processes=1)) == 39
    assert "skipped: " in capsys.readouterr().err
    (tmp_path / "audio" / "9.wav").unlink()
    with pytest.raises(SpeechLLMError, match=r"more than 1% of the 40 utterances cannot be read, the first: .*7.wav"):
        measure_all(read_manifest(manifest), tmp_path / "p.jsonl", processes=1)


def test_the_corpus_s_own_words_stay():
    line = Utterance(
        id="a",
        audio="a.wav",
        duration=1.0,
        sampling_rate=16000,
        attributes={"pitch": "high", "pitch_hz": 70, "snr_db": 3},
    )
    [worded] = put_into_words([line], Limits())
    assert worded.attributes == {"pitch": "high", "pitch_hz": 70, "snr_db": 3, "noise": "very high", "length": "short"}


def test_the_command_calibrates_and_lends_its_limits(manifest, tmp_path, capsys):
    out, other = tmp_path / "new" / "o.jsonl", tmp_path / "p.jsonl"
    assert main(["measure", str(manifest), str(out), "--calibrate", "--processes", "1"]) == 0
    words = [u.attributes["pitch"] for u in read_manifest(out)]
    assert [words.count(w) for w in ("very low", "low", "medium", "high", "very high")] == [4, 8, 16, 8, 4]
    assert not kept_path(out).exists()
    limits = f"{out}.limits.json"
    assert read_limits(limits).pitch != Limits().pitch
    assert main(["measure", str(manifest), str(other), "--limits", limits, "--processes", "1"]) == 0
    assert [u.attributes["pitch"] for u in read_manifest(other)] == words
    assert json.loads(other.read_text().splitlines()[0])["audio"] == "audio/0.wav"
    assert main(["measure", str(manifest), str(other), "--limits", limits, "--calibrate"]) == 2
    assert main(["measure", str(manifest), str(manifest)]) == 2
    assert "write another" in capsys.readouterr().err
