import sys

import numpy as np
import pytest
import soundfile

from speechllm.audio import containers
from speechllm.audio.io import SAMPLING_RATE, audio_info, load_audio
from speechllm.errors import SpeechLLMError

SECONDS = 12.0


def chirp(rate):
    t = np.arange(round(SECONDS * rate)) / rate
    return (0.5 * np.sin(2 * np.pi * (200 * t + 60 * t**2))).astype(np.float32)  # 200 Hz rising to 1,640 Hz


def write(path, rate):
    if path.suffix == ".opus":
        soundfile.write(path, chirp(rate), rate, format="OGG", subtype="OPUS")
    elif path.suffix == ".m4a":
        write_aac(path, rate)
    else:
        soundfile.write(path, chirp(rate), rate)


def write_aac(path, rate):
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=rate, layout="mono", bit_rate=96_000)
        frame = av.AudioFrame.from_ndarray(chirp(rate)[None, :], format="fltp", layout="mono")
        frame.sample_rate, frame.pts = rate, 0
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)


@pytest.mark.parametrize("rate", [16_000, 24_000, 48_000])
@pytest.mark.parametrize("ending", [".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a"])
def test_every_format_gives_the_sound_and_any_segment_of_it(ending, rate, tmp_path):
    path = tmp_path / f"sound{ending}"
    write(path, rate)
    duration, found = audio_info(path)
    assert duration == pytest.approx(SECONDS, abs=0.1)
    assert found == rate
    whole, truth = load_audio(path), chirp(SAMPLING_RATE)
    assert np.corrcoef(whole[: truth.size], truth[: whole.size])[0, 1] > 0.98
    for start, end in [(0.0, 0.5), (0.3, 1.1), (5.0, 6.5), (9.9, 10.0)]:
        segment = load_audio(path, start=start, end=end)
        assert segment.size == pytest.approx((end - start) * SAMPLING_RATE, abs=1)
        expected = whole[round(start * SAMPLING_RATE) :][: segment.size]
        assert np.abs(segment - expected)[200:-200].max() < 2e-3  # the resampler's ends have no neighbours


def test_channels_are_averaged_however_many(tmp_path):
    soundfile.write(tmp_path / "array.wav", np.tile(np.arange(8) / 10, (1000, 1)), 16_000, subtype="FLOAT")
    np.testing.assert_allclose(load_audio(tmp_path / "array.wav"), 0.35, atol=1e-6)


@pytest.mark.parametrize("ending", [".wav", ".m4a"])
def test_a_segment_is_read_without_decoding_what_lies_around_it(ending, tmp_path, monkeypatch):
    path = tmp_path / f"long{ending}"
    write(path, 16_000)
    decoded = 0
    if ending == ".wav":
        read = soundfile.SoundFile.read

        def counted(self, frames, **kwargs):
            nonlocal decoded
            decoded += frames
            return read(self, frames, **kwargs)

        monkeypatch.setattr(soundfile.SoundFile, "read", counted)
    else:
        as_float = containers._as_float

        def counted(frame):
            nonlocal decoded
            decoded += frame.samples
            return as_float(frame)

        monkeypatch.setattr(containers, "_as_float", counted)
    load_audio(path, start=8.0, end=9.0)
    assert 16_000 <= decoded < 16_000 * 2


def test_without_a_decoder_the_error_names_the_package(tmp_path, monkeypatch):
    path = tmp_path / "sound.m4a"
    path.write_bytes(b"some bytes")
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(SpeechLLMError, match=r"sound\.m4a: no decoder for \.m4a is installed; pip install"):
        load_audio(path)


@pytest.mark.parametrize("bad", [b"", b"This is not sound.\n" * 99])
def test_a_bad_container_is_refused_in_one_line(bad, tmp_path):
    path = tmp_path / "sound.m4a"
    path.write_bytes(bad)
    for read in (load_audio, audio_info):
        with pytest.raises(SpeechLLMError, match=r"sound\.m4a: is (an empty file|not audio that can be read)"):
            read(path)


def test_no_file_and_a_segment_outside_are_refused_in_containers_too(tmp_path):
    with pytest.raises(SpeechLLMError, match="no such audio file"):
        load_audio(tmp_path / "sound.m4a")
    write(tmp_path / "sound.m4a", 16_000)
    with pytest.raises(SpeechLLMError, match=r"holds no samples from 20 s to 21 s \(it lasts 12\.\d+ s\)"):
        load_audio(tmp_path / "sound.m4a", start=20.0, end=21.0)
