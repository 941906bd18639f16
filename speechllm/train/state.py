"""Where a run stands: what a killed run needs to go on as if nothing had happened."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from speechllm.errors import SpeechLLMError
from speechllm.models.modeling import SpeechLLM
from speechllm.train.identity import Identity, check_unchanged


@dataclass(frozen=True)
class Position:
    """The next step to take: `step` of `stage`; the best validation so far, and how many since were no better."""

    stage: int = 0
    step: int = 0
    best: float | None = None
    waited: int = 0


def save_state(
    path: Path, run: Identity, position: Position, model: SpeechLLM, optimizer: torch.optim.Optimizer | None
) -> None:
    """Writes the state beside `path` and renames it, so that what stands there is always whole.

    Raises:
        SpeechLLMError: the file system refuses; the older state still stands.
    """
    aside = path.with_name(f".{path.name}.part")
    state = {
        "run": run,
        "position": asdict(position),
        "adapter": model.adapter_state(),
        "optimizer": optimizer.state_dict() if optimizer is not None else None,
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(state, aside)
        aside.replace(path)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
        aside.unlink(missing_ok=True)
        raise SpeechLLMError(
            f"{path}: cannot be written: {error}; free some space, then start the run again"
        ) from error


def load_state(
    path: Path, run: Identity, model: SpeechLLM, allowed: Sequence[str] = ()
) -> tuple[Position, dict[str, Any] | None]:
    """Restores the adapter; returns where to go on, and the optimiser's state (None at a stage's start).

    Raises:
        SpeechLLMError: the state is damaged, belongs to another run (but for the keys that are `allowed` to differ), or
            does not fit the model.
    """
    if not path.exists():
        return Position(), None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        reason = "not a saved state" if isinstance(error, pickle.UnpicklingError) else str(error).partition(". ")[0]
        raise SpeechLLMError(f"{path}: is damaged ({reason}); delete it to start the run anew") from error
    if "run" not in state:
        raise SpeechLLMError(f"{path}: was saved by another version of speechllm; take that, or another out folder")
    check_unchanged(path, state["run"], run, allowed)
    mine = model.adapter_state()
    if {n: t.shape for n, t in mine.items()} != {n: t.shape for n, t in state["adapter"].items()}:
        raise SpeechLLMError(
            f"{path}: holds another adapter; that change cannot be gone on from, take another out folder"
        )
    with torch.no_grad():
        for name, parameter in mine.items():
            parameter.copy_(state["adapter"][name])
    return Position(**state["position"]), state["optimizer"]
