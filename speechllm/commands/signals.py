"""Signals: measured and augmented."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from speechllm.commands.arguments import Manifest, Out
from speechllm.errors import SpeechLLMError

if TYPE_CHECKING:
    from speechllm.data.augmenting import Plan

Pair = tuple[float, float]


def measure(
    manifest: Manifest,
    out: Out,
    calibrate: bool = False,
    limits: Path | None = None,
    processes: int | None = None,
) -> None:
    """Measures pitch, speaking rate, volume, noise, reverberation, silence and bandwidth; adds numbers and words.

    Args:
        manifest: Utterance manifest (JSON Lines). Words that it has already (pitch: low) stay.
        out: Manifest to write.
        calibrate: Put the limits between words at quantiles of this manifest, and write them to OUT.limits.json.
        limits: Such a file, from another manifest, to use its limits here.
        processes: How many measure at once; one a processor where not given.
    """
    from speechllm.data import bins, measuring, parallel
    from speechllm.data.manifest import read_manifest, relocated, write_manifest

    if calibrate and limits is not None:
        raise SpeechLLMError("--calibrate makes limits and --limits gives them; use one of the two")
    if manifest.resolve() == out.resolve():
        raise SpeechLLMError(f"{out}: is the manifest itself, whose words would stay for good; write another")
    chosen = bins.Limits() if limits is None else bins.read_limits(limits)
    measured = measuring.measure_all(read_manifest(manifest), out, processes)
    if calibrate:
        chosen = bins.calibrate(measured)
        bins.write_limits(out.with_name(f"{out.name}.limits.json"), chosen)
    count = write_manifest(out, relocated(measuring.put_into_words(measured, chosen), out.parent))
    parallel.kept_path(out).unlink(missing_ok=True)
    print(f"{out}: {count} utterances measured")


def augment(
    manifest: Manifest,
    out: Out,
    recipe: Path | None = None,
    speed: Pair | None = None,
    pitch: Pair | None = None,
    reverberation: Pair | None = None,
    noise: Pair | None = None,
    gain: Pair | None = None,
    clipping: Pair | None = None,
    codecs: tuple[str, ...] = (),
    chance: float = 1.0,
    noises: Path | None = None,
    join: int = 1,
    gap: Pair = (0.2, 1.0),
    copies: int = 1,
    limits: Path | None = None,
    seed: int = 0,
    processes: int | None = None,
) -> None:
    """Changes clips, in this order, and their descriptions with them; values are drawn between the two given.

    Args:
        manifest: Utterance manifest (JSON Lines).
        out: Folder to write: manifest.jsonl, and the clips in audio.
        recipe: TOML file that says what may happen, in the names below and with `chances` for single changes; in place
            of the options from here to --chance.
        speed: Factors of speed; the pitch follows.
        pitch: Semitones to shift.
        reverberation: Seconds in which the room falls by 60 dB.
        noise: Signal-to-noise ratios, dB.
        gain: dB.
        clipping: Shares of the samples to flatten.
        codecs: Codecs to draw one from: mu-law, telephone, mp3, opus, vorbis.
        chance: Of each of these to happen to a clip.
        noises: Manifest of noises; pink noise where not given.
        join: Utterances to put into one clip, as segments.
        gap: Seconds between them; negative ones let speakers overlap.
        copies: Clips to make of each utterance.
        limits: Limits between words for what changed, from `speechllm measure --calibrate`.
        seed: The same seed gives the same clips.
        processes: How many work at once; one a processor where not given.
    """
    from speechllm.data.augmentation import read_recipe
    from speechllm.data.augmenting import MANIFEST, augment_all
    from speechllm.data.bins import Limits, read_limits
    from speechllm.data.manifest import read_manifest

    changes = {"speed": speed, "pitch": pitch, "reverberation": reverberation, "noise": noise, "gain": gain}
    told = {**changes, "clipping": clipping, "codecs": codecs, "chance": chance}
    if recipe is not None and told != {**dict.fromkeys([*changes, "clipping"]), "codecs": (), "chance": 1.0}:
        raise SpeechLLMError(f"say what may happen in {recipe} or with options, not both")
    between = Limits() if limits is None else read_limits(limits)
    may = told if recipe is None else read_recipe(recipe)
    plan = _plan(recipe=may, copies=copies, join=join, gap=gap, seed=seed, limits=between)
    background = () if noises is None else read_manifest(noises)
    made = augment_all(read_manifest(manifest), out, plan, background, processes)
    print(f"{out / MANIFEST}: {len(made)} clips")


def _plan(**values: Any) -> Plan:
    from pydantic import ValidationError

    from speechllm.data.augmenting import Plan
    from speechllm.data.jsonl import explain

    try:
        return Plan.model_validate(values)
    except ValidationError as error:
        raise SpeechLLMError(f"--{explain(error, Plan).removeprefix('recipe.')}") from error
