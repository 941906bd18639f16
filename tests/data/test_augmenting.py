"""A manifest augmented: clips and lines that fit each other, the same for the same seed, on after a kill."""

import numpy as np
import pytest

from speechllm.audio.io import load_audio, save_audio
from speechllm.cli import main
from speechllm.data import augmenting
from speechllm.data.augmentation import Recipe
from speechllm.data.augmenting import Plan, augment_all
from speechllm.data.check import check_audio, check_lines
from speechllm.data.manifest import Utterance, read_manifest, write_manifest
from speechllm.testing.corpus import tone

NOISY = Recipe(noise=(5, 20), speed=(0.9, 1.1))


@pytest.fixture
def manifest(tmp_path):
    lines = []
    for i in range(20):
        save_audio(tmp_path / "audio" / f"{i}.wav", tone(0.4 + 0.02 * i, 120.0 + 10 * i, seed=i))
        lines.append(
            Utterance(
                id=f"t/{i}",
                audio=f"audio/{i}.wav",
                duration=0.4 + 0.02 * i,
                sampling_rate=16000,
                text=f"tone {i}",
                recognised_text="tone",
                attributes={"gender": "female" if i % 2 else "male"},
            )
        )
    write_manifest(tmp_path / "m.jsonl", lines)
    return tmp_path / "m.jsonl"


def files(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_every_clip_is_as_its_line_says(manifest, tmp_path):
    augment_all(read_manifest(manifest), tmp_path / "out", Plan(recipe=NOISY, copies=2), processes=1)
    lines = check_lines(tmp_path / "out" / "manifest.jsonl")
    assert lines.problems == []
    assert list(check_audio(tmp_path / "out" / "manifest.jsonl", lines.lines)) == []
    made = list(lines.lines.values())
    assert [u.id for u in made] == [f"t/{i}~{copy}" for copy in (0, 1) for i in range(20)]
    assert all(5 <= u.attributes["snr_db"] <= 20 and u.recognised_text is None for u in made)
    assert made[0].attributes["snr_db"] != made[20].attributes["snr_db"]
    assert [p.name for p in (tmp_path / "out").iterdir() if p.name.startswith(".")] == []


def test_the_same_seed_gives_the_same_bytes_whatever_else_is_made_and_another_other_ones(manifest, tmp_path):
    utterances = read_manifest(manifest)
    plan = Plan(recipe=NOISY, join=3, gap=(-0.1, 0.1))
    augment_all(utterances, tmp_path / "a", plan, processes=1)
    augment_all(utterances, tmp_path / "b", plan.model_copy(update={"copies": 3}), processes=1)
    augment_all(utterances, tmp_path / "c", plan.model_copy(update={"seed": 1}), processes=1)
    a, b, c = (files(tmp_path / name / "audio") for name in "abc")
    assert len(a) == 7
    assert {name: b[name] for name in a} == a
    assert all(c[name] != a[name] for name in a)


def test_a_killed_run_goes_on_and_ends_with_the_same_files(manifest, tmp_path, monkeypatch):
    utterances, plan = read_manifest(manifest), Plan(recipe=NOISY)
    augment_all(utterances, tmp_path / "whole", plan, processes=1)
    real, made = augmenting._make, []

    def dying(plan, noises, job):
        if len(made) == 17:
            raise KeyboardInterrupt
        made.append(job.id)
        return real(plan, noises, job)

    with monkeypatch.context() as patch:
        patch.setattr(augmenting, "_make", dying)
        with pytest.raises(KeyboardInterrupt):
            augment_all(utterances, tmp_path / "out", plan, processes=1)
    made.clear()
    monkeypatch.setattr(augmenting, "_make", dying)
    augment_all(utterances, tmp_path / "out", plan, processes=1)
    assert made == ["t/17~0", "t/18~0", "t/19~0"]
    assert files(tmp_path / "out") == files(tmp_path / "whole")


def test_joined_clips_hold_their_parts_where_the_segments_say(manifest, tmp_path):
    augment_all(read_manifest(manifest), tmp_path / "out", Plan(join=2, gap=(0.1, 0.3)), processes=1)
    originals = {u.text: load_audio(u.audio) for u in read_manifest(manifest)}
    joined = read_manifest(tmp_path / "out" / "manifest.jsonl")
    assert len(joined) == 10
    assert sorted(s.text for u in joined for s in u.segments) == sorted(originals)
    for line in joined:
        wave = load_audio(line.audio)
        for segment in line.segments:
            part = wave[round(segment.start * 16000) : round(segment.end * 16000)]
            assert part == pytest.approx(originals[segment.text], abs=1e-4)  # 16 bits


def test_speed_is_each_speakers_own_and_noise_is_everybodys(manifest, tmp_path):
    plan = Plan(recipe=Recipe(speed=(0.8, 1.2), noise=(10, 10)), join=2)
    augment_all(read_manifest(manifest), tmp_path / "out", plan, processes=1)
    for line in read_manifest(tmp_path / "out" / "manifest.jsonl"):
        assert line.attributes["snr_db"] == 10
        assert "pitch_hz" not in line.attributes
        for segment in line.segments:
            hertz = 120 + 10 * int(segment.text.split()[1])
            factor = (0.4 + 0.002 * (hertz - 120)) / (segment.end - segment.start)
            assert 0.79 < factor < 1.21
            assert segment.attributes["pitch_hz"] == pytest.approx(hertz * factor, rel=0.03)
            assert "snr_db" not in segment.attributes


def test_noises_come_from_the_manifest_given(manifest, tmp_path):
    hum = np.sin(2 * np.pi * 3000 * np.arange(48_000) / 16_000).astype(np.float32)
    save_audio(tmp_path / "hum.wav", hum)
    noise = Utterance(id="n", audio="hum.wav", duration=3.0, sampling_rate=16000)
    write_manifest(tmp_path / "noises.jsonl", [noise])
    arguments = ["augment", str(manifest), str(tmp_path / "out"), "--noise", "0", "0", "--processes", "1"]
    assert main([*arguments, "--noises", str(tmp_path / "noises.jsonl")]) == 0
    wave = load_audio(tmp_path / "out" / "audio" / "000000.flac")
    spectrum = np.abs(np.fft.rfft(wave))
    spectrum[: round(1000 * len(wave) / 16000)] = 0
    assert np.argmax(spectrum) * 16000 / len(wave) == pytest.approx(3000, abs=5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--noise", "20", "5"], "--noise: the first number is greater than the second"),
        (["--codecs", "gsm"], "--codecs"),
        (["--copies", "0"], "--copies"),
    ],
)
def test_bad_arguments_are_named(arguments, message, manifest, tmp_path, capsys):
    assert main(["augment", str(manifest), str(tmp_path / "out"), *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
