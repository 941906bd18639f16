"""The stages of the loop from files to files: what the command line calls and the quickstart chains."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from speechllm.data.describe import STYLES, DescriptionStyle
from speechllm.data.jsonl import write_jsonl
from speechllm.data.manifest import Utterance, read_manifest, relocated, write_manifest
from speechllm.data.prompts import TRANSCRIBE, Prompt, built_in_prompts, plain
from speechllm.data.readable import Tally, readable, undecodable
from speechllm.errors import SpeechLLMError
from speechllm.models.recogniser import Recogniser
from speechllm.models.reply import Sampling, TextReplier, compute_device
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
    """Writes the manifest again with what a Whisper heard; returns it as read back.

    Fills `recognised_text`, and `text` and (with a multilingual Whisper) `language` where there is none. Broken files
    are reported and left out, also those whose sound breaks off behind a good header.
    """
    listed = read_manifest(manifest)
    opened = readable(listed)  # complain before a model is fetched
    broken = undecodable(opened)
    Tally(len(listed), count=len(listed) - len(opened)).add(list(broken.values()))
    utterances = [utterance for utterance in opened if utterance.id not in broken]
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
