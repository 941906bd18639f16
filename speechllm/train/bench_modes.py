"""The plain way to train an adapter, one optimisation at a time: what `bench` measures this package against."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from speechllm.audio.io import SAMPLING_RATE, load_audio
from speechllm.data.manifest import Utterance
from speechllm.models.adapters.qformer import QFormer
from speechllm.models.encoder import WINDOW_S
from speechllm.models.modeling import SpeechLLM
from speechllm.train.data import MAX_CACHE_BYTES, AudioStore, Example
from speechllm.train.objectives import CrossEntropy
from speechllm.train.reading import Reader


@dataclass(frozen=True)
class Switches:
    """Which optimisations are on."""

    own_length: bool = True
    """The encoder sees each clip at its own length; off, padded to 30 s."""
    encode_once: bool = True
    """A clip is encoded once; off, for every prompt at every step."""
    reply_rows: bool = True
    """Only rows that predict a reply token are projected onto the vocabulary; off, all are."""
    batched_taps: bool = True
    """A Q-Former runs over all taps in one batch; off, over one after the other. No other adapter has such a loop."""
    share_prefix: bool = True
    """What all prompts begin with runs through the LLM once a run; off, for each example at every step."""
    buckets: bool = True
    """Examples of similar length share a batch."""
    fused_attention: bool = True
    """Attention by scaled_dot_product_attention; off, by separate products and a softmax."""

    @classmethod
    def none(cls) -> Switches:
        """All off."""
        return cls(**{field.name: False for field in fields(cls)})

    @classmethod
    def without_one(cls) -> dict[str, Switches]:
        """For each optimisation, all but that one."""
        return {f"no {field.name}": replace(cls(), **{field.name: False}) for field in fields(cls)}


class PaddedReader(Reader):
    """Clips with silence up to 30 s, as Whisper's own feature extractor hands them on."""

    def _read(self, utterance: Utterance) -> list[torch.Tensor]:
        waveform = load_audio(utterance.audio, start=utterance.start, end=utterance.end)
        window = int(WINDOW_S * SAMPLING_RATE)
        return self._processor.features(np.pad(waveform, (0, -len(waveform) % window)))


class PaddedAudio(AudioStore):
    """Encodes clips padded to 30 s."""

    reader = PaddedReader


class AllRows(CrossEntropy):
    """Cross-entropy over the logits of every position, of which the labels then choose."""

    def __call__(self, batch: Sequence[Example], step: int) -> tuple[torch.Tensor, int]:
        """See `Objective`."""
        inputs, _ = self._inputs(batch, step)
        labels = inputs.pop("labels")[:, 1:]
        logits = self._context.model(**inputs, use_cache=False).logits[:, :-1].float()
        loss = nn.functional.cross_entropy(logits.transpose(1, 2), labels, reduction="sum")
        return loss, int((labels != -100).sum())


def audio_store(model: SpeechLLM, processor: Any, switches: Switches) -> AudioStore:
    """The store that goes with the switches."""
    kind = AudioStore if switches.own_length else PaddedAudio
    return kind(model, processor, MAX_CACHE_BYTES if switches.encode_once else 0)


@contextmanager
def switched(model: SpeechLLM, switches: Switches) -> Iterator[None]:
    """Within the block the model computes as the switches say."""
    with ExitStack() as undo:
        if not switches.fused_attention:
            for part in (model.audio_tower, model.language_model):
                undo.callback(part.set_attn_implementation, part.config._attn_implementation)
                part.set_attn_implementation("eager")
        model.prefix.enabled = switches.share_prefix
        undo.callback(setattr, model.prefix, "enabled", True)
        projector = model.multi_modal_projector
        if not switches.batched_taps and isinstance(projector, QFormer):
            projector.forward = functools.partial(tap_by_tap, projector)  # type: ignore[method-assign]
            undo.callback(projector.__dict__.pop, "forward")
        yield


def tap_by_tap(projector: QFormer, states: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What `QFormer.forward` computes, in a loop over the taps."""
    taps = []
    for number in range(states.shape[1]):
        x = projector.queries[number].expand(len(states), -1, -1)
        for block in projector.blocks:
            x = block(x, states[:, number], mask)
        taps.append(x)
    mixed = torch.einsum("blnd,nl->bnd", torch.stack(taps, 1), projector.tap_weights.softmax(dim=-1))
    vectors = projector.out(projector.norm(mixed)) * projector.text_scale
    return vectors, torch.ones(vectors.shape[:2], dtype=torch.bool, device=vectors.device)
