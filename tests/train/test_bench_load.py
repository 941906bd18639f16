import json

import pytest

from speechllm.audio.io import audio_info
from speechllm.cli import main
from speechllm.train import bench_load


def test_the_clips_have_other_rates_than_the_encoder_and_the_lengths_that_are_told(tmp_path):
    clips = bench_load.make_clips(tmp_path, 6)
    infos = [audio_info(path) for path, _ in clips]
    assert [rate for _, rate in infos] == [8_000, 22_050, 44_100] * 2
    assert [seconds for seconds, _ in infos] == pytest.approx([seconds for _, seconds in clips], abs=1e-3)
    assert sorted(seconds for _, seconds in clips)[0] == 2.0


def test_both_ways_compute_the_same_features(tmp_path):
    clips = bench_load.make_clips(tmp_path, 3)
    (ours,) = bench_load._ours(clips, 0)
    (plain,) = bench_load._baseline(clips, 0)
    assert plain["input_features"].shape == (3, 80, 3000)
    longest = max(range(3), key=lambda k: clips[k][1])
    frames = round(clips[longest][1] * 100)
    assert ours["input_features"].shape[-1] == pytest.approx(frames, abs=2)
    difference = ours["input_features"][2] - plain["input_features"][longest, :, : ours["input_features"].shape[-1]]
    # Both resamplers stop at the Nyquist rate, neither exactly: bands that the file does not hold are left out.
    assert difference[:40, 10:-10].abs().mean() < 0.05


def test_the_command_prints_one_object_with_the_ratio(capsys):
    assert main(["bench", "load", "--clips", "6", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    for name in ("speechllm", "baseline", "baseline_unpadded"):
        assert set(result[name]) == {"1", "2"}
    rates = [result[name]["2"]["utterances_per_second"] for name in ("speechllm", "baseline")]
    assert result["ratio"] == pytest.approx(rates[0] / rates[1], rel=0.05)
