"""SAKURA: four tracks, asked for an attribute (single hop) and for something that follows from it (multi hop).

Rules of https://github.com/ckyang1124/SAKURA (arXiv 2505.13237): a judge sees question, answer and response and says
correct or incorrect; whatever else it says counts as wrong. The question to the judge is worded here after the
published one, so that only judgements stored in the files (`Judgement`) reproduce published accuracies.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from speechllm.errors import SpeechLLMError
from speechllm.eval.benchmarks.benchmark import Benchmark, Inputs, Item, Scored, Status, Verdict, rate
from speechllm.eval.benchmarks.judging import judged_by
from speechllm.eval.benchmarks.responses import Row, by_id, read_rows
from speechllm.eval.judges import Question

TRACKS = ("Animal", "Emotion", "Gender", "Language")
HOPS = ("single", "multi")

SYSTEM = "You judge whether a model's response to a multiple-choice question is correct."

REQUEST = """Exactly one option of the question is right. The response is correct if it chooses one option and that \
option is the right answer; another form of the same word ("happiness" for "happy") is good enough. It is incorrect if \
it chooses another option, several, or none.

Question: {instruction}
Right answer: {label}
Response: {response}

Write two lines:
Explanation: <why>
Judgement: <correct or incorrect>"""

PATTERN = re.compile(r"Explanation: (.*?)\nJudgement: (.*?)(?:\n\n|$)", re.DOTALL)
"""The official script's."""

CORRECT, INCORRECT = (f"Explanation: by rule\nJudgement: {word}" for word in ("correct", "incorrect"))


def score(inputs: Inputs) -> Scored:
    """Files of responses or of judgements, one a track and hop; questions are the tracks' `metadata.json`."""
    questions = {_track(path, {}): _by_file(read_rows(path)) for path in inputs.questions}
    found: dict[tuple[str, str], list[Item]] = {}
    for path in inputs.responses:
        rows = read_rows(path, inside="results")
        header = rows[0].header if rows else {}
        part = _track(path, header), _hop(path, header)
        if part in found:
            raise SpeechLLMError(f"{path}: is of {' '.join(part)} as a file before it is; give one file each")
        found[part] = _items(_by_file(rows), questions.get(part[0]), part[1])
    parts = [(part, item) for part, items in found.items() for item in items]
    items = [item for _, item in parts]
    stored = [item.answer.text("Judgement") if item.answer else None for item in items]
    verdicts = [_verdict(*entry) for entry in zip(parts, _judgements(items, stored, inputs))]
    notes = [f"no file of {track}, {hop} hop" for track in TRACKS for hop in HOPS if (track, hop) not in found]
    return Scored(verdicts, _metrics(verdicts), notes, judged_by(stored, inputs.judge))


def _track(path: Path, header: Any) -> str:
    """From the file's `attribute`, or else from its name and folder."""
    place = str(header.get("attribute") or f"{path.absolute().parent.name} {path.stem}").lower()
    return next((track for track in TRACKS if track.lower() in place), path.stem)


def _hop(path: Path, header: Any) -> str:
    place = str(header.get("type") or path.stem).lower()
    hops = [hop for hop in HOPS if hop in place]
    if len(hops) != 1:
        raise SpeechLLMError(f"{path}: neither its `type` nor its name tells single from multi; add one")
    return hops[0]


def _by_file(rows: Sequence[Row]) -> dict[str, Row]:
    """By the audio file's name without its folder, which differs between responses and questions."""
    found: dict[str, Row] = {}
    for name, row in by_id(rows, ("file",)).items():
        if other := found.get(Path(name).name):
            raise SpeechLLMError(f"{row.where}: {name} has the same file name as {other.where}; give each its own")
        found[Path(name).name] = row
    return found


def _items(answers: dict[str, Row], questions: dict[str, Row] | None, hop: str) -> list[Item]:
    if questions is None:
        return [Item(name, row, row) for name, row in answers.items()]
    items = []
    for name, row in questions.items():
        asked = {"instruction": row.text(f"{hop}_instruction"), "label": row.text(f"{hop}_answer")}
        items.append(Item(name, Row(asked, row.where), answers.get(name)))
    return items


def _judgements(items: Sequence[Item], stored: Sequence[str | None], inputs: Inputs) -> list[str | None]:
    """`correct`, `incorrect`, something else that a judge said, or None if nobody judged."""
    if inputs.judge is None:
        return list(stored)
    replies = inputs.judge([_question(item) for item in items])
    return [None if reply is None else _judgement(reply) for reply in replies]


def _judgement(reply: str) -> str:
    found = PATTERN.search(reply)
    return found.group(2) if found else f"no judgement in {reply!r}"


def _question(item: Item) -> Question:
    instruction, label = item.question.need("instruction", str), item.question.need("label", str)
    response = _response(item) or ""
    asked = REQUEST.format(instruction=instruction, label=label, response=response)
    return Question(SYSTEM, asked, label, response, instruction, (CORRECT, INCORRECT))


def _response(item: Item) -> str | None:
    return item.answer.text("response", "model_response") if item.answer else None


def _verdict(place: tuple[tuple[str, str], Item], judgement: str | None) -> Verdict:
    (track, hop), item = place
    shown = {"track": track, "hop": hop, "label": item.question.text("label")}
    name, response = f"{track} {hop} {item.id}", _response(item)
    if response is None:
        return Verdict(id=name, verdict="missing", reason="no response", **shown)
    if judgement is None:
        return Verdict(id=name, verdict="not judged", reason="needs a judge", response=response, **shown)
    known: dict[str, Status] = {"correct": "right", "incorrect": "wrong"}
    status = known.get(judgement.lower().strip(), "unparsable")
    return Verdict(id=name, verdict=status, reason=f"judged: {judgement.strip()}", response=response, **shown)


def _metrics(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """Accuracy by hop and track, and the mean over tracks; None where rows wait for a judge."""
    parts: dict[str, dict[str, list[Verdict]]] = {hop: {} for hop in HOPS}
    for verdict in verdicts:
        row = verdict.model_extra or {}
        parts[row["hop"]].setdefault(row["track"], []).append(verdict)
    metrics = {}
    for hop, tracks in parts.items():
        rates = {track: rate(rows) for track, rows in tracks.items()}
        known = [value for value in rates.values() if value is not None]
        rates["Average"] = sum(known) / len(known) if known and len(known) == len(tracks) else None
        metrics[hop] = {track: None if value is None else round(value, 2) for track, value in rates.items()}
    return metrics


SAKURA = Benchmark("sakura", "SAKURA", "arXiv 2505.13237", score, judged=True)
