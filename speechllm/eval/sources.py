"""Where tasks come from: official benchmark folders, a manifest, a TOML file of the user's, or Python."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from speechllm.data.attributes import ATTRIBUTES
from speechllm.data.manifest import read_manifest
from speechllm.data.prompts import TRANSCRIBE, Prompt, built_in_prompts, plain, read_prompts
from speechllm.errors import SpeechLLMError, did_you_mean
from speechllm.eval.air_bench_folder import air_bench
from speechllm.eval.folders import dynamic_superb, mmau, sakura
from speechllm.eval.ifeval_folder import ifeval
from speechllm.eval.phase2_folder import dynamic_superb_phase2
from speechllm.eval.speech_ifeval_folder import speech_ifeval
from speechllm.eval.superb_style import superb_style
from speechllm.eval.task_file import read_task
from speechllm.eval.tasks import Task, attribute_task, speaker_task
from speechllm.eval.voicebench_folder import voicebench

Load = Callable[[Path], list[Task]]
"""From a folder, or a manifest for `superb_style`, to the tasks in it."""

SOURCES: dict[str, Load] = {
    "sakura": sakura,
    "dynamic_superb": dynamic_superb,
    "dynamic_superb_phase2": dynamic_superb_phase2,
    "mmau": mmau,
    "speech_ifeval": speech_ifeval,
    "ifeval": ifeval,
    "air_bench": air_bench,
    "voicebench": voicebench,
    "superb_style": superb_style,
}
"""By the first part of a task's name; `register` adds to them."""


def register(name: str, load: Load) -> None:
    """Adds a source of tasks under a name that `speechllm eval --tasks` takes."""
    SOURCES[name] = load


def find_tasks(names: Sequence[str], data: Path | None) -> list[Task]:
    """The tasks of these names, each once.

    Args:
        names: `sakura` (all its tasks), `sakura.emotion` (those that begin so), or a TOML file (see
            `speechllm.eval.task_file`).
        data: folder of the benchmarks: `data`/sakura, or itself where only one source is asked for; a manifest for
            `superb_style`.

    Raises:
        SpeechLLMError: unknown name (suggests the nearest), missing folder, a file that is not as it should be, or two
            that make a task of the same name.
    """
    found: dict[str, Task] = {}
    for name in dict.fromkeys(names):
        if name.endswith(".toml"):
            task = read_task(Path(name))
            if task.name in found:
                raise SpeechLLMError(f"{name}: name: another task is called {task.name!r}, too; give it another")
            found[task.name] = task
            continue
        source = name.partition(".")[0]
        if source not in SOURCES:
            raise SpeechLLMError(f"there is no task {name!r}{did_you_mean(source, SOURCES)}")
        if data is None:
            raise SpeechLLMError(f"task {name!r} needs its data; give the folder with --data")
        tasks = SOURCES[source](data / source if (data / source).is_dir() else data)
        matching = [task for task in tasks if task.name == name or task.name.startswith(f"{name}.")]
        if not matching:
            known = [task.name for task in tasks]
            raise SpeechLLMError(f"{data}: has no task {name!r}{did_you_mean(name, known)} (there: {', '.join(known)})")
        found |= {task.name: task for task in matching}
    return list(found.values())


SURROUNDINGS = {
    "sound": "Which sound is there in the recording?",
    "noise": "How much noise is there in the background: very low, low, medium, high or very high?",
    "reverberation": "How much does the room reverberate: very low, low, medium, high or very high?",
}
"""What is asked about the surroundings, of which targets tell without being asked."""


def manifest_tasks(manifest: Path, prompts: Path | None = None) -> list[Task]:
    """A task for each attribute of a manifest, and recognition where it has text: one prompt a kind.

    Args:
        manifest: labelled utterances.
        prompts: the first prompt of each kind is asked; None asks with the package's own for all attributes, and
            whether two recordings are of one speaker.
    """
    utterances = read_manifest(manifest)
    if prompts is not None:
        pool = read_prompts(prompts)
    else:
        # A raw number, such as 12.3 dB, is nothing that a reply could name; `speechllm measure` writes words beside it.
        names = (*ATTRIBUTES, *SURROUNDINGS)
        said = [name for name in names if any(isinstance(u.value(name), str) for u in utterances)]
        pool = plain(built_in_prompts([TRANSCRIBE, *(name for name in said if name in ATTRIBUTES)], "en"))
        pool += [Prompt(id=name, kind=name, text=SURROUNDINGS[name]) for name in said if name in SURROUNDINGS]
    first = {prompt.kind: prompt for prompt in reversed(pool)}
    tasks = [attribute_task(kind, utterances, prompt) for kind, prompt in sorted(first.items())]
    if prompts is None:
        tasks.append(speaker_task(utterances))
    tasks = [task for task in tasks if task.questions]
    if not tasks:
        raise SpeechLLMError(f"{manifest}: no utterance has the text or attributes that {prompts or 'prompts'} ask for")
    return tasks


def asked_for(
    names: Sequence[str], data: Path | None, manifest: Path | None = None, prompts: Path | None = None
) -> list[Task]:
    """The tasks of these names (`find_tasks`) and of a manifest, asked with the prompts of a file where one is given.

    Raises:
        SpeechLLMError: nothing is asked for, or two tasks have the same name.
    """
    found = find_tasks(names, data)
    if prompts is not None:
        found = with_prompts(found, read_prompts(prompts))
    if manifest is not None:
        about = manifest_tasks(manifest, prompts)
        twice = next((task.name for task in about if task.name in {other.name for other in found}), None)
        if twice is not None:
            raise SpeechLLMError(f"{manifest}: there is a task {twice!r} in --tasks, too; call that one otherwise")
        found += about
    if not found:
        raise SpeechLLMError("nothing to ask; give --manifest, or --tasks with --data")
    return found


def with_prompts(tasks: Sequence[Task], prompts: Sequence[Prompt]) -> list[Task]:
    """Tasks whose questions are open ask the first prompt of their kind instead of the package's own."""
    first = {prompt.kind: prompt for prompt in reversed(prompts)}
    return [
        replace(
            task,
            questions=tuple(
                replace(q, prompt=first.get(q.prompt.kind, q.prompt)) if task.open else q for q in task.questions
            ),
        )
        for task in tasks
    ]
