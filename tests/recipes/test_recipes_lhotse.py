"""The recipe for lhotse's manifests, on manifests that lhotse wrote."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechllm.audio.io import load_audio
from speechllm.data.manifest import Utterance, read_manifest
from speechllm.data.recipe import find_recipe
from speechllm.errors import SpeechLLMError

lhotse = pytest.importorskip("lhotse")
RECIPE = str(Path(__file__).parents[2] / "recipes" / "lhotse")
RATE = 8_000
TONES = (440.0, 1_000.0)
"""Hz; the first channel's and the second's."""


def said(name: str, start: float, duration: float, channel: int = 0, recording: str = "mono") -> object:
    return lhotse.SupervisionSegment(
        id=name,
        recording_id=recording,
        start=start,
        duration=duration,
        channel=channel,
        text=f"words of {name}",
        language="English",
        speaker="ann",
        gender="F",
        custom={"emotion": "sad", "alignment_score": 0.5, "words": ["left", "out"]},
    )


@pytest.fixture
def recordings(tmp_path: Path) -> object:
    """A mono file of 2 s and a stereo file of 2 s with a tone of its own on each channel."""
    times = np.arange(2 * RATE) / RATE
    tones = [0.5 * np.sin(2 * np.pi * tone * times) for tone in TONES]
    (tmp_path / "corpus").mkdir()
    soundfile.write(tmp_path / "mono.wav", tones[0], RATE)
    soundfile.write(tmp_path / "stereo.wav", np.stack(tones, axis=1), RATE)
    files = [lhotse.Recording.from_file(tmp_path / f"{name}.wav") for name in ("mono", "stereo")]
    return lhotse.RecordingSet.from_recordings(files)


def prepared(tmp_path: Path) -> dict[str, list[Utterance]]:
    manifests = find_recipe(RECIPE)(tmp_path / "corpus", tmp_path / "out")
    return {split: read_manifest(path) for split, path in manifests.items()}


def pitch(utterance: Utterance) -> float:
    """The strongest frequency in Hz of what `load_audio` reads of the utterance."""
    samples = load_audio(utterance.audio, start=utterance.start, end=utterance.end, sampling_rate=RATE)
    return float(np.argmax(np.abs(np.fft.rfft(samples))) * RATE / len(samples))


@pytest.mark.parametrize("ending", ["jsonl.gz", "jsonl", "json"])
def test_supervisions_become_parts_of_their_files(recordings, ending, tmp_path):
    supervisions = lhotse.SupervisionSet.from_segments([said("whole", 0.0, 2.0), said("part", 0.5, 1.0)])
    recordings.to_file(tmp_path / "corpus" / f"mine_recordings_dev-clean.{ending}")
    supervisions.to_file(tmp_path / "corpus" / f"mine_supervisions_dev-clean.{ending}")
    (rows,) = prepared(tmp_path).values()
    found = {u.id: u for u in rows}
    assert set(found) == {"whole", "part"}
    whole, part = found["whole"], found["part"]
    assert (whole.start, whole.end, whole.duration) == (None, None, 2.0)
    assert (part.start, part.end, part.duration) == (0.5, 1.5, 1.0)
    assert Path(part.audio).resolve() == (tmp_path / "mono.wav").resolve()
    assert (part.split, part.text, part.speaker, part.language) == ("dev-clean", "words of part", "ann", "English")
    assert part.attributes == {"gender": "female", "emotion": "sad", "alignment_score": 0.5}
    assert not (tmp_path / "out" / "audio").exists()


def test_one_channel_of_a_conversation_is_written_alone(recordings, tmp_path):
    supervisions = lhotse.SupervisionSet.from_segments(
        [said("left", 0.0, 1.5, 0, "stereo"), said("right", 0.5, 1.0, 1, "stereo")]
    )
    recordings.to_file(tmp_path / "corpus" / "recordings.jsonl.gz")
    supervisions.to_file(tmp_path / "corpus" / "supervisions.jsonl.gz")
    left, right = sorted(prepared(tmp_path)["all"], key=lambda u: u.id)
    assert (left.duration, right.duration) == (1.5, 1.0)
    assert pitch(left) == pytest.approx(TONES[0], abs=2)
    assert pitch(right) == pytest.approx(TONES[1], abs=2)


def test_cuts(recordings, tmp_path):
    supervisions = lhotse.SupervisionSet.from_segments([said("a", 0.25, 0.5), said("b", 1.0, 0.75)])
    cuts = lhotse.CutSet.from_manifests(recordings=recordings, supervisions=supervisions)
    cuts.to_file(tmp_path / "corpus" / "mine_cuts_train.jsonl.gz")
    (rows,) = prepared(tmp_path).values()
    assert [(u.id, u.split, u.start, u.end) for u in rows] == [("a", "train", 0.25, 0.75), ("b", "train", 1.0, 1.75)]


def test_a_transform_is_applied(recordings, tmp_path):
    supervisions = lhotse.SupervisionSet.from_segments([said("fast_sp2.0", 0.0, 1.0, recording="mono_sp2.0")])
    recordings.filter(lambda r: r.id == "mono").perturb_speed(2.0).to_file(tmp_path / "corpus" / "recordings_x.jsonl")
    supervisions.to_file(tmp_path / "corpus" / "supervisions_x.jsonl")
    (row,) = prepared(tmp_path)["x"]
    assert row.duration == pytest.approx(1.0, abs=0.01)
    assert pitch(row) == pytest.approx(2 * TONES[0], abs=4)


def test_recordings_alone_are_sounds(recordings, tmp_path):
    recordings.to_file(tmp_path / "corpus" / "noise_recordings_free-sound.jsonl.gz")
    rows = prepared(tmp_path)["free-sound"]
    assert [(u.id, u.duration, u.text, u.attributes) for u in rows] == [
        ("mono", 2.0, None, {}),
        ("stereo", 2.0, None, {}),
    ]


@pytest.mark.parametrize("name", ["mine_recordings_dev.jsonl", "mine_cuts_dev.jsonl"])
def test_a_damaged_manifest_is_named(name, tmp_path):
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / name).write_text('{"id": "x", "type": "MonoCut"}\n')
    with pytest.raises(SpeechLLMError, match=rf"{name}: lhotse cannot read it"):
        prepared(tmp_path)


def test_a_folder_without_manifests_is_named(tmp_path):
    (tmp_path / "corpus").mkdir()
    with pytest.raises(SpeechLLMError, match="lists no recordings"):
        prepared(tmp_path)
