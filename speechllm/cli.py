"""The command line: one subcommand a stage, each a thin call of the package; `speechllm.commands` holds them."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import tyro

from speechllm.commands import bench, corpora, evaluation, lab, manifests, models, prompts, signals, targets, training
from speechllm.errors import SpeechLLMError, did_you_mean

Group = dict[str, Callable[..., None]]

COMMANDS: dict[str, Callable[..., None] | Group] = {
    "quickstart": training.quickstart,
    "hub": {"list": models.hub_list, "fetch": models.hub_fetch, "from-desta": models.hub_from_desta},
    "corpus": corpora.corpus,
    "prepare": corpora.prepare,
    "transcribe": corpora.transcribe,
    "manifest": {
        "validate": manifests.manifest_validate,
        "stats": manifests.manifest_stats,
        "merge": manifests.manifest_merge,
        "split": manifests.manifest_split,
        "filter": manifests.manifest_filter,
        "shard": manifests.manifest_shard,
    },
    "measure": signals.measure,
    "augment": signals.augment,
    "prompts": {"search": prompts.prompts_search},
    "targets": {
        "generate": targets.targets_generate,
        "inspect": targets.targets_inspect,
        "to-desta": targets.targets_to_desta,
        "from-desta": targets.targets_from_desta,
    },
    "train": training.train,
    "eval": evaluation.evaluate,
    "score": evaluation.score,
    "report": evaluation.report,
    "lab": {"run": lab.lab_run, "report": lab.lab_report},
    "export": models.export,
    "chat": models.chat,
    "bench": {
        "generate": bench.bench_generate,
        "train": bench.bench_train,
        "reference": bench.bench_reference,
        "load": bench.bench_load,
    },
}
"""In the order of the loop."""

GROUPS = {
    "hub": "Models by reference: list, fetch; published Q-Formers of DeSTA's: from-desta.",
    "manifest": "Utterance manifests: validate, stats, merge, split, filter, shard.",
    "prompts": "Prompts that an LLM answers faithfully: search.",
    "targets": "The replies to learn: generate, inspect, to and from rows of DeSTA's form.",
    "lab": "Experiments of several arms, on skill and forgetting: run, report.",
    "bench": "Speed on this machine: generate, train, reference, load.",
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
        return error.exit_status
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
        config=(tyro.conf.OmitArgPrefixes,),
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
