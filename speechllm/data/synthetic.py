"""A synthetic corpus made with espeak-ng: speech whose attributes are known because they were asked for.

Gender, speaking rate and pitch are set independently of one another and evenly; test voices and test sentences never
occur in training. Pitch is relative to what is usual for the speaker's gender, as people use the word.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import math
import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path

import numpy as np

from speechllm.audio.io import SAMPLING_RATE, as_waveform, save_audio
from speechllm.data.espeak import Espeak
from speechllm.data.jsonl import written_aside
from speechllm.data.manifest import Utterance, write_manifest
from speechllm.errors import SpeechLLMError
from speechllm.progress import track

DATASET = "synthetic-espeak"


@dataclass(frozen=True)
class Voice:
    """One espeak-ng voice (`accent+variant`), and the median F0 (Hz) it has at the pitch settings 0, 50 and 99."""

    name: str
    gender: str
    hz: tuple[int, int, int]

    def setting(self, hz: float) -> int:
        """The pitch setting, 0 to 99, that brings the voice nearest to `hz`."""
        return round(float(np.interp(math.log(hz), [math.log(h) for h in self.hz], [0.0, 50.0, 99.0])))


# Every variant states its gender in its own file. Left out are whispers, robots, voices that cannot reach both pitch
# ranges, and voices whose tempo is far from the others'. Variants that share formants stand on the same side.
VOICES = {
    "train": (
        Voice("en+Annie", "female", (192, 245, 349)),
        Voice("en-us+f2", "female", (132, 198, 326)),
        Voice("en-gb-x-rp+f5", "female", (130, 206, 351)),
        Voice("en-us+f4", "female", (114, 180, 309)),
        Voice("en-gb-scotland+aunty", "female", (76, 172, 361)),
        Voice("en+linda", "female", (137, 232, 416)),
        Voice("en-us+belinda", "female", (137, 232, 417)),
        Voice("en-us+steph", "female", (106, 184, 337)),
        Voice("en+steph2", "female", (106, 185, 336)),
        Voice("en-us+m1", "male", (68, 95, 158)),
        Voice("en-us+m2", "male", (64, 101, 177)),
        Voice("en-gb-x-rp+m4", "male", (70, 94, 153)),
        Voice("en+m5", "male", (70, 103, 172)),
        Voice("en-us+m7", "male", (78, 107, 171)),
        Voice("en-us+Denis", "male", (67, 100, 168)),
        Voice("en-gb-scotland+Diogo", "male", (71, 106, 176)),
        Voice("en+victor", "male", (65, 96, 164)),
        Voice("en-us+sandro", "male", (67, 99, 166)),
    ),
    "test": (
        Voice("en-us+f3", "female", (148, 213, 339)),
        Voice("en-us+Alicia", "female", (170, 255, 416)),
        Voice("en-gb-x-rp+grandma", "female", (150, 204, 309)),
        Voice("en-us+f1", "female", (115, 181, 308)),
        Voice("en-us+m3", "male", (74, 106, 174)),
        Voice("en-gb-x-rp+m6", "male", (67, 102, 172)),
        Voice("en-us+Andy", "male", (64, 96, 170)),
        Voice("en+m8", "male", (65, 86, 140)),
    ),
}

RATES = {"slow": (105.0, 130.0), "fast": (220.0, 260.0)}
"""Words a minute, as espeak-ng counts them."""

PITCHES = {
    ("male", "low"): (84.0, 98.0),
    ("male", "high"): (132.0, 152.0),
    ("female", "low"): (165.0, 185.0),
    ("female", "high"): (250.0, 290.0),
}
"""Median F0 in Hz."""

FORMANTS = {"train": (0.93, 1.07), "test": (1.0, 1.0)}
"""Length of the vocal tract, as the factor by which all formants move. Varied in training, so that a few voices stand
for many: eighteen as they are teach a model those eighteen."""

RMS = 0.06
SILENCE = 0.01
"""Below this share of the peak, the ends of a clip are silence; `MARGIN_S` of it is kept."""
MARGIN_S = 0.05
RECIPE = 2
"""Raise it when the same design would sound different."""


@dataclass(frozen=True)
class Clip:
    """One utterance as it is asked for."""

    id: str
    text: str
    voice: str
    gender: str
    speaking_rate: str
    pitch: str
    words_per_minute: int
    pitch_setting: int
    formants: float

    @property
    def audio(self) -> str:
        """Path relative to the manifest."""
        return f"audio/{self.id}.flac"


def make_corpus(out_dir: Path, *, num_train: int, num_test: int, seed: int = 0) -> tuple[Path, Path]:
    """Writes `train.jsonl`, `test.jsonl` and their audio; what is there already from the same settings is kept.

    Args:
        out_dir: a folder of its own.
        num_train: clips by the training voices; a multiple of 8 is balanced exactly.
        num_test: clips by other voices with other sentences.
        seed: the same seed gives the same files, byte for byte.

    Returns:
        The two manifests.

    Raises:
        SpeechLLMError: espeak-ng is not installed, or the folder cannot be written.
    """
    out_dir = Path(out_dir)
    if min(num_train, num_test) < 1:
        raise SpeechLLMError(f"num_train={num_train}, num_test={num_test}: ask for at least one clip of each")
    designs = {"train": design("train", num_train, seed), "test": design("test", num_test, seed)}
    manifests = out_dir / "train.jsonl", out_dir / "test.jsonl"
    record, stamp = out_dir / "corpus.json", _stamp(designs, seed)
    if _is_complete(record, stamp, manifests, designs):
        return manifests
    for stale in [record, *manifests]:
        _remove(stale)
    for manifest, (split, clips) in zip(manifests, designs.items(), strict=True):
        write_manifest(manifest, list(_speak_all(out_dir, split, clips)))
    with written_aside(record) as out:
        out.write(stamp)
    return manifests


def design(split: str, count: int, seed: int) -> list[Clip]:
    """What the clips of one split say and how: a pure function of its arguments."""
    rng = random.Random(f"{seed} {split}")
    voices = {gender: [v for v in VOICES[split] if v.gender == gender] for gender in ("female", "male")}
    for group in voices.values():
        rng.shuffle(group)
    cells = [(gender, rate, pitch) for rate in RATES for pitch in ("low", "high") for gender in voices]
    texts = _shuffled_forever(sentences(split), rng)
    clips = []
    for index in range(count):
        block, cell = divmod(index, len(cells))
        gender, rate, pitch = cells[cell]
        voice = voices[gender][(block + cell // 2) % len(voices[gender])]
        formants = round(rng.uniform(*FORMANTS[split]), 3)
        clips.append(
            Clip(
                id=f"{split}-{index:05d}",
                text=next(texts),
                voice=voice.name,
                gender=gender,
                speaking_rate=rate,
                pitch=pitch,
                words_per_minute=round(rng.uniform(*RATES[rate])),
                pitch_setting=voice.setting(rng.uniform(*PITCHES[gender, pitch]) / formants),
                formants=formants,
            )
        )
    return clips


def sentences(split: str) -> list[str]:
    """Every fifth sentence of the list is for testing."""
    lines = resources.files("speechllm.data").joinpath("sentences.txt").read_text(encoding="utf-8").splitlines()
    return [line for number, line in enumerate(lines) if (number % 5 == 0) == (split == "test")]


def _shuffled_forever(items: list[str], rng: random.Random) -> Iterator[str]:
    while True:
        yield from rng.sample(items, len(items))


def _stamp(designs: dict[str, list[Clip]], seed: int) -> str:
    clips = json.dumps([asdict(clip) for split in designs.values() for clip in split])
    settings = {
        **{f"num_{split}": len(clips) for split, clips in designs.items()},
        "seed": seed,
        "recipe": RECIPE,
        "design_sha256": hashlib.sha256(clips.encode()).hexdigest(),
        "espeakng_loader": _espeak_version(),
    }
    return json.dumps(settings, indent=2) + "\n"


def _espeak_version() -> str | None:
    try:
        return importlib.metadata.version("espeakng-loader")
    except importlib.metadata.PackageNotFoundError:
        return None


def _is_complete(record: Path, stamp: str, manifests: tuple[Path, Path], designs: dict[str, list[Clip]]) -> bool:
    if not record.is_file() or record.read_bytes() != stamp.encode():
        return False
    audio = [record.parent / clip.audio for clips in designs.values() for clip in clips]
    return all(path.is_file() for path in [*manifests, *audio])


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise SpeechLLMError(f"{path}: cannot be replaced ({error.strerror}); pick another folder") from error


def _speak_all(out_dir: Path, split: str, clips: list[Clip]) -> Iterator[Utterance]:
    with Espeak() as espeak:
        for clip in track(clips, f"synthetic speech, {split}"):
            samples = speak(espeak, clip)
            save_audio(out_dir / clip.audio, samples)
            yield Utterance(
                id=clip.id,
                audio=clip.audio,
                duration=samples.size / SAMPLING_RATE,
                sampling_rate=SAMPLING_RATE,
                text=clip.text,
                language="en",
                speaker=clip.voice,
                attributes={
                    "gender": clip.gender,
                    "speaking_rate": clip.speaking_rate,
                    "pitch": clip.pitch,
                    "words_per_minute": clip.words_per_minute,
                    "pitch_setting": clip.pitch_setting,
                },
                dataset=DATASET,
                split=split,
            )


def speak(espeak: Espeak, clip: Clip) -> np.ndarray:
    """One clip at `SAMPLING_RATE`: silence trimmed at both ends, all at the same level.

    Played faster by a factor, formants, pitch and tempo all rise by it; the latter two are asked for that much lower.
    """
    words_per_minute = round(clip.words_per_minute / clip.formants)
    sound = espeak.speak(clip.text, voice=clip.voice, words_per_minute=words_per_minute, pitch=clip.pitch_setting)
    rate = round(espeak.sampling_rate * clip.formants)
    samples = as_waveform(np.frombuffer(sound, "<i2").astype(np.float32) / 2**15, rate)
    audible = np.flatnonzero(np.abs(samples) > SILENCE * np.abs(samples).max())
    margin = round(MARGIN_S * SAMPLING_RATE)
    samples = samples[max(audible[0] - margin, 0) : audible[-1] + margin]
    level = float(np.sqrt(np.mean(samples**2)))
    return samples * min(RMS / level, 0.95 / float(np.abs(samples).max()))
