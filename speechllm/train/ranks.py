"""The processes that train together, one a device, as `torchrun` or SLURM start them.

What is trained is small beside what is frozen, so each process holds all of it, and data parallelism is one sum of
gradients and counts over the processes before the optimiser's step: whatever the split of a batch, the gradient is that
of the mean over all its reply tokens. The frozen LLM may be sharded (FSDP2), which changes where its weights lie only.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import torch
from accelerate import PartialState
from accelerate.utils import reduce
from torch.distributed.fsdp import fully_shard

from speechllm.errors import SpeechLLMError
from speechllm.models.reply import compute_device

T = TypeVar("T")


def as_torchrun_does() -> None:
    """Gives the tasks of a step of SLURM (`srun speechllm train`) the variables that torchrun would give them.

    Whatever is set already stays: the variables of torchrun, also inside a task, go before.
    """
    tasks = os.environ.get("SLURM_STEP_NUM_TASKS", "1")
    if "WORLD_SIZE" in os.environ or int(tasks) < 2:
        return
    first_node = re.match(r"([^\[,]+)(?:\[(\d+))?", os.environ["SLURM_STEP_NODELIST"])
    assert first_node is not None
    local, devices = int(os.environ["SLURM_LOCALID"]), torch.cuda.device_count()
    told = {
        "WORLD_SIZE": tasks,
        "RANK": os.environ["SLURM_PROCID"],
        "LOCAL_RANK": str(local % devices if devices else local),  # a task may see its own device only
        "MASTER_ADDR": "".join(part or "" for part in first_node.groups()),
        "MASTER_PORT": str(20_000 + int(os.environ["SLURM_JOB_ID"]) % 20_000),
    }
    for name, value in told.items():
        os.environ.setdefault(name, value)


class Ranks:
    """Which of how many processes this is; alone, every method is the identity."""

    def __init__(self, device: str = "cpu") -> None:
        as_torchrun_does()
        self.count = int(os.environ.get("WORLD_SIZE", "1"))
        self._state = PartialState(cpu=device == "cpu") if self.count > 1 else None
        self.index: int = self._state.process_index if self._state else 0
        self.device: torch.device = self._state.device if self._state else compute_device(device)
        self.main = self.index == 0

    def share(self, batch: Sequence[T]) -> Sequence[T]:
        """This process's part of a batch that all processes know.

        Raises:
            SpeechLLMError: the parts would not be of one size; a sharded LLM needs as many passes on every process.
        """
        if len(batch) % self.count:
            raise SpeechLLMError(
                f"batch_size {len(batch)} cannot be shared among {self.count} processes; give a multiple of that"
            )
        return batch[self.index :: self.count]

    def sum(self, *values: float) -> list[float]:
        """Sums over all processes, each of one value."""
        if self._state is None:
            return list(values)
        total: torch.Tensor = reduce(torch.tensor(values, dtype=torch.float64, device=self.device), "sum")
        return total.tolist()

    def of_main(self, value: float) -> float:
        """The main process's value, so that all decide alike where rounding differs."""
        return self.sum(value if self.main else 0.0)[0]

    def sum_gradients(self, parameters: Iterable[torch.Tensor]) -> None:
        """Sums gradients over all processes, in one transfer; one that only some processes have is 0 on the others."""
        if self._state is None:
            return
        every = list(parameters)
        anywhere = self.sum(*(float(p.grad is not None) for p in every))
        used = [p for p, ranks in zip(every, anywhere, strict=True) if ranks]
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in used]
        total: torch.Tensor = reduce(torch.cat([grad.flatten() for grad in grads]), "sum")
        for parameter, part in zip(used, total.split([p.numel() for p in used]), strict=True):
            parameter.grad = part.view_as(parameter)

    def wait(self) -> None:
        """Until all processes are here."""
        if self._state is not None:
            self._state.wait_for_everyone()


def shard(language_model: Any) -> None:
    """Spreads the frozen weights of an LLM's layers over all processes; each layer is gathered when it runs.

    Embeddings and output matrix stay whole: tied ones belong to both ends, and the warm-up reads them alone. What is
    trained inside the LLM (LoRA) stays whole too.
    """
    whole = {p for p in language_model.parameters() if p.requires_grad}
    for module in (language_model.get_input_embeddings(), language_model.get_output_embeddings()):
        whole |= set(module.parameters())
    for layer in language_model.get_decoder().layers:
        fully_shard(layer, ignored_params=whole)
    fully_shard(language_model, ignored_params=whole)
