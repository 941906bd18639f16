"""Benchmarks in the layouts that their authors publish, read into tasks."""

from __future__ import annotations

import csv
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from speechllm.audio.io import audio_info
from speechllm.data.attributes import ATTRIBUTES, display_name, extract_value
from speechllm.data.manifest import Utterance
from speechllm.data.prompts import Prompt
from speechllm.errors import SpeechLLMError
from speechllm.eval.superb_datasets import dumped_datasets
from speechllm.eval.tasks import Official, Question, Task, attribute_task, named_choice

SYSTEM = "Focus on the audio and the instruction."
"""The system prompt of benchmark questions, the one that targets are usually written under (DeSTA2)."""


HOPS = ("single", "multi")
COLUMNS = {"file", "attribute_label", *(f"{hop}_{part}" for hop in HOPS for part in ("instruction", "answer"))}
"""Of SAKURA's metadata."""


def sakura(folder: Path) -> list[Task]:
    """SAKURA (arXiv 2505.13237): `<Track>/metadata.csv` and `<Track>/audio/`, a track an attribute.

    Three tasks a track: the benchmark's `single` and `multi` hop questions, and `open`, which asks for the attribute
    without options and is this package's own. The official judge is an LLM; here the choice that a reply names counts,
    and beside it what a judge says, where one is named.
    """
    tasks = []
    for metadata in sorted(Path(folder).glob("*/metadata.csv")):
        track = metadata.parent.name.lower()
        with metadata.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
        if not rows or not rows[0].keys() >= COLUMNS:
            raise SpeechLLMError(f"{metadata}:1: lacks columns of SAKURA's; expected {', '.join(COLUMNS)}")
        label = [_known(track, row["attribute_label"]) for row in rows]
        clips = [
            utterance_of(metadata.parent / "audio" / row["file"], f"{track}/{row['file']}", {track: value})
            for row, value in zip(rows, label, strict=True)
        ]
        asked = Prompt(id=f"{track}.open", kind=track, system=SYSTEM, style="natural", text=open_question(track))
        tasks.append(replace(attribute_task(track, clips, asked), name=f"sakura.{track}.open"))
        for hop in HOPS:
            questions = tuple(
                _options(clip, row[f"{hop}_instruction"], row[f"{hop}_answer"], f"{metadata}:{number}")
                for number, (clip, row) in enumerate(zip(clips, rows, strict=True), 2)
            )
            official = Official("sakura", f"{track}_{hop}.json")
            rule = "names the right option alone"
            tasks.append(Task(f"sakura.{track}.{hop}", questions, named_choice, rule=rule, official=official))
    if not tasks:
        raise SpeechLLMError(f"{folder}: holds no <Track>/metadata.csv of SAKURA's")
    return tasks


def open_question(attribute: str) -> str:
    """Asks for an attribute without naming its values."""
    return f"What is the {display_name(attribute).lower()} of the speaker?"


def _known(attribute: str, label: str) -> str:
    """The label in this package's words (`fear` is `fearful`); itself where there is none."""
    if attribute in ATTRIBUTES and ATTRIBUTES[attribute].values:
        return extract_value(attribute, label) or label
    return label


_OPTION = re.compile(r"\(([a-z])\)\s*(.*?)(?=\s*\([a-z]\)|$)", re.DOTALL)


def _options(clip: Utterance, instruction: str, answer: str, where: str) -> Question:
    choices = tuple(text.strip() for _, text in _OPTION.findall(instruction))
    found = _OPTION.findall(answer)
    truth = found[0][1].strip() if found else answer.strip()
    if truth not in choices:
        raise SpeechLLMError(f"{where}: the answer {answer!r} is none of the options")
    prompt = Prompt(id=clip.id, kind="options", system=SYSTEM, style="natural", text=instruction)
    return Question((clip,), prompt, truth, choices, row={"instruction": instruction, "label": answer})


MOST_CLIPS = 9
"""Of one question of Dynamic-SUPERB's that are looked for."""


def dynamic_superb(folder: Path) -> list[Task]:
    """Dynamic-SUPERB, phase 1 (arXiv 2309.09510): `<instance>/metadata.json` beside the clips, or data sets of the Hub.

    `metadata.json` is an object by file name with `instruction` and `label`; the second clip of a two-audio task is
    `<name>_pair.wav`. Scored by the official rule, the whole reply equal to the label but for case.
    """
    tasks = []
    for metadata, rows in dumps(folder):
        name = metadata.parent.name
        told = metadata.with_name("instance.json")  # its version goes into the official submission file
        beside = {told.name: _json(told)} if told.is_file() else {}
        tasks.append(
            Task(
                f"dynamic_superb.{name}",
                tuple(dumped_question(metadata, name, file, row) for file, row in rows.items()),
                equal_but_for_case,
                tolerant=named_choice,
                rule="equal to the label but for case; tolerant: names the right option alone",
                official=Official("dynamic_superb", f"{name}/responses.json", beside=beside),
            )
        )
    return tasks


def dumps(folder: Path) -> list[tuple[Path, dict[str, Any]]]:
    """Each `metadata.json` of instances of Dynamic-SUPERB's, and its rows by file name; data sets are dumped first.

    Raises:
        SpeechLLMError: there is none, or one is not as they are.
    """
    found = []
    for metadata in [*sorted(Path(folder).rglob("metadata.json")), *dumped_datasets(folder)]:
        rows = _json(metadata)
        if not isinstance(rows, dict):
            raise SpeechLLMError(f"{metadata}: is not an object by file name, as Dynamic-SUPERB's is")
        found.append((metadata, rows))
    if not found:
        raise SpeechLLMError(f"{folder}: holds neither metadata.json nor test-*.parquet of Dynamic-SUPERB's")
    return found


def dumped_question(metadata: Path, instance: str, file: str, row: Any) -> Question:
    """A row of a dumped instance, with all its clips.

    Raises:
        SpeechLLMError: it lacks instruction, label or audio.
    """
    if not isinstance(row, dict) or not {"instruction", "label"} <= row.keys():
        raise SpeechLLMError(f"{metadata}: {file}: lacks 'instruction' or 'label'")
    first = clip_at(metadata.parent, [file, f"{instance}_{file}"], f"{metadata}: {file}")
    clips = [utterance_of(first, file, {})]
    for pair in ("_pair", *(f"_pair{k}" for k in range(2, MOST_CLIPS + 1))):
        beside = first.with_name(f"{first.stem}{pair}{first.suffix}")
        if beside.exists():
            clips.append(utterance_of(beside, f"{file}{pair}", {}))
    instruction, label = str(row["instruction"]), str(row["label"])
    if row.get("text"):
        instruction = f"{instruction}\n{row['text']}"
    prompt = Prompt(id=file, kind=instance, text=instruction, system=SYSTEM)
    return Question(tuple(clips), prompt, label, _stated_choices(instruction), row=row)


def _stated_choices(instruction: str) -> tuple[str, ...]:
    """The answers of `The answer could be A, B, or C.`"""
    found = re.search(r"answers? could be (.+?)\.?\s*$", instruction.split("\n")[0])
    if not found:
        return ()
    return tuple(part.strip(" .\"'") for part in re.split(r",\s*or\s+|,\s*|\s+or\s+", found[1]) if part.strip())


def equal_but_for_case(question: Question, reply: str) -> str | None:
    """The label where the reply is it (case aside, nothing stripped), as Dynamic-SUPERB phase 1 counts."""
    return question.truth if reply.lower() == question.truth.lower() else None


def mmau(folder: Path) -> list[Task]:
    """MMAU and MMAR: a JSON list of `id, audio_id | audio_path, question, choices, answer, task`, audio beside it."""
    groups: dict[str, list[Question]] = defaultdict(list)
    files = [path for path in sorted(Path(folder).glob("*.json")) if isinstance(_json(path), list)]
    if not files:
        raise SpeechLLMError(f"{folder}: holds no JSON list of MMAU's questions")
    for path in files:
        for number, row in enumerate(_json(path)):
            where = f"{path}: row {number}"
            missing = {"id", "question", "choices", "answer"} - row.keys()
            if missing:
                raise SpeechLLMError(f"{where}: lacks {', '.join(sorted(missing))}")
            audio = str(row.get("audio_id") or row.get("audio_path") or "")
            places = [audio, *(f"{place}/{Path(audio).name}" for place in ("audio", "test-mini-audios", "test-audios"))]
            clip = clip_at(path.parent, places, where)
            choices = tuple(map(str, row["choices"]))
            text = f"{row['question']}\n{lettered_options(choices)}"
            prompt = Prompt(id=str(row["id"]), kind="options", system=SYSTEM, text=text)
            question = Question((utterance_of(clip, str(row["id"]), {}),), prompt, str(row["answer"]), choices, row=row)
            groups[str(row.get("task") or row.get("modality") or "all")].append(question)
    return [_multiple_choice(group, questions) for group, questions in sorted(groups.items())]


def lettered_options(choices: Sequence[str]) -> str:
    """A line each: `(a) dog`."""
    return "\n".join(f"({chr(97 + k)}) {choice}" for k, choice in enumerate(choices))


def _multiple_choice(group: str, questions: Sequence[Question]) -> Task:
    file = f"{group.replace('/', '.')}.jsonl"
    of_mmar = "audio_path" in questions[0].row and "task" not in questions[0].row
    official = Official("mmar", file, "answer_prediction") if of_mmar else Official("mmau", file, "model_prediction")
    rule = "names the right option alone"
    return Task(f"mmau.{group}", tuple(questions), named_choice, rule=rule, official=official)


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SpeechLLMError(f"{path}: cannot be read as JSON ({error})") from error


def clip_at(folder: Path, names: Iterable[str], where: str) -> Path:
    """The first of these files that is in a folder.

    Raises:
        SpeechLLMError: none is; opens with `where`.
    """
    for name in names:
        if name and (folder / name).is_file():
            return folder / name
    raise SpeechLLMError(f"{where}: its audio is not in {folder}")


def utterance_of(path: Path, name: str, attributes: Mapping[str, Any]) -> Utterance:
    """A whole file as an utterance.

    Raises:
        SpeechLLMError: it is no audio.
    """
    duration, rate = audio_info(path)
    return Utterance(id=name, audio=str(path), duration=duration, sampling_rate=rate, attributes=dict(attributes))
