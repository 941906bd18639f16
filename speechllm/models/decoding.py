"""Decoding of many prompts at once: what `model.generate` writes, several times as fast on padded batches.

Four things make the difference: prompts of similar length run together, longest first; a reply that has ended leaves
the batch at once and the next prompt takes its place (iteration-level scheduling, Orca, OSDI 2022); the keys and values
are written into room set aside for them instead of being copied at every token; and what prompts begin with alike is
read once: system prompt and template of all, and where several are about the same audio, the audio too.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from transformers import DynamicCache, TemperatureLogitsWarper, TopPLogitsWarper
from transformers.cache_utils import CacheLayerMixin

from speechllm.models.packing import packed_linears
from speechllm.models.prefix import cached

REFILL = 0.25
"""Share of the batch that must have ended before the next prompts are read: reading a few at a time costs as much."""

SHARED = 0.5
"""Openings a prompt above which they are not worth reading apart."""

WORTH_PACKING = 16
"""Prompts from which packing the weights costs less than it saves."""

ROOM = 32
"""Positions that the cache grows by."""


class RoomyLayer(CacheLayerMixin):
    """Keys and values of one layer, (rows, heads, room, width), of which the first `length` positions are filled."""

    is_sliding = False

    def __init__(self) -> None:
        super().__init__()
        self.length = 0

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Sets aside no room yet."""
        self.dtype, self.device = key_states.dtype, key_states.device
        self.keys, self.values = key_states[:, :, :0], value_states[:, :, :0]
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Appends (rows, heads, new, width); returns all that is filled."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        end = self.length + key_states.shape[2]
        if end > self.keys.shape[2]:
            self.keys, self.values = self._grown(self.keys, end), self._grown(self.values, end)
        self.keys[:, :, self.length : end] = key_states
        self.values[:, :, self.length : end] = value_states
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]

    def _grown(self, old: torch.Tensor, needed: int) -> torch.Tensor:
        new = old.new_zeros(old.shape[0], old.shape[1], needed + ROOM, old.shape[3])
        new[:, :, : self.length] = old[:, :, : self.length]
        return new

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Length and offset of what a mask covers."""
        return self.length + query_length, 0

    def get_seq_length(self) -> int:
        """Positions that are filled."""
        return self.length

    def get_max_length(self) -> int:
        """There is no limit."""
        return -1


class RoomyCache(DynamicCache):
    """A cache of `RoomyLayer`s whose rows can leave and join."""

    def __init__(self, num_layers: int) -> None:
        super().__init__()
        self.layers = [RoomyLayer() for _ in range(num_layers)]

    def regroup(self, kept: list[int], start: int, joining: RoomyCache | None) -> None:
        """Keeps the rows `kept` from position `start` on; rows of `joining` come after them, ending where they end."""
        for mine, other in zip(self.layers, joining.layers if joining else self.layers, strict=True):
            new = other if joining else None
            mine.keys = _regrouped(mine.keys, mine.length, kept, start, new.keys if new else None, other.length)
            mine.values = _regrouped(mine.values, mine.length, kept, start, new.values if new else None, other.length)
            mine.length -= start


def _regrouped(
    old: torch.Tensor, length: int, kept: list[int], start: int, new: torch.Tensor | None, new_length: int
) -> torch.Tensor:
    rows = len(kept) + (0 if new is None else new.shape[0])
    out = old.new_zeros(rows, old.shape[1], length - start + ROOM, old.shape[3])
    out[: len(kept), :, : length - start] = old[torch.tensor(kept, device=old.device), :, start:length]
    if new is not None:
        shared = min(length - start, new_length)  # longer ones only by padding, which the mask hides
        out[len(kept) :, :, length - start - shared : length - start] = new[:, :, new_length - shared : new_length]
    return out


@dataclass
class _Row:
    """One reply in the making."""

    index: int
    length: int
    """Tokens in the cache: the prompt's and the reply's so far."""
    written: list[int]


@dataclass
class _Openings:
    """What prompts begin with, read already; a row may be the beginning of many prompts."""

    cache: RoomyCache
    lengths: torch.Tensor
    """Tokens of each row; all end together."""
    of: list[int]
    """For each prompt, its row."""


def supports_fast_decoding(model: Any) -> bool:
    """Whether the model's cache is plain keys and values of full attention, which rows can join and leave."""
    config = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    windowed = getattr(config, "sliding_window", None) and getattr(config, "use_sliding_window", True)
    return (
        kinds == {"full_attention"}
        and not windowed
        and bool(getattr(model, "_supports_attention_backend", False))
        and config._attn_implementation in {"sdpa", "eager"}
    )


Read = Callable[..., Any]
"""Calls the model with prompts: their numbers, then keyword arguments, `input_ids` (rows, tokens) among them."""


class Decoder:
    """Decodes with one model; see the module.

    Args:
        model: a causal LLM for which `supports_fast_decoding` holds.
        stops: ids that end a reply.
        batch_size: replies in the making at any time.
        read: how prompts are read; default: by the model, as they are.
        placeholder: an id that stands for audio; what prompts about different audio share ends before it.
        audio: for each prompt, what its placeholders stand for; those of equal ones are the same.
    """

    def __init__(
        self,
        model: Any,
        stops: Sequence[int],
        batch_size: int,
        read: Read | None = None,
        placeholder: int | None = None,
        audio: Sequence[Hashable] = (),
    ) -> None:
        self._model = model
        self._reads = read or (lambda numbers, **inputs: model(**inputs))
        self._placeholder = placeholder
        self._audio = audio
        self._stops = set(stops)
        self._batch_size = batch_size
        self._layers = model.config.get_text_config().num_hidden_layers

    @torch.no_grad()  # as in `SpeechLLM.generate`
    def __call__(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        max_new_tokens: int,
        temperature: float = 0.0,
        top_p: float = 1.0,
        finished: Callable[[int], None] = lambda n: None,
    ) -> list[list[int]]:
        """The ids written after each prompt, with the id that ended the reply.

        Args:
            prompts: token ids.
            max_new_tokens: longest reply.
            temperature: 0 is greedy.
            top_p: nucleus sampling.
            finished: told how many replies have ended since it was last called.
        """
        with packed_linears(self._model) if len(prompts) >= WORTH_PACKING else nullcontext():
            return self._decode(prompts, max_new_tokens, _chooser(temperature, top_p), finished)

    def _decode(
        self,
        prompts: Sequence[Sequence[int]],
        max_new_tokens: int,
        choose: Callable[[torch.Tensor], torch.Tensor],
        finished: Callable[[int], None],
    ) -> list[list[int]]:
        self._choose = choose
        self._limit = max_new_tokens
        self._prefix = None
        shared = _common_prefix(prompts, self._placeholder) if len(prompts) > 1 else 0
        if shared:
            _, read = self._extend([], [list(prompts[0][:shared])], None)
            self._prefix = _Openings(read, torch.tensor([shared], device=self._model.device), [0])
        waiting = sorted(range(len(prompts)), key=lambda i: -len(prompts[i]))
        replies: dict[int, list[int]] = {}
        rows: list[_Row] = []
        cache = RoomyCache(self._layers)
        while waiting or rows:
            free = self._batch_size - len(rows)
            if waiting and free >= self._batch_size * REFILL:
                chosen, waiting = waiting[:free], waiting[free:]
                new, new_cache = self._read({i: prompts[i] for i in chosen})
                cache = self._join(cache, rows, new, new_cache)
                rows += new
            else:
                self._step(cache, rows)
            ended = [row for row in rows if row.written[-1] in self._stops or len(row.written) >= self._limit]
            if ended:
                replies |= {row.index: row.written for row in ended}
                finished(len(ended))
                gone = {row.index for row in ended}
                kept = [k for k, row in enumerate(rows) if row.index not in gone]
                rows = [rows[k] for k in kept]
                if rows:
                    longest = max(row.length for row in rows)
                    cache.regroup(kept, cache.get_seq_length() - longest, None)
                else:
                    cache = RoomyCache(self._layers)
        return [replies[i] for i in range(len(prompts))]

    def _read(self, prompts: dict[int, Sequence[int]]) -> tuple[list[_Row], RoomyCache]:
        """Reads prompts after what they have in common, and writes the first token of each reply."""
        numbers, ids = list(prompts), list(prompts.values())
        openings = self._by_audio(numbers, ids) or self._of_all(len(ids))
        begun = [0] * len(ids) if openings is None else openings.lengths[openings.of].tolist()
        rests = [list(row[length:]) for row, length in zip(ids, begun, strict=True)]
        logits, cache = self._extend(numbers, rests, openings)
        first = self._choose(logits)
        rows = [_Row(i, len(prompts[i]), [token]) for i, token in zip(numbers, first.tolist(), strict=True)]
        return rows, cache

    def _of_all(self, count: int) -> _Openings | None:
        """The part that all prompts begin with, before any audio."""
        if self._prefix is None:
            return None
        return _Openings(self._prefix.cache, self._prefix.lengths, [0] * count)

    def _by_audio(self, numbers: list[int], ids: list[Sequence[int]]) -> _Openings | None:
        """What prompts about the same audio begin with; None where few are, or where audio comes after it."""
        groups: dict[Hashable, list[int]] = {}
        for at, number in enumerate(numbers):
            groups.setdefault(self._audio[number] if self._audio else number, []).append(at)
        if len(groups) > len(numbers) * SHARED:
            return None
        lengths = {key: _common_prefix([ids[at] for at in mine]) for key, mine in groups.items()}
        if any(self._placeholder in ids[at][lengths[key] :] for key, mine in groups.items() for at in mine):
            return None
        firsts = [mine[0] for mine in groups.values()]
        rows = [list(ids[at][: lengths[key]]) for key, (at, *_) in groups.items()]
        _, cache = self._extend([numbers[at] for at in firsts], rows, None)
        of = {at: row for row, mine in enumerate(groups.values()) for at in mine}
        device = self._model.device
        return _Openings(cache, torch.tensor(list(map(len, rows)), device=device), [of[at] for at in range(len(ids))])

    def _extend(
        self, numbers: list[int], rows: list[list[int]], openings: _Openings | None
    ) -> tuple[torch.Tensor, RoomyCache]:
        """Reads rows of tokens, each after its opening; returns the logits that follow and what the cache then holds.

        Rows are padded on the left, and so their openings are moved up to where each of them begins.
        """
        longest = max(map(len, rows))
        device = self._model.device
        padding = torch.tensor([longest - len(row) for row in rows], device=device)
        ids = torch.tensor([[0] * (longest - len(row)) + row for row in rows], device=device)
        at = torch.arange(longest, device=device)
        real = at[None, :] >= padding[:, None]
        visible = real[:, None, :] & (at[None, :] <= at[:, None])[None]  # (rows, queries, keys)
        # A padded query sees itself alone, so that no row of the softmax is empty.
        visible |= torch.eye(longest, dtype=torch.bool, device=device)[None]
        positions = (at[None, :] - padding[:, None]).clamp(min=0)
        cache, width = RoomyCache(self._layers), 0
        if openings is not None:
            of, width = torch.tensor(openings.of, device=device), openings.cache.get_seq_length()
            for layer, read in zip(cache.layers, openings.cache.layers, strict=True):
                layer.update(read.keys[of, :, :width], read.values[of, :, :width])
            begun = openings.lengths[of]
            before = torch.arange(width, device=device)[None, :] >= width - begun[:, None]
            visible = torch.cat([before[:, None, :].expand(-1, longest, -1), visible], -1)
            positions = positions + begun[:, None]
        out = self._reads(
            numbers,
            input_ids=ids,
            attention_mask=visible[:, None],
            position_ids=positions,
            use_cache=True,
            logits_to_keep=1,
            **cached(self._model, cache),
        )
        if width:
            _close_gaps(cache, padding, width)
        return out.logits[:, -1], cache

    def _join(self, cache: RoomyCache, rows: list[_Row], new: list[_Row], new_cache: RoomyCache) -> RoomyCache:
        if not rows:
            return new_cache
        longest = max(row.length for row in [*rows, *new])
        short = longest - cache.get_seq_length()
        if short > 0:  # the new ones are longer than all that is left: let them take the others in
            raise AssertionError("prompts are read longest first")
        cache.regroup(list(range(len(rows))), -short, new_cache)
        return cache

    def _step(self, cache: RoomyCache, rows: list[_Row]) -> None:
        """One more token for each row."""
        device = self._model.device
        filled = cache.get_seq_length() + 1
        lengths = torch.tensor([row.length for row in rows], device=device)
        visible = torch.arange(filled, device=device)[None, :] >= (filled - 1 - lengths)[:, None]
        out = self._model(
            input_ids=torch.tensor([[row.written[-1]] for row in rows], device=device),
            attention_mask=visible[:, None, None],
            position_ids=lengths[:, None],
            use_cache=True,
            logits_to_keep=1,
            **cached(self._model, cache),
        )
        for row, token in zip(rows, self._choose(out.logits[:, -1]).tolist(), strict=True):
            row.written.append(token)
            row.length += 1


def _close_gaps(cache: RoomyCache, padding: torch.Tensor, prefix: int) -> None:
    """Moves each row's prefix to the right, over its padding, so that prefix and rest adjoin."""
    if not bool(padding.any()):
        return
    at = torch.arange(prefix, device=padding.device)[None, :] + padding[:, None]  # (rows, prefix)
    for layer in cache.layers:
        for states in (layer.keys, layer.values):
            moved = states[:, :, :prefix].clone()
            index = at[:, None, :, None].expand(-1, states.shape[1], -1, states.shape[3])
            states.scatter_(2, index, moved)


def _common_prefix(prompts: Sequence[Sequence[int]], placeholder: int | None = None) -> int:
    """Tokens that all prompts begin with, up to a placeholder; each keeps at least one of its own."""
    first, last = min(map(list, prompts)), max(map(list, prompts))
    limit = min(map(len, prompts)) - 1
    return next((k for k in range(limit) if first[k] != last[k] or first[k] == placeholder), limit)


def _chooser(temperature: float, top_p: float) -> Callable[[torch.Tensor], torch.Tensor]:
    if temperature == 0:
        return lambda logits: logits.argmax(-1)
    warpers: list[Any] = [TemperatureLogitsWarper(temperature)]
    if top_p < 1:
        warpers.append(TopPLogitsWarper(top_p))

    def draw(logits: torch.Tensor) -> torch.Tensor:
        scores = logits.float()
        for warp in warpers:
            scores = warp(None, scores)
        return torch.multinomial(scores.softmax(-1), 1)[:, 0]

    return draw
