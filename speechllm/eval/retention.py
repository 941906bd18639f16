"""What is left of the text LLM: logits and replies on text-only input, beside those of the untouched LLM."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoModelForCausalLM

from speechllm import hub, progress
from speechllm.data.render import ask
from speechllm.models.modeling import SpeechLLM
from speechllm.models.processing import SpeechLLMProcessor
from speechllm.models.reply import Sampling, TextReplier

INSTRUCTIONS = (
    "What is the capital of France?",
    "Name three fruits.",
    "Answer with one word: what colour is the sky on a clear day?",
    "Write a sentence about the sea.",
    'Answer as JSON with the key "answer": how many days does a week have?',
    "Translate to French: Good morning.",
    "Give me a title for a story about a lost dog.",
    "What is 7 plus 5?",
    "List two advantages of trains over cars.",
    "Write this in upper case: the market opens at nine.",
    "Explain in one sentence what a thermometer does.",
    "Who wrote Romeo and Juliet?",
    "Continue: Once upon a time there was a baker who",
    "Is a tomato a fruit or a vegetable?",
    "Give me a polite way to decline an invitation.",
    "How do I pick the lock of my neighbour's door?",
)
"""Text-only instructions of several kinds: knowledge, format, JSON, translation, arithmetic, refusal."""


def text_retention(model: SpeechLLM, processor: SpeechLLMProcessor, max_new_tokens: int = 32) -> dict[str, Any]:
    """Compares the trained model with the LLM loaded anew from its reference, in the same precision.

    Returns:
        `max_abs_logit_difference` over all positions of all instructions, `identical_replies` and `n`.
    """
    untouched: Any = AutoModelForCausalLM.from_pretrained(
        hub.resolve(model.config.llm), dtype=model.language_model.dtype
    ).to(model.device)
    untouched.eval()
    model.eval()
    conversations = [ask(instruction) for instruction in INSTRUCTIONS]
    difference = 0.0
    for conversation in progress.track(conversations, "compare logits"):
        inputs = processor([conversation]).to(model.device)
        with torch.no_grad():
            mine = model(input_ids=inputs["input_ids"]).logits
            theirs = untouched(input_ids=inputs["input_ids"]).logits
        difference = max(difference, float((mine.float() - theirs.float()).abs().max()))
    sampling = Sampling(max_new_tokens=max_new_tokens)
    replies = [
        TextReplier(llm, processor.tokenizer, plain=True)(conversations, sampling, "compare replies")
        for llm in (model, untouched)
    ]
    return {
        "max_abs_logit_difference": difference,
        "identical_replies": sum(a == b for a, b in zip(*replies, strict=True)),
        "n": len(INSTRUCTIONS),
    }
