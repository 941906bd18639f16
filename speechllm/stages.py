"""The stages of the loop from files to files: what the command line calls and the quickstart chains."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from speechllm.data.describe import STYLES, DescriptionStyle
from speechllm.data.jsonl import write_jsonl, written_aside
from speechllm.data.manifest import Utterance, read_manifest, relocated, write_manifest
from speechllm.data.prompts import TRANSCRIBE, Prompt, built_in_prompts, plain, read_prompts
from speechllm.errors import SpeechLLMError
from speechllm.eval.hearing import labelled, score
from speechllm.eval.retention import text_retention
from speechllm.eval.systems import SYSTEMS, Answers, Question, ask_all
from speechllm.models.modeling import SpeechLLM
from speechllm.models.processing import SpeechLLMProcessor
from speechllm.models.recogniser import Recogniser
from speechllm.models.reply import Sampling, SpeechReplier, TextReplier, compute_device, compute_dtype
from speechllm.targets.generate import Generator, choose_prompts, generate_targets
from speechllm.targets.generation import load_text_llm as load_text_llm
from speechllm.targets.masking import Surprisal
from speechllm.targets.records import TargetRecord
from speechllm.targets.search import DEFAULT_SYSTEMS, Scored, keep_faithful, search_prompts


def load_surprisal(reference: str) -> Surprisal:
    """Loads an LLM to tell how much replies surprise it."""
    reply = load_text_llm(reference).reply
    assert isinstance(reply, TextReplier)
    return Surprisal(reply.model, reply.tokenizer)


def recognise(manifest: Path, out: Path, encoder: str, device: str = "auto") -> list[Utterance]:
    """Writes the manifest again with `recognised_text`, what a Whisper heard; returns it as read back."""
    utterances = read_manifest(manifest)  # complain before a model is fetched
    heard = Recogniser(encoder, compute_device(device)).transcribe_utterances(utterances)
    write_manifest(out, relocated(heard, out.parent))
    return read_manifest(out)


def find_prompts(
    utterances: Sequence[Utterance],
    llm: Generator,
    out: Path,
    *,
    attributes: Sequence[str] | None = None,
    pool: Sequence[Prompt] | None = None,
    styles: Sequence[DescriptionStyle] = STYLES,
    systems: Sequence[str | None] = DEFAULT_SYSTEMS,
    first_round: int = 8,
    second_round: int = 32,
    seed: int = 0,
    surprisal: bool = False,
) -> list[Scored]:
    """Searches the prompts that this LLM answers faithfully and writes those kept to `out`; returns all finalists.

    `surprisal` has the LLM read the finalists' replies again.
    """
    kinds = [TRANSCRIBE, *(attributes or sorted({name for u in utterances for name in u.attributes}))]
    candidates = list(pool) if pool is not None else plain(built_in_prompts(kinds, "en"))
    if not candidates:
        raise SpeechLLMError(f"no prompts of the kinds {', '.join(kinds)}; give a file of your own with --pool")
    scored = search_prompts(
        candidates,
        utterances,
        llm.reply,
        styles=styles,
        systems=systems,
        attributes=attributes,
        first_round=first_round,
        second_round=second_round,
        seed=seed,
        surprisal=Surprisal(llm.reply.model, llm.reply.tokenizer)
        if surprisal and isinstance(llm.reply, TextReplier)
        else None,
    )
    write_jsonl(out, keep_faithful(scored))
    return scored


def write_targets(
    utterances: Sequence[Utterance],
    prompts: Sequence[Prompt],
    llm: Generator,
    out: Path,
    *,
    attributes: Sequence[str] | None = None,
    per_utterance: int = 1,
    sampling: Sampling | None = None,
    seed: int = 0,
) -> list[TargetRecord]:
    """Lets the LLM answer chosen prompts about every described utterance; writes the target records to `out`."""
    pairs = choose_prompts(utterances, prompts, per_utterance, seed)
    return generate_targets(pairs, llm, sampling or Sampling(), out, attributes=attributes)


def evaluate(
    checkpoint: str,
    manifest: Path,
    prompts: Path,
    out: Path,
    *,
    attributes: Sequence[str] | None = None,
    device: str = "auto",
    dtype: str = "auto",
    max_new_tokens: int = 32,
) -> tuple[dict[str, Any], Answers]:
    """Hearing on labelled utterances beside ceiling, cascade and chance, and text retention.

    Asks the first prompt of each kind in `prompts`. Writes `out/answers.jsonl` and `out/results.json`.
    """
    utterances = read_manifest(manifest)
    first = {prompt.kind: prompt for prompt in reversed(read_prompts(prompts))}
    model = SpeechLLM.from_pretrained(checkpoint, dtype=compute_dtype(dtype), device=compute_device(device))
    processor = SpeechLLMProcessor.from_pretrained(checkpoint)
    if model.config.transcript and any(u.recognised_text is None for u in utterances):
        raise SpeechLLMError(
            f"{manifest}: the model takes the recogniser's words but the manifest has none; add them with"
            f" `speechllm transcribe {manifest} OUT.jsonl --encoder {model.config.encoder}`"
        )
    questions = [Question(u, prompt) for kind, prompt in sorted(first.items()) for u in labelled(utterances, kind)]
    if not questions:
        raise SpeechLLMError(f"{manifest}: no utterance has the text or attributes that {prompts} asks for")
    answers = ask_all(
        questions,
        SpeechReplier(model, processor),
        TextReplier(model.language_model, processor.tokenizer),
        attributes=attributes,
        transcript=model.config.transcript,
        sampling=Sampling(max_new_tokens=max_new_tokens),
    )
    results = {**score(answers), "text_retention": text_retention(model, processor)}
    write_answers(answers, out / "answers.jsonl")
    write_json(results, out / "results.json")
    return results, answers


def write_answers(answers: Answers, path: Path) -> None:
    """One line a question: what was asked, what is true, and what each system said."""
    with written_aside(path) as file:
        for i, question in enumerate(answers.questions):
            u, prompt = question.utterance, question.prompt
            row = {"id": u.id, "kind": prompt.kind, "prompt": prompt.text, "text": u.text, "attributes": u.attributes}
            said = {system: answers.replies[system][i].text for system in SYSTEMS}
            file.write(json.dumps({**row, **said}, ensure_ascii=False) + "\n")


def write_json(value: Any, path: Path) -> None:
    """Writes JSON aside and renames it."""
    with written_aside(path) as file:
        json.dump(value, file, indent=2, ensure_ascii=False)
