"""What is left of the text LLM: logits, replies and predictions on text, beside those of the untouched LLM."""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib import resources
from typing import Any

import torch

from speechllm import progress
from speechllm.data.instructions import Size, instructions
from speechllm.data.render import Message, ask
from speechllm.eval.json_form import parse_json
from speechllm.models.llm import load_llm
from speechllm.models.modeling import SpeechLLM, rows_only
from speechllm.models.processing import SpeechLLMProcessor
from speechllm.models.reply import Reply, Sampling, TextReplier
from speechllm.targets.filters import refuses

_UNTOUCHED: dict[tuple[Any, ...], Sequence[Reply]] = {}
"""What an untouched LLM replied to the instructions: one process compares many checkpoints with it."""

TOGETHER = 8
"""Instructions whose logits are compared at once."""

WINDOW = 512
"""Tokens of the passage that are read at once."""


def _package_text(name: str) -> str:
    return resources.files("speechllm.eval").joinpath(name).read_text(encoding="utf-8")


def text_retention(
    model: SpeechLLM, processor: SpeechLLMProcessor, size: Size = "quick", max_new_tokens: int = 32
) -> dict[str, Any]:
    """Compares the trained model with the LLM loaded anew from its reference, in the same precision.

    Returns:
        `n` instructions, `max_abs_logit_difference` over all positions of all of them, `identical_replies`; `kl`, the
        mean divergence a reply token of the untouched LLM's predictions from the model's, on the untouched LLM's
        replies; `json_rate` of the instructions that ask for JSON and `refusal_rate` of the harmful ones, and with
        `full` the `perplexity` of a passage; the last three for `model` and `untouched`.
    """
    untouched = load_llm(model.config.llm, model.language_model.dtype).to(model.device).eval()
    model.eval()
    asked = instructions(size)
    conversations = [ask(instruction.text) for instruction in asked]
    sampling = Sampling(max_new_tokens=max_new_tokens)
    # The quick form goes the way of a user's `model.generate`, the full one through the fast decoder.
    plain = size == "quick"
    asked_how = (model.config.llm, str(untouched.dtype), str(untouched.device), size, max_new_tokens)
    replies: dict[str, Sequence[Reply]] = {}
    for name, llm in (("model", model if plain else model.language_model), ("untouched", untouched)):
        if name == "model" or asked_how not in _UNTOUCHED:
            replier = TextReplier(llm, processor.tokenizer, plain=plain)
            replies[name] = replier(conversations, sampling, f"text replies, {name}")
    replies["untouched"] = _UNTOUCHED.setdefault(asked_how, replies.get("untouched", ()))
    found: dict[str, Any] = {"n": len(asked)}
    found |= _compare(model, untouched, processor, conversations, replies["untouched"])
    found["identical_replies"] = sum(a == b for a, b in zip(replies["model"], replies["untouched"], strict=True))
    for name, kind, holds in (
        ("json_rate", "json", lambda text: parse_json(text) is not None),
        ("refusal_rate", "harm", refuses),
    ):
        mine = [k for k, instruction in enumerate(asked) if instruction.kind == kind]
        found[name] = {who: sum(bool(holds(said[k].text)) for k in mine) / len(mine) for who, said in replies.items()}
    if size == "full":
        passage = _package_text("passage.txt")
        found["perplexity"] = {
            who: perplexity(llm, processor.tokenizer, passage)
            for who, llm in (("model", model.language_model), ("untouched", untouched))
        }
    return found


@torch.inference_mode()
def _compare(
    model: SpeechLLM,
    untouched: Any,
    processor: SpeechLLMProcessor,
    conversations: Sequence[list[Message]],
    replies: Sequence[Reply],
) -> dict[str, float]:
    """Logits of both on the same tokens: the instruction and what the untouched LLM replies to it."""
    difference, divergence, tokens = 0.0, 0.0, 0
    for at in progress.track(range(0, len(replies), TOGETHER), "compare logits"):
        asked, said = conversations[at : at + TOGETHER], replies[at : at + TOGETHER]
        ended = [reply.finish_reason == "stop" for reply in said]
        batch = processor.tokenise(asked, [[]] * len(asked), [reply.text for reply in said], ended).to(model.device)
        inputs = {key: batch[key] for key in ("input_ids", "attention_mask")}
        mine, theirs = (llm(**inputs).logits.float() for llm in (model, untouched))
        real, rows = inputs["attention_mask"].bool(), batch["labels"][:, 1:] != -100
        difference = max(difference, float((mine[real] - theirs[real]).abs().max()))
        log_p, log_q = theirs[:, :-1][rows].log_softmax(-1), mine[:, :-1][rows].log_softmax(-1)
        divergence += float((log_p.exp() * (log_p - log_q)).sum())
        tokens += int(rows.sum())
    return {"max_abs_logit_difference": difference, "kl": divergence / max(tokens, 1)}


@torch.inference_mode()
def perplexity(language_model: Any, tokenizer: Any, text: str) -> float:
    """Of the text's tokens but the first of each window of 512."""
    ids = torch.tensor(tokenizer(text, add_special_tokens=False)["input_ids"], device=language_model.device)
    total, count = 0.0, 0
    for window in ids.split(WINDOW):
        if len(window) < 2:
            continue
        predicts = torch.ones(1, len(window), dtype=torch.bool, device=ids.device)
        predicts[0, -1] = False
        with rows_only(language_model, predicts):
            logits = language_model(input_ids=window[None], use_cache=False).logits
        total += float(torch.nn.functional.cross_entropy(logits.float(), window[1:], reduction="sum"))
        count += len(window) - 1
    return math.exp(total / max(count, 1))
