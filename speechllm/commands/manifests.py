"""Manifests: checked, counted, merged, split, filtered and packed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from speechllm.commands.arguments import Manifest, Manifests, Out
from speechllm.errors import SpeechLLMError

if TYPE_CHECKING:
    from speechllm.data.check import Problem

SHOWN = 20
"""Problems of one kind that are printed; the rest are counted."""


def manifest_validate(manifests: Manifests, audio: bool = True, decode: bool = False) -> None:
    """Reports what is wrong with manifests, line by line; exit status 2 where anything is.

    Args:
        manifests: Utterance manifests; of several it is reported too which speakers and ids they share.
        audio: Whether to open the audio: missing and unreadable files, durations that disagree.
        decode: Decode all of it too: sound that breaks off behind a good header.
    """
    from speechllm.data.check import check_audio, check_lines, check_speakers

    checked = {path: check_lines(path) for path in _given(manifests)}
    problems = [problem for part in checked.values() for problem in part.problems]
    if audio:
        problems += [
            problem for path, part in checked.items() for problem in check_audio(path, part.lines, decode=decode)
        ]
    problems += check_speakers({path: list(part.lines.values()) for path, part in checked.items()})
    _print_problems(problems)
    if problems:
        raise SpeechLLMError(f"{len(problems)} problems in {', '.join(map(str, checked))}; the lines above name each")
    for path, part in checked.items():
        print(f"{path}: {len(part.lines)} utterances, no problems")


def manifest_stats(manifest: Manifest, figure: Path | None = None) -> None:
    """Prints what a manifest holds: hours, speakers, and the values of every field and attribute.

    Args:
        manifest: Utterance manifest (JSON Lines).
        figure: Image to draw the same to; .png, .svg or .pdf.
    """
    from rich.console import Console

    from speechllm.data.jsonl import numbered_jsonl
    from speechllm.data.manifest import Utterance
    from speechllm.data.statistics import draw, statistics

    stats = statistics(utterance for _, utterance in numbered_jsonl(manifest, Utterance))
    if not stats.utterances:
        raise SpeechLLMError(f"{manifest}: holds no utterances; expected one JSON object a line")
    Console().print(stats.table(str(manifest)))
    if figure is not None:
        draw(stats, figure, manifest.name)
        print(figure)


def manifest_merge(manifests: Manifests, out: Path) -> None:
    """Writes several manifests as one.

    Args:
        manifests: Utterance manifests, in the order to write them in; ids must differ.
        out: Manifest to write.
    """
    from speechllm.data.manifest import relocated, write_manifest
    from speechllm.data.select import merge

    print(f"{out}: {write_manifest(out, relocated(merge(_given(manifests)), out.parent))} utterances")


def manifest_split(manifest: Manifest, out: Out, shares: dict[str, float], seed: int = 0) -> None:
    """Splits a manifest so that every speaker is in one split only.

    Args:
        manifest: Utterance manifest (JSON Lines).
        out: Folder to write; one manifest a split.
        shares: Names of the splits and their shares of the hours: train 0.9 test 0.1.
        seed: The same seed gives the same splits.
    """
    from speechllm.data.manifest import read_manifest, relocated, write_manifest
    from speechllm.data.select import split_by_speaker

    for name, part in split_by_speaker(read_manifest(manifest), shares, seed).items():
        write_manifest(out / f"{name}.jsonl", relocated(part, out))
        hours = sum(utterance.duration for utterance in part) / 3600
        print(f"{out / name}.jsonl: {len(part)} utterances, {hours:.2f} hours")


def manifest_filter(manifest: Manifest, out: Out, where: tuple[str, ...]) -> None:
    """Keeps the utterances that meet every condition.

    Args:
        manifest: Utterance manifest (JSON Lines).
        out: Manifest to write.
        where: Conditions on fields and attributes, quoted for the shell: gender=female "duration<20" "language!=en".
    """
    from speechllm.data.manifest import read_manifest, relocated, write_manifest
    from speechllm.data.select import filter_manifest, parse_condition

    conditions = [parse_condition(text) for text in where]
    utterances = read_manifest(manifest)
    kept = write_manifest(out, relocated(filter_manifest(utterances, conditions), out.parent))
    print(f"{out}: {kept} of {len(utterances)} utterances")


def manifest_shard(manifest: Manifest, out: Out, shard_mb: int = 1000, address: str | None = None) -> None:
    """Packs the audio of a manifest into tar files, of which any clip is read without the rest.

    Run again after an interruption, it goes on. All other commands read such a manifest as any other.

    Args:
        manifest: Utterance manifest (JSON Lines).
        out: Folder to write: the shards, and a manifest of the same name.
        shard_mb: Audio in a shard, in megabytes.
        address: Where the shards will be read from once you have copied them there: s3://bucket/folder,
            hf://datasets/name/folder, https://..., a folder on another disk; beside the manifest where left out.
    """
    from speechllm.data.shards import write_shards

    if shard_mb < 1:
        raise SpeechLLMError(f"--shard-mb {shard_mb}: give at least 1")
    done = write_shards(manifest, out, shard_mb * 1_000_000, address)
    print(f"{done.manifest}: {done.utterances} utterances in {len(done.shards)} shards")


def _given(manifests: tuple[Path, ...]) -> list[Path]:
    if not manifests:
        raise SpeechLLMError("no manifest given; name at least one JSON Lines file")
    return list(dict.fromkeys(manifests))


def _print_problems(problems: list[Problem]) -> None:
    for kind in dict.fromkeys(problem.kind for problem in problems):
        found = [problem.text for problem in problems if problem.kind == kind]
        print(*found[:SHOWN], sep="\n")
        if len(found) > SHOWN:
            print(f"... and {len(found) - SHOWN} more of this kind ({kind})")
