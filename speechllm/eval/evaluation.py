"""One evaluation: tasks put to a checkpoint beside its ceiling, the cascade and chance, and what is left of the LLM."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from speechllm.config import EvaluationConfig
from speechllm.data.jsonl import written_aside
from speechllm.data.manifest import Utterance
from speechllm.errors import SpeechLLMError
from speechllm.eval.asking import MODEL, SYSTEMS, ask, asked_as
from speechllm.eval.hearing import Answers, score
from speechllm.eval.retention import text_retention
from speechllm.eval.tasks import Question, Task
from speechllm.models.modeling import SpeechLLM
from speechllm.models.processing import SpeechLLMProcessor
from speechllm.models.recogniser import Recogniser
from speechllm.models.reply import Sampling, SpeechReplier, TextReplier, compute_device, compute_dtype

RESPONSES, RECOGNISED, RESULTS, SETTINGS = "responses", "recognised.json", "results.json", "evaluation.json"
ANSWERS = "answers.json"
"""What each reply was found to answer: task -> system -> a value or null for each line of its responses."""


@dataclass(frozen=True)
class Evaluated:
    """What came out: the numbers, and every reply."""

    results: dict[str, Any]
    answers: list[Answers]


def evaluate(checkpoint: str, tasks: Sequence[Task], out: Path, config: EvaluationConfig) -> Evaluated:
    """Asks first and scores after; killed and called again, it goes on where it was.

    Writes `out`/responses/TASK.SYSTEM.jsonl, a line a reply, and `out`/results.json and answers.json.

    Raises:
        SpeechLLMError: `out` holds the replies of another checkpoint or of other settings.
    """
    model = SpeechLLM.from_pretrained(
        checkpoint, dtype=compute_dtype(config.dtype), device=compute_device(config.device)
    )
    processor = SpeechLLMProcessor.from_pretrained(checkpoint)
    _settle(out, checkpoint, config, model)
    tasks = recognised(tasks, model, out / RECOGNISED)
    sampling = Sampling(max_new_tokens=config.max_new_tokens)
    text = TextReplier(model.language_model, processor.tokenizer)
    speech = SpeechReplier(model, processor)
    answered = []
    for task in tasks:
        replies = {
            system: ask(
                task,
                system,
                asked_as(system, config.attributes, model.config.transcript),
                speech if system == MODEL else text,
                sampling,
                out / RESPONSES,
            )
            for system in SYSTEMS
        }
        answered.append(Answers(task, replies))
    results = score(answered)
    if config.retention:
        results["text_retention"] = text_retention(model, processor)
    found = {answers.task.name: {s: answers.extracted(s) for s in answers.replies} for answers in answered}
    write_json(found, out / ANSWERS)
    write_json(results, out / RESULTS)
    return Evaluated(results, answered)


def _settle(out: Path, checkpoint: str, config: EvaluationConfig, model: SpeechLLM) -> None:
    """Refuses a folder of another evaluation."""
    trained = hashlib.sha256()
    for _, tensor in sorted(model.adapter_state().items()):
        trained.update(tensor.detach().float().cpu().numpy().tobytes())
    told = {
        "adapter": trained.hexdigest(),
        "encoder": model.config.encoder,
        "llm": model.config.llm,
        "attributes": list(config.attributes) if config.attributes is not None else None,
        "max_new_tokens": config.max_new_tokens,
        "dtype": str(model.language_model.dtype),
    }
    path = out / SETTINGS
    if path.exists():
        before = json.loads(path.read_text(encoding="utf-8"))
        changed = [key for key in told if before.get(key) != told[key]]
        if changed:
            raise SpeechLLMError(
                f"{out}: holds replies of another evaluation ({', '.join(changed)} differ); name another --out"
            )
    write_json({"checkpoint": checkpoint, **told}, path)


def recognised(tasks: Sequence[Task], model: SpeechLLM, cache: Path) -> list[Task]:
    """The tasks with what the model's own Whisper hears in every clip that no recogniser has been at."""
    lacking = {_key(u): u for u in _clips(tasks) if u.recognised_text is None}
    if not lacking:
        return list(tasks)
    heard: dict[str, str] = json.loads(cache.read_text(encoding="utf-8")) if cache.exists() else {}
    missing = [u.model_copy(update={"id": key}) for key, u in lacking.items() if key not in heard]
    if missing:
        found = Recogniser(model.config.encoder, model.device).transcribe_utterances(missing)
        heard |= {u.id: u.recognised_text or "" for u in found}
        write_json(heard, cache)

    def filled(question: Question) -> Question:
        clips = [
            u if u.recognised_text is not None else u.model_copy(update={"recognised_text": heard[_key(u)]})
            for u in question.utterances
        ]
        return replace(question, utterances=tuple(clips))

    return [replace(task, questions=tuple(map(filled, task.questions))) for task in tasks]


def _clips(tasks: Iterable[Task]) -> Iterable[Utterance]:
    return (u for task in tasks for question in task.questions for u in question.utterances)


def _key(utterance: Utterance) -> str:
    return f"{utterance.audio}:{utterance.start}-{utterance.end}"


def write_json(value: Any, path: Path) -> None:
    """Writes JSON aside and renames it."""
    with written_aside(path) as file:
        json.dump(value, file, indent=2, ensure_ascii=False)
