"""Where a run's figures go beside its own log: TensorBoard, or Weights & Biases."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Protocol

from speechllm.errors import SpeechLLMError

TrackerName = Literal["tensorboard", "wandb"]


class Tracker(Protocol):
    """Takes figures by name, step by step."""

    def log(self, figures: dict[str, float], step: int) -> None:
        """Takes the figures of a step, counted over all stages."""
        ...

    def close(self) -> None:
        """Writes what is left."""
        ...


class TensorBoard:
    """Event files in `tensorboard/` of the run's folder."""

    def __init__(self, out: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise SpeechLLMError(
                f"trackers: tensorboard is not installed ({error}); pip install speechllm[tensorboard]"
            ) from error
        self._writer = SummaryWriter(out / "tensorboard")

    def log(self, figures: dict[str, float], step: int) -> None:
        """See `Tracker`."""
        for name, value in figures.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """See `Tracker`."""
        self._writer.close()


class WandB:
    """A run of Weights & Biases, named after the run's folder; goes on where one of that name stopped."""

    def __init__(self, out: Path, config: dict[str, Any]) -> None:
        try:
            import wandb
        except ImportError as error:
            raise SpeechLLMError(f"trackers: wandb is not installed ({error}); pip install speechllm[wandb]") from error
        self._run = wandb.init(project="speechllm", id=out.resolve().name, resume="allow", dir=out, config=config)

    def log(self, figures: dict[str, float], step: int) -> None:
        """See `Tracker`."""
        self._run.log(figures, step=step)

    def close(self) -> None:
        """See `Tracker`."""
        self._run.finish()


def open_tracker(name: TrackerName, out: Path, config: dict[str, Any]) -> Tracker:
    """The tracker of that name.

    Raises:
        SpeechLLMError: its package is not installed; says how to install it.
    """
    return TensorBoard(out) if name == "tensorboard" else WandB(out, config)


def scalars(entry: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """The figures of a log's entry; those of a validation as `validation/loss` and so on."""
    for key, value in entry.items():
        if isinstance(value, dict):
            yield from scalars(value, f"{prefix}{key}/")
        elif isinstance(value, int | float) and not isinstance(value, bool) and key not in ("stage", "step"):
            yield f"{prefix}{key}", float(value)
