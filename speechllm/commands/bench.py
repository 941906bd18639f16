"""Measurements of speed, on this machine, beside the plain way."""

from __future__ import annotations

import json as json_library

from speechllm.commands.arguments import Manifest


def bench_generate(
    manifest: Manifest,
    llm: str = "pypi:smollm2-135m-instruct",
    attributes: tuple[str, ...] = ("gender", "pitch", "speaking_rate"),
    prompts: int = 256,
    max_new_tokens: int = 256,
    batch_size: int = 64,
    seed: int = 0,
    json: bool = False,
) -> None:
    """Measures how fast targets are generated, beside plain `model.generate` on padded batches of 64.

    Args:
        manifest: Utterance manifest with text and attributes.
        llm: Model reference of the LLM.
        attributes: Attributes that the descriptions mention and the prompts ask for, beside the transcript.
        prompts: How many prompts both ways answer.
        max_new_tokens: Longest reply.
        batch_size: Replies in the making at any time; the plain way has 64.
        seed: Of the choice of utterances and prompts.
        json: Print one JSON object alone.
    """
    from speechllm import stages
    from speechllm.data.manifest import read_manifest
    from speechllm.data.prompts import TRANSCRIBE, built_in_prompts, plain
    from speechllm.errors import SpeechLLMError
    from speechllm.models.reply import TextReplier
    from speechllm.targets.bench import bench_generation
    from speechllm.targets.generate import choose_prompts, works

    utterances = read_manifest(manifest)
    each = -(-prompts // len(utterances))
    pairs = choose_prompts(utterances, plain(built_in_prompts([TRANSCRIBE, *attributes], "en")), each, seed)[:prompts]
    replier = stages.load_text_llm(llm).reply
    if not isinstance(replier, TextReplier):
        raise SpeechLLMError(f"{llm}: is not run in this process")
    work = works(pairs, {"self_output": 1.0}, attributes=attributes)
    texts = [replier.renderer.prompt(w.item.described) for w in work]
    result = bench_generation(replier, texts, max_new_tokens, batch_size)
    if json:
        print(json_library.dumps(result))
        return
    print(
        f"{result['fast_tokens_per_second']} tokens/s, {result['ratio']} x the {result['plain_tokens_per_second']} of"
        f" model.generate; {result['same_replies']:.1%} of {result['prompts']} replies are the same"
    )
