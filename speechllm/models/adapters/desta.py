"""The published Q-Formers of DeSTA2 and DeSTA2.5-Audio: their tensors under our names, and ours under theirs.

Names and shapes are those of `QformerConnector` in kehanlu/DeSTA2 (`qformer_connector.pth`) and, below
`perception.connector.`, in kehanlu/DeSTA2.5-Audio (`model.safetensors`): queries as a list `layer_prompts` with one
(1, N, D) a tap, `layer_weights` (N, L), the layers of transformers' `BertEncoder`, and `proj`, LayerNorm and Linear.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from speechllm.errors import SpeechLLMError

PREFIX = "perception.connector."
"""Before every name in DeSTA2.5-Audio; DeSTA2 has none."""

_BLOCK = {
    "attention.query": "attention.self.query",
    "attention.key": "attention.self.key",
    "attention.value": "attention.self.value",
    "attention.out": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "cross.query": "crossattention.self.query",
    "cross.key": "crossattention.self.key",
    "cross.value": "crossattention.self.value",
    "cross.out": "crossattention.output.dense",
    "cross_norm": "crossattention.output.LayerNorm",
    "ffn.0": "intermediate.dense",
    "ffn.2": "output.dense",
    "ffn_norm": "output.LayerNorm",
}
_ENDS = {"norm": "proj.0", "out": "proj.1"}


def _names(blocks: int) -> dict[str, str]:
    """Our name -> theirs of every tensor that both have as it is."""
    modules = dict(_ENDS)
    for number in range(blocks):
        modules |= {f"blocks.{number}.{ours}": f"qformer.layer.{number}.{theirs}" for ours, theirs in _BLOCK.items()}
    names = {f"{ours}.{kind}": f"{theirs}.{kind}" for ours, theirs in modules.items() for kind in ("weight", "bias")}
    return names | {"tap_weights": "layer_weights"}


def _count(names: Mapping[str, Any], start: str) -> int:
    """How many modules there are whose names begin with `start` and a number."""
    return len({name.removeprefix(start).split(".")[0] for name in names if name.startswith(start)})


def from_desta(published: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The state of a `QFormer` from a published one.

    Args:
        published: their tensors, with or without `PREFIX`; others beside them are left out where there is a prefix.

    Raises:
        SpeechLLMError: a tensor of a Q-Former is missing, or there is one that it does not have.
    """
    if any(name.startswith(PREFIX) for name in published):
        theirs = {name.removeprefix(PREFIX): t for name, t in published.items() if name.startswith(PREFIX)}
    else:
        theirs = dict(published)
    prompts = [f"layer_prompts.{number}" for number in range(_count(theirs, "layer_prompts."))]
    names = _names(_count(theirs, "qformer.layer."))
    wrong = sorted({*names.values(), *(prompts or ["layer_prompts.0"])} ^ set(theirs))
    if wrong:
        raise SpeechLLMError(f"these are not the tensors of DeSTA's Q-Former; first at {wrong[0]!r}")
    state = {ours: theirs[name] for ours, name in names.items()}
    state["queries"] = torch.cat([theirs[name] for name in prompts])
    return {name: tensor.float() for name, tensor in state.items()} | {"text_scale": torch.ones(())}


def to_desta(state: Mapping[str, torch.Tensor], prefix: str = PREFIX) -> dict[str, torch.Tensor]:
    """The tensors of a `QFormer` as DeSTA's code loads them; `text_scale` goes into the last Linear."""
    theirs = {name: state[ours] for ours, name in _names(_count(state, "blocks.")).items()}
    theirs |= {f"proj.1.{kind}": state[f"out.{kind}"] * state["text_scale"] for kind in ("weight", "bias")}
    theirs |= {f"layer_prompts.{number}": queries[None] for number, queries in enumerate(state["queries"])}
    return {prefix + name: tensor for name, tensor in theirs.items()}


def settings(state: Mapping[str, torch.Tensor], heads: int) -> dict[str, Any]:
    """The adapter's settings that fit what `from_desta` returns; theirs has as many heads as its Whisper encoder."""
    _, queries, size = state["queries"].shape
    return {
        "type": "qformer",
        "queries": queries,
        "blocks": _count(state, "blocks."),
        "size": size,
        "heads": heads,
        "ffn_size": state["blocks.0.ffn.0.bias"].shape[0],
    }
