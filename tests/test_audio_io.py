import struct

import numpy as np
import pytest
import soundfile

from speechllm.audio.io import SAMPLING_RATE, as_waveform, audio_info, load_audio, save_audio
from speechllm.errors import SpeechLLMError


def sine(hz=440.0, seconds=1.0, rate=SAMPLING_RATE):
    return 0.5 * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)


def wav_header(data_bytes, *, rate=8000, channels=1, bits=8):
    block = channels * bits // 8
    fmt = struct.pack("<HHIIHH", 1, channels, rate, rate * block, block, bits)
    return (
        b"RIFF"
        + struct.pack("<I", 36 + data_bytes)
        + b"WAVEfmt \x10\0\0\0"
        + fmt
        + b"data"
        + struct.pack("<I", data_bytes)
    )


def missing(path):
    pass


def folder(path):
    path.mkdir()


def empty(path):
    path.write_bytes(b"")


def no_samples(path):
    soundfile.write(path, np.zeros(0), 16000)


def text(path):
    path.write_text("This is not sound.\n" * 100)


def nan_samples(path):
    samples = sine().astype(np.float32)
    samples[123] = np.nan
    soundfile.write(path, samples, 16000, subtype="FLOAT")


def infinite_samples(path):
    soundfile.write(path, np.full(1000, 1e300), 16000, subtype="DOUBLE")


def three_hours(path):
    size = 3 * 3600 * 8000
    with path.open("wb") as out:
        out.write(wav_header(size))
        out.truncate(44 + size)  # a sparse file


def cut_in_the_samples(path):
    soundfile.write(path, sine(), 16000)
    path.write_bytes(path.read_bytes()[:20000])


def cut_in_the_header(path):
    soundfile.write(path, sine(), 16000)
    path.write_bytes(path.read_bytes()[:30])


def cut_flac(path):
    soundfile.write(path, sine(), 16000, format="FLAC")
    path.write_bytes(path.read_bytes()[:-5000])


def cut_mp3(path):
    soundfile.write(path, sine(), 16000, format="MP3")
    path.write_bytes(path.read_bytes()[:-1500])


def too_short_to_resample(path):
    soundfile.write(path, np.ones(1), 48000)


BAD = {
    missing: "no such audio file; check the path",
    folder: "no such audio file; check the path",
    empty: "is an empty file; give",
    no_samples: "holds no samples; give",
    text: "is not audio that can be read (Format not recognised); convert it",
    nan_samples: "sample 123 is NaN or infinite; export the file again",
    infinite_samples: "sample 0 is NaN or infinite; export the file again",
    three_hours: "is 180 minutes long, more than the 30 that fit in one prompt; cut it",
    cut_in_the_samples: "is cut short, 62% of the sound is there; copy or download it again",
    cut_in_the_header: "is not audio that can be read",
    cut_flac: "is not audio that can be read",
    cut_mp3: "is cut short",
    too_short_to_resample: "is shorter than one sample at 16000 Hz; give",
}


@pytest.mark.parametrize("make", BAD, ids=lambda make: make.__name__)
def test_bad_audio_is_refused_in_one_line_that_names_the_file(make, tmp_path, monkeypatch):
    path = tmp_path / "sound.wav"
    make(path)
    if make is three_hours:
        monkeypatch.setattr(soundfile.SoundFile, "read", lambda *_, **__: pytest.fail("was read before it was refused"))
    with pytest.raises(SpeechLLMError) as caught:
        load_audio(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert BAD[make] in message
    assert "\n" not in message
    assert ";" in message


@pytest.mark.parametrize("make", [missing, empty, text, cut_in_the_samples, cut_in_the_header])
def test_the_header_alone_is_as_strict(make, tmp_path):
    make(tmp_path / "sound.wav")
    with pytest.raises(SpeechLLMError, match=r"sound\.wav: "):
        audio_info(tmp_path / "sound.wav")


def test_a_segment_of_a_very_long_file_is_read(tmp_path):
    three_hours(tmp_path / "long.wav")
    assert audio_info(tmp_path / "long.wav") == (3 * 3600, 8000)
    assert load_audio(tmp_path / "long.wav", start=9000.0, end=9001.5).size == 1.5 * SAMPLING_RATE


def test_a_length_left_open_by_a_program_that_streams_is_no_fault(tmp_path):
    path = tmp_path / "streamed.wav"
    soundfile.write(path, sine(), 16000)
    data = bytearray(path.read_bytes())
    data[4:8] = data[40:44] = b"\xff" * 4
    path.write_bytes(data)
    assert load_audio(path).size == 16000


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
def test_every_sample_format_gives_the_same_sound(subtype, tmp_path):
    soundfile.write(tmp_path / "sound.wav", sine(), 16000, subtype=subtype)
    samples = load_audio(tmp_path / "sound.wav")
    assert samples.dtype == np.float32
    assert np.abs(samples - sine()).max() < (1e-2 if subtype == "PCM_U8" else 1e-4)


def test_stereo_becomes_the_mean(tmp_path):
    left, right = sine(300), 0.3 * sine(500)
    soundfile.write(tmp_path / "sound.wav", np.stack([left, right], axis=1), 16000, subtype="FLOAT")
    np.testing.assert_allclose(load_audio(tmp_path / "sound.wav"), (left + right) / 2, atol=1e-6)


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000])
def test_resampling_keeps_frequency_level_and_length(rate, tmp_path):
    soundfile.write(tmp_path / "sound.wav", sine(1000, 2.0, rate), rate)
    samples = load_audio(tmp_path / "sound.wav")
    assert samples.size == pytest.approx(2 * SAMPLING_RATE, abs=1)
    inner = samples[4000:20000]
    spectrum = np.abs(np.fft.rfft(inner * np.hanning(inner.size)))
    assert np.argmax(spectrum) * SAMPLING_RATE / inner.size == pytest.approx(1000, abs=1)
    assert np.abs(inner).max() == pytest.approx(0.5, rel=0.01)


def test_segments_are_cut_at_start_and_end(tmp_path):
    ramp = np.arange(32000) / 32000
    soundfile.write(tmp_path / "sound.wav", ramp, 16000, subtype="DOUBLE")
    path = tmp_path / "sound.wav"
    np.testing.assert_allclose(load_audio(path, start=0.5, end=1.25), ramp[8000:20000], atol=1e-6)
    np.testing.assert_allclose(load_audio(path, start=1.5), ramp[24000:], atol=1e-6)
    np.testing.assert_allclose(load_audio(path, end=99.0), ramp, atol=1e-6)


@pytest.mark.parametrize(("start", "end"), [(3.0, None), (None, 0.0), (1.0, 0.5), (-1.0, None), (2.0, 2.5)])
def test_segments_outside_the_file_are_refused(start, end, tmp_path):
    soundfile.write(tmp_path / "sound.wav", sine(seconds=2.0), 16000)
    with pytest.raises(
        SpeechLLMError, match=r"sound.wav: holds no samples from .* \(it lasts 2.00 s\); check start and end"
    ):
        load_audio(tmp_path / "sound.wav", start=start, end=end)


@pytest.mark.parametrize("name", ["sound.wav", "sound.flac"])
def test_what_is_saved_is_loaded(name, tmp_path):
    save_audio(tmp_path / "deep" / name, sine().astype(np.float32))
    np.testing.assert_allclose(load_audio(tmp_path / "deep" / name), sine(), atol=1e-4)


def test_saving_to_an_impossible_place_names_it(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SpeechLLMError, match=r"file/sound\.wav: cannot be written"):
        save_audio(tmp_path / "file" / "sound.wav", sine())
    with pytest.raises(SpeechLLMError, match=r"sound\.unknown: cannot be written"):
        save_audio(tmp_path / "sound.unknown", sine())


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.float32, np.float64])
def test_arrays_in_memory_are_brought_to_full_scale_one(dtype):
    wave = sine()
    if np.issubdtype(dtype, np.integer):
        scale = 2.0 ** (np.iinfo(dtype).bits - 1)
        array = np.round(wave * scale + (128 if dtype is np.uint8 else 0)).astype(dtype)
    else:
        array = wave.astype(dtype)
    samples = as_waveform(array, 16000)
    assert samples.dtype == np.float32
    assert np.abs(samples - wave).max() < (5e-3 if dtype is np.uint8 else 1e-4)


@pytest.mark.parametrize(
    ("array", "rate", "message"),
    [
        (np.zeros((100, 2)), 16000, r"shape \(samples,\), got \(100, 2\); average the channels"),
        (np.zeros(0), 16000, "holds no samples"),
        (np.array([0.0, np.nan]), 16000, "sample 1 is NaN"),
        (np.zeros(100), 0, "sampling rate 0 Hz"),
    ],
)
def test_bad_arrays_are_refused(array, rate, message):
    with pytest.raises(SpeechLLMError, match=message):
        as_waveform(array, rate)
