"""Ways to write the reply that the model learns; each a small class, chosen by name and mixed by weight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from speechllm.errors import SpeechLLMError, did_you_mean

OVER_AUDIO = (
    "self_output",
    "self_output_bare",
    "self_output_continuation",
    "gold",
    "paraphrase",
    "selective",
    "minimal_edit",
    "cross_model",
)
"""Strategies that share the prompts about audio between them, by weight."""

REPLAY = ("experience_replay", "pseudo_replay")
"""Strategies over text alone: their weight is how many records come on top, as a share of those about audio."""


def parse_mix(mix: Sequence[str]) -> dict[str, float]:
    """`["self_output=0.9", "gold=0.1", "pseudo_replay=0.05"]` as weights by name; a bare name weighs 1.

    Raises:
        SpeechLLMError: unknown name (suggests the nearest), weight that is not a positive number, a name given twice.
    """
    weights: dict[str, float] = {}
    for part in mix:
        name, _, text = part.partition("=")
        if name not in (*OVER_AUDIO, *REPLAY):
            raise SpeechLLMError(f"there is no strategy {name!r}{did_you_mean(name, (*OVER_AUDIO, *REPLAY))}")
        if name in weights:
            raise SpeechLLMError(f"strategy {name!r} is given twice; give each one weight")
        try:
            weights[name] = float(text) if text else 1.0
        except ValueError:
            weights[name] = -1.0
        if not 0 < weights[name] < float("inf"):
            raise SpeechLLMError(f"{part!r}: give the weight of a strategy as NAME=NUMBER, more than 0")
    if not set(weights) & set(OVER_AUDIO):
        raise SpeechLLMError(f"give at least one strategy over audio: {', '.join(OVER_AUDIO)}")
    return weights


def allot(n: int, weights: Mapping[str, float]) -> list[str]:
    """A strategy over audio for each of `n` prompts: spread evenly, in proportion to the weights."""
    share = {name: weight for name, weight in weights.items() if name in OVER_AUDIO}
    total = sum(share.values())
    given = dict.fromkeys(share, 0)
    chosen = []
    for k in range(1, n + 1):
        name = max(share, key=lambda s: share[s] / total * k - given[s])
        given[name] += 1
        chosen.append(name)
    return chosen
