"""The adapter checkpoint as a folder that stands for itself: weights, config, processor, fingerprint and model card."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import torch
import transformers

from speechllm import __version__, hub
from speechllm.config import TrainConfig
from speechllm.data.jsonl import umask
from speechllm.errors import SpeechLLMError
from speechllm.models.configuration import SpeechLLMConfig
from speechllm.models.modeling import WEIGHTS, SpeechLLM
from speechllm.models.processing import SpeechLLMProcessor
from speechllm.targets.records import TargetRecord

CARD = "README.md"
FACTS = "training.json"


@dataclass(frozen=True)
class TrainingFacts:
    """What the model card says about where the adapter comes from."""

    stages: list[dict[str, Any]] = field(default_factory=list)
    datasets: list[str] = field(default_factory=list)
    hours: float = 0.0
    targets: int = 0
    strategies: dict[str, int] = field(default_factory=dict)
    generators: list[str] = field(default_factory=list)
    seed: int = 0
    versions: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls, records: Sequence[TargetRecord], datasets: Sequence[str], seconds: float, config: TrainConfig
    ) -> TrainingFacts:
        """Collects the facts of a run on `seconds` of audio."""
        return cls(
            stages=[asdict(stage) for stage in config.stages],
            datasets=sorted(datasets),
            hours=round(seconds / 3600, 3),
            targets=len(records),
            strategies=dict(Counter(record.strategy for record in records)),
            generators=sorted({f"{record.generator} ({record.generator_revision[:12]})" for record in records}),
            seed=config.seed,
            versions={"speechllm": __version__, "torch": torch.__version__, "transformers": transformers.__version__},
        )


def write_checkpoint(
    model: SpeechLLM, processor: SpeechLLMProcessor, folder: Path, facts: TrainingFacts | None = None
) -> Path:
    """Writes an adapter checkpoint beside `folder` and renames it, so that a half-written one never has its name.

    Raises:
        SpeechLLMError: the file system refuses; an older checkpoint at `folder` still stands.
    """
    told = asdict(facts or TrainingFacts())
    with folder_aside(folder) as aside:
        model.save_pretrained(aside)
        processor.save_pretrained(aside)
        (aside / FACTS).write_text(json.dumps(told, indent=2, default=str), encoding="utf-8")  # paths
        (aside / CARD).write_text(model_card(model.config, told, {}), encoding="utf-8")
    return folder


def export(checkpoint: str, out: Path, results: Path | None = None, push_to: str | None = None) -> Path:
    """Copies an adapter checkpoint to `out` with a model card that holds the measured results.

    Args:
        checkpoint: local folder or Hugging Face id.
        out: the folder to write; replaced if it is a checkpoint already.
        results: `results.json` of an evaluation, for the card.
        push_to: Hugging Face repository to upload to as well.

    Raises:
        SpeechLLMError: not a checkpoint, results that are not JSON, or the upload is refused.
    """
    source = hub.resolve(checkpoint)
    if not (source / WEIGHTS).is_file():
        raise SpeechLLMError(
            f"{source}: is not an adapter checkpoint ({WEIGHTS} is missing); give the folder that training wrote"
        )
    if out.exists() and not (out / WEIGHTS).is_file():
        raise SpeechLLMError(f"{out}: exists and is not an adapter checkpoint; give a folder that does not exist yet")
    facts = (
        json.loads((source / FACTS).read_text(encoding="utf-8"))
        if (source / FACTS).exists()
        else asdict(TrainingFacts())
    )
    measured = read_results(results) if results is not None else {}
    with folder_aside(out) as aside:
        shutil.copytree(source, aside, dirs_exist_ok=True)
        card = model_card(SpeechLLMConfig.from_pretrained(source), facts, measured)
        (aside / CARD).write_text(card, encoding="utf-8")
    if push_to is not None:
        hub.upload(out, push_to)
    return out


def read_results(path: Path) -> dict[str, Any]:
    """The results of an evaluation.

    Raises:
        SpeechLLMError: the file is missing or not a JSON object.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SpeechLLMError(
            f"{path}: cannot be read as results ({error}); give the results.json of an evaluation"
        ) from error
    if not isinstance(values, dict):
        raise SpeechLLMError(f"{path}: is not a JSON object; give the results.json of an evaluation")
    return values


def model_card(config: SpeechLLMConfig, facts: dict[str, Any], results: dict[str, Any]) -> str:
    """The README.md of a checkpoint, in the Hugging Face form."""
    source = resources.files("speechllm").joinpath("model_card.md.jinja").read_text(encoding="utf-8")
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(source).render(config=config, facts=facts, results=results)


@contextmanager
def folder_aside(folder: Path) -> Iterator[Path]:
    """A new folder beside `folder` that takes its name only if the block ends without an error."""
    folder = Path(folder)
    aside: Path | None = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
        aside.chmod(0o777 & ~umask())  # mkdtemp makes folders that only their owner can enter
        yield aside
        if folder.exists():
            old = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.old."))
            try:
                folder.replace(old / "it")
                aside.replace(folder)
            except OSError:
                if not folder.exists():
                    (old / "it").replace(folder)
                raise
            finally:
                if folder.exists():
                    shutil.rmtree(old, ignore_errors=True)
        else:
            aside.replace(folder)
    except SpeechLLMError as error:  # name the folder that was asked for
        raise SpeechLLMError(str(error).replace(str(aside), str(folder))) from error
    except OSError as error:
        raise SpeechLLMError(
            f"{folder}: cannot be written: {error.strerror or error}; free some space or pick another folder"
        ) from error
    finally:
        if aside is not None:
            shutil.rmtree(aside, ignore_errors=True)
