"""Dynamic-SUPERB, phase 1: one file of responses an instance, accuracy by exact match and by a tolerant one.

Rules of https://github.com/dynamic-superb/dynamic-superb: the response is the label, whatever its case; not even a
space or a full stop more. The tolerant match, this package's own, is shown beside it and never instead of it: the
response names the label, and none of the other options, as whole words.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from speechllm.errors import SpeechLLMError
from speechllm.eval.benchmarks.benchmark import Benchmark, Inputs, Item, Scored, Verdict, percent, read_items
from speechllm.eval.benchmarks.options import named, normal, offered

RESPONSE_FIELDS = ("response", "pred", "prediction", "sllm_response")

FOLDER_FILES = {"metadata", "test", "predictions", "responses"}
"""Names of files that tell nothing of the instance: its name is the folder's."""

GROUPS = {
    "content": (
        "LanguageIdentification", "SpeechCommandRecognition", "SpeechDetection", "SpeechTextMatching",
        "SpokenTermDetection",
    ),
    "semantics": ("DialogueActClassification", "DialogueActPairing", "IntentClassification", "SarcasmDetection"),
    "paralinguistics": (
        "AccentClassification", "DialogueEmotionClassification", "EmotionRecognition", "HowFarAreYou", "SpoofDetection",
        "StressDetection",
    ),
    "degradation": (
        "EnhancementDetection", "NoiseDetection", "NoiseSNRLevelPrediction", "ReverberationDetection",
    ),
    "speaker": ("MultiSpeakerDetection", "SpeakerCounting", "SpeakerVerification"),
    "audio": ("BirdSoundDetection", "ChordClassification", "EnvironmentalSoundClassification"),
}  # fmt: skip
"""Tasks by group: 11 + 6 + 7 + 19 + 5 = 48 instances in the paper (arXiv 2309.09510), and 7 of audio, added later.

As tables of the SIFT-LLM paper list them by subtotals. The group of any other task is unknown.
"""


def score(inputs: Inputs) -> Scored:
    """Files of responses, one an instance and named after it; questions likewise (`metadata.json` in its folder)."""
    questions = by_instance(inputs.questions)
    verdicts: list[Verdict] = []
    notes: list[str] = []
    for name, path in by_instance(inputs.responses).items():
        if questions and name not in questions:
            raise SpeechLLMError(
                f"{path}: no file of questions is of the instance {name!r}, but {', '.join(questions)}"
            )
        own = [questions[name]] if questions else []
        items, said = read_items(replace(inputs, responses=[path], questions=own), ("file", "id"))
        notes += said
        verdicts += [_verdict(item, name) for item in items]
    names = list(dict.fromkeys(str((v.model_extra or {})["instance"]) for v in verdicts))
    exact = _accuracies(names, verdicts, "exact")
    metrics = {
        "accuracy": exact,
        "accuracy by group": _group_means(exact),
        "tolerant accuracy": (tolerant := _accuracies(names, verdicts, "tolerant")),
        "tolerant accuracy by group": _group_means(tolerant),
    }
    submission, missing = _submission(exact, {**by_instance(inputs.responses), **questions})
    return Scored(verdicts, metrics, notes + missing, files={"submission.json": submission})


def instance_name(path: Path) -> str:
    """`Task_Dataset` from the name of a file, or of its folder if it is called metadata.json or the like."""
    return path.parent.name if path.stem in FOLDER_FILES else path.stem


def by_instance(paths: Sequence[Path]) -> dict[str, Path]:
    """Files by the instance they are of.

    Raises:
        SpeechLLMError: two are of the same.
    """
    found: dict[str, Path] = {}
    for path in paths:
        name = instance_name(path.absolute())
        if name in found:
            raise SpeechLLMError(f"{path}: is of the instance {name!r} as {found[name]} is; give one file each")
        found[name] = path
    return found


def _verdict(item: Item, instance: str) -> Verdict:
    label = str(item.question.need("label", (str, int, float)))
    shown = {"instance": instance, "label": label}
    response = item.answer.text(*RESPONSE_FIELDS) if item.answer else None
    if response is None:
        return Verdict(id=item.id, verdict="missing", reason="no response", exact=False, tolerant=False, **shown)
    exact = response.lower() == label.lower()
    tolerant, reason = tolerant_match(response, label, offered(item.question.text("instruction") or ""))
    status = "right" if exact else "wrong"
    reason = "is the label" if exact else f"is not exactly the label; {reason}"
    return Verdict(
        id=item.id, verdict=status, reason=reason, response=response, exact=exact, tolerant=exact or tolerant, **shown
    )


def tolerant_match(response: str, label: str, options: Sequence[str]) -> tuple[bool, str]:
    """Whether the response names the label and no other option, and why."""
    if not normal(response):
        return False, "empty response"
    others = [option for option in options if normal(option) != normal(label)]
    found = named(response, [label, *others])
    if found == [label]:
        return True, "names the label alone"
    return False, f"names {', '.join(map(repr, found))}" if found else "names no option"


def _accuracies(names: Sequence[str], verdicts: Sequence[Verdict], kind: str) -> dict[str, float | None]:
    rows = [v.model_extra or {} for v in verdicts]
    return {name: percent(row[kind] for row in rows if row["instance"] == name) for name in names}


def _group_means(accuracies: dict[str, float | None]) -> dict[str, float]:
    """Mean over a group's instances, as the paper's tables have it."""
    members: dict[str, list[float]] = {}
    for name, value in accuracies.items():
        task = name.split("_")[0]
        group = next((group for group, tasks in GROUPS.items() if task in tasks), "unknown")
        if value is not None:
            members.setdefault(group, []).append(value)
    return {group: round(sum(values) / len(values), 2) for group, values in members.items()}


def _submission(accuracies: dict[str, float | None], paths: dict[str, Path]) -> tuple[list[dict[str, Any]], list[str]]:
    """The official submission file; `version` from an instance.json beside the files, `seen` for its author to say."""
    rows = []
    for name, value in accuracies.items():
        fraction = None if value is None else round(value / 100, 4)
        version = _version(paths[name].parent / "instance.json")
        rows.append(
            {"name": name, "scores": [{"metric": "accuracy", "value": fraction, "version": version, "seen": None}]}
        )
    note = "submission.json: set `seen`, whether the model was trained on the task"
    without = [row["name"] for row in rows if row["scores"][0]["version"] is None]  # type: ignore[index]
    versions = [f"submission.json: no instance.json beside the files of {', '.join(map(str, without))} gives a version"]
    return rows, [note, *(versions if without else [])]


def _version(path: Path) -> str | None:
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["version"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


DYNAMIC_SUPERB = Benchmark("dynamic_superb", "Dynamic-SUPERB phase 1", "arXiv 2309.09510; exact match", score)
