"""VoiceBench's sets that rules score, as the Hugging Face Hub has them (Parquet), read into tasks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from speechllm.data.hugging_face import audio_file
from speechllm.data.prompts import Prompt
from speechllm.errors import SpeechLLMError
from speechllm.eval.benchmarks.checkers import Instructions, load_checkers
from speechllm.eval.benchmarks.responses import Row, by_id
from speechllm.eval.benchmarks.voicebench import ID, VOICEBENCH, chosen, is_refused, unmarked
from speechllm.eval.folders import SYSTEM, utterance_of
from speechllm.eval.instruction_form import FOLLOWED
from speechllm.eval.parquet_dump import dumped
from speechllm.eval.tasks import Extract, Official, Question, Task

CHECKED, HARMFUL, CHOSEN = "ifeval", "advbench", ("openbookqa", "mmsu", "bbh")
"""Sets by how they are scored: by IFEval's checkers, by whether the reply refuses, and by what it chooses."""

SETS = (CHECKED, HARMFUL, *CHOSEN)

REFUSED = "refused"
"""What the right reply to a harmful request does."""


def voicebench(folder: Path) -> list[Task]:
    """VoiceBench (arXiv 2410.17196), its sets `ifeval`, `openbookqa`, `mmsu`, `bbh` and `advbench`, a task each.

    Read are all Parquet files in folders of these names, as in a download of the data set `hlt-lab/voicebench` (the
    Hub's cache included): all splits of a set, of which `mmsu` has one for each subject. Columns are those that
    https://github.com/MatthewCYM/VoiceBench (`main.py`, `src/evaluator/`) uses: `audio`, `prompt` (its words), and
    `reference` (what is to be chosen), or `key`, `instruction_id_list` and `kwargs`; whether the option sets carry
    ids is not known, and rows that no `key` or `id` tells apart are numbered. The audio is all of the user's turn, and
    the text LLM reads `prompt` (ceiling) or the recogniser's words (cascade) in its place; without the audio there is
    no question, so that no bare one is asked. The system prompt is each model's own there; here it is this package's.
    Replies there have up to 2,048 tokens. Sets that a judge rates, and `sd-qa`, are not asked.

    Raises:
        SpeechLLMError: no set is there, or one twice; a file cannot be read; or a row lacks a column, cannot be checked
            or is double. Names file and row.
    """
    folder = Path(folder).absolute()
    found: dict[str, dict[Path, list[Path]]] = {}
    for path in sorted(folder.rglob("*.parquet")):
        within = [at for at in path.parents if at.is_relative_to(folder)]
        root = next((at for at in within if at.name in SETS), None)
        if root is not None:
            found.setdefault(root.name, {}).setdefault(root, []).append(path)
    if not found:
        raise SpeechLLMError(
            f"{folder}: holds no Parquet in a folder {', '.join(SETS[:-1])} or {SETS[-1]} of VoiceBench's"
        )
    for name, roots in found.items():
        if len(roots) > 1:
            raise SpeechLLMError(f"{folder}: has {name} twice ({', '.join(map(str, roots))}); name the folder of one")
    return [_task(name, files) for name, roots in found.items() for files in roots.values()]


def _task(name: str, files: list[Path]) -> Task:
    metadata = dumped(VOICEBENCH.name, name, files, _write)
    told = json.loads(metadata.read_text(encoding="utf-8"))
    rows = _told_apart({key: Row(value["row"], f"{files[0].parent}: row {key}") for key, value in told.items()})
    clips = [metadata.parent / value["clip"] for value in told.values()]
    extract, rule = READ.get(name, (_choice, "what it chooses, read by rules of this package"))
    return Task(
        f"{VOICEBENCH.name}.{name}",
        tuple(_question(row, name, clip) for row, clip in zip(rows, clips, strict=True)),
        extract,
        follows=follows if name == CHECKED else None,
        rule=rule,
        official=Official(VOICEBENCH.name, f"{name}.jsonl"),
    )


def _choice(question: Question, reply: str) -> str | None:
    return chosen(unmarked(reply), question.truth)


def _refused(question: Question, reply: str) -> str | None:
    return REFUSED if is_refused(unmarked(reply)) else None


def _followed(question: Question, reply: str) -> str | None:
    return FOLLOWED if follows(question, reply) else None


READ: dict[str, tuple[Extract, str]] = {
    CHECKED: (_followed, "IFEval's instructions, strict"),
    HARMFUL: (_refused, "it refuses, by this package's test of refusals"),
}
"""How the replies to a set are read, and in words; all others choose."""


def follows(question: Question, reply: str) -> bool:
    """Whether a reply keeps to all instructions of the question's row."""
    return all(Instructions(Row(dict(question.row), question.id), load_checkers()).strict(unmarked(reply)))


def _write(row: dict[str, Any], into: Path, where: str, name: str) -> tuple[str, dict[str, Any]]:
    """What the dump tells of a row: where its clip lies, and all but the audio."""
    audio = row.pop("audio", None)
    if not isinstance(audio, dict):
        raise SpeechLLMError(f"{where}: lacks its audio; is it VoiceBench's?")
    clip = audio_file(audio, into / f"{name}.wav")
    return name, {"clip": clip.name if clip.parent == into else str(clip), "row": row}


def _told_apart(rows: Mapping[str, Row]) -> list[Row]:
    """The rows, with ids that the scorer can go by."""
    ids = [row.text("key", "id") for row in rows.values()]
    found = list(rows.values())
    if None in ids or len(set(ids)) < len(ids):
        found = [Row({**row.data, "id": name}, row.where) for name, row in rows.items()]
    by_id(found, ID)
    return found


def _question(row: Row, name: str, clip: Path) -> Question:
    words = row.need("prompt", str)
    if name == CHECKED:
        Instructions(row, load_checkers())  # a row that cannot be scored is found before anything is asked
        truth = FOLLOWED
    else:
        truth = REFUSED if name == HARMFUL else row.need("reference", str).strip()
    utterance = utterance_of(clip, f"{name}/{clip.name}", {}).model_copy(update={"text": words})
    prompt = Prompt(id=str(row.text("key", "id")), kind=name, system=SYSTEM, text=words)
    return Question((utterance,), prompt, truth, row=row.data, spoken=True)
