"""Low-rank updates of weights (LoRA, arXiv 2106.09685): the encoder's, and the LLM's everywhere or at audio alone.

Those of the LLM that act at audio positions only are multiplied by 0 at every other position (partial LoRA,
InternLM-XComposer2, arXiv 2401.16420; for speech BLSP-Emo, arXiv 2406.03872). On text-only input, and at every token
that is written, the branch is skipped: the very kernels of the untouched LLM run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners import lora
from torch import nn
from transformers import WavLMModel

from speechllm.errors import SpeechLLMError

Where = bool | torch.Tensor
"""Positions at which updates act: all, none, or (B, S) bool."""


BYPASSED = re.compile(r"\.attention\.(q_proj|k_proj|v_proj|out_proj)$")
"""Layers of WavLM whose weights its attention reads itself: nothing put in their place is ever called."""

UNREAD = re.compile(r"\.(q_proj|o_proj|out_proj|dense|gate_proj|up_proj|gate_up_proj|down_proj|fc1|fc2)$")
"""Layers that in the last block change nothing at audio positions: only keys and values are read from there."""


class Gate:
    """Tells the updates of one LLM where to act in the forward pass under way.

    Args:
        everywhere: whether they act at all positions unless told otherwise, or at audio positions only.
    """

    def __init__(self, everywhere: bool) -> None:
        self._everywhere = everywhere
        self._audio: torch.Tensor | None = None
        self._off = False
        self.where: Where = everywhere

    @contextmanager
    def hearing(self, is_audio: torch.Tensor) -> Iterator[None]:
        """Within the block embeddings given to the LLM have audio at `is_audio` (B, S bool)."""
        before, self._audio = self._audio, is_audio
        try:
            yield
        finally:
            self._audio = before

    @contextmanager
    def untouched(self) -> Iterator[None]:
        """Within the block the LLM is as it was published."""
        before, self._off = self._off, True
        try:
            yield
        finally:
            self._off = before

    def enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Hook before each call of the LLM; audio reaches it as embeddings, later tokens of a reply as ids."""
        embeddings = kwargs.get("inputs_embeds")
        if self._off:
            self.where = False
        elif self._everywhere:
            self.where = True
        elif self._audio is None or embeddings is None:
            self.where = False
        else:
            beams, rest = divmod(embeddings.shape[0], self._audio.shape[0])
            if rest or embeddings.shape[1] != self._audio.shape[1]:
                raise SpeechLLMError(
                    f"LoRA at audio positions: the LLM is given {tuple(embeddings.shape[:2])} positions of a prompt of"
                    f" {tuple(self._audio.shape)}; let it read prompts whole (no prefill_chunk_size)"
                )
            self.where = self._audio.repeat_interleave(beams, dim=0)

    def checkpoint_contexts(self) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        """For `torch.utils.checkpoint(context_fn=...)`: recomputed layers see the gate as it was in their forward."""
        return self._with(self.where), self._with(self.where)

    @contextmanager
    def _with(self, where: Where) -> Iterator[None]:
        before, self.where = self.where, where
        try:
            yield
        finally:
            self.where = before


class GatedLinear(lora.Linear):
    """peft's LoRA of a linear layer, acting where the gate says."""

    gate: Gate

    def forward(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        """(B, S, in) -> (B, S, out)."""
        where = self.gate.where
        if where is True:
            return super().forward(x, *args, **kwargs)
        out: torch.Tensor = self.base_layer(x, *args, **kwargs)
        if where is False:
            return out
        assert isinstance(where, torch.Tensor)
        rows = where.reshape(-1).nonzero()[:, 0]
        name = self.active_adapters[0]
        down, up = self.lora_A[name], self.lora_B[name]
        heard = x.reshape(-1, x.shape[-1])[rows].to(down.weight.dtype)
        update = up(down(self.lora_dropout[name](heard))) * self.scaling[name]
        flat = out.reshape(-1, out.shape[-1])
        return flat.index_add(0, rows, update.to(out.dtype)).view(out.shape)


def add_lora(language_model: Any, settings: dict[str, Any]) -> Gate:
    """Puts untrained updates (which change nothing yet), in float32, beside the weights of a loaded LLM, in place.

    Args:
        language_model: a causal LLM of transformers.
        settings: `rank`, `alpha`, `dropout`, `target_modules` (names, or "all-linear") and `where` ("everywhere" or
            "audio").

    Raises:
        SpeechLLMError: the LLM has no such modules, or they are not plain linear layers.
    """
    gate = Gate(settings["where"] == "everywhere")
    last = f".{language_model.config.get_text_config().num_hidden_layers - 1}."
    audio_only = settings["where"] == "audio"
    _inject(
        language_model, settings, gate, "model.lora", lambda name: audio_only and last in name and UNREAD.search(name)
    )
    language_model.register_forward_pre_hook(gate.enter, with_kwargs=True)
    return gate


def add_encoder_lora(encoder: Any, settings: dict[str, Any]) -> None:
    """The same for a speech encoder of transformers: the updates act on all that it hears.

    Of WavLM's attention there are none, see `BYPASSED`.

    Raises:
        SpeechLLMError: as `add_lora`; also where layers of WavLM's attention are named.
    """
    bypassed = isinstance(encoder, WavLMModel)
    targets = settings["target_modules"]
    named = [name for name in targets if bypassed and BYPASSED.search(f".attention.{name}")]
    if named and not isinstance(targets, str):
        raise SpeechLLMError(
            f"model.encoder_lora.target_modules {named}: WavLM's attention reads these weights past their layers, so"
            " LoRA cannot act there; name intermediate_dense and output_dense"
        )
    _inject(encoder, settings, Gate(True), "model.encoder_lora", lambda name: bypassed and BYPASSED.search(name))


def _inject(model: Any, settings: dict[str, Any], gate: Gate, key: str, left_out: Callable[[str], Any]) -> None:
    """Updates of a model's linear layers but for those `left_out`; `key` of the config is what errors name."""
    targets = settings["target_modules"]
    config = LoraConfig(
        r=settings["rank"],
        lora_alpha=settings["alpha"],
        lora_dropout=settings["dropout"],
        target_modules=targets if isinstance(targets, str) else list(targets),
    )
    config._register_custom_module({nn.Linear: GatedLinear})  # peft's documented way to bring a layer of one's own
    try:
        inject_adapter_in_model(config, model)
    except ValueError as error:
        raise SpeechLLMError(f"{key}.target_modules {targets}: {str(error).partition('. ')[0]}") from error
    for name, module in list(model.named_modules()):
        if not isinstance(module, lora.LoraLayer):
            continue
        if left_out(name):
            model.set_submodule(name, module.get_base_layer())
        elif isinstance(module, GatedLinear):
            module.gate = gate
        else:
            raise SpeechLLMError(
                f"{key}.target_modules {targets}: LoRA is for plain linear layers, not"
                f" {type(module.get_base_layer()).__name__}; name others"
            )
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data = parameter.data.float()


def train_dropout(model: nn.Module, mode: bool) -> None:
    """Switches the dropout of the updates, and nothing else of the model, to training or to inference."""
    for module in model.modules():
        if isinstance(module, GatedLinear):
            module.lora_dropout.train(mode)
