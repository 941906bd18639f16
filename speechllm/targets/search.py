"""Prompt search: which wording, description style and system prompt does this LLM answer faithfully?

A small LLM's replies depend strongly on wording, so prompts are scored on a sample and chosen, not guessed: all
candidates on a few utterances, the better ones on more.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from speechllm.data.attributes import ATTRIBUTES
from speechllm.data.describe import STYLES, DescriptionStyle, describe
from speechllm.data.manifest import Utterance
from speechllm.data.prompts import TRANSCRIBE, Prompt
from speechllm.data.render import describe_audio
from speechllm.data.score import faithfulness
from speechllm.errors import SpeechLLMError
from speechllm.models.reply import Replier, Reply, Sampling
from speechllm.targets.filters import verdicts
from speechllm.targets.masking import Surprisal, mean_surprisal
from speechllm.targets.strategies.base import Item

DEFAULT_SYSTEMS = ("Focus on the audio and the instruction.",)


@dataclass(frozen=True)
class Scored:
    """A prompt with style and system prompt filled in, its faithfulness (0 to 1), and on how many utterances."""

    prompt: Prompt
    score: float
    n: int
    example: str
    refusal: float = 0.0
    """Share of replies that refuse."""
    echo: float = 0.0
    """Share of replies that speak of the description (tags, parentheses) instead of the audio."""
    copy: float = 0.0
    """Share of replies that hold the whole description."""
    truncated: float = 0.0
    """Share of replies that were cut short."""
    distinct_2: float = 0.0
    """Different pairs of adjoining words, as a share of all such pairs in all replies (Li et al., 2016)."""
    surprisal: float | None = None
    """Mean surprisal of a reply's tokens under the LLM, nats; None where it was not read again."""


def search_prompts(
    prompts: Sequence[Prompt],
    utterances: Sequence[Utterance],
    reply: Replier,
    *,
    styles: Sequence[DescriptionStyle] = STYLES,
    systems: Sequence[str | None] = DEFAULT_SYSTEMS,
    attributes: Sequence[str] | None = None,
    first_round: int = 8,
    second_round: int = 32,
    finalists: int = 3,
    max_new_tokens: int = 16,
    seed: int = 0,
    surprisal: Surprisal | None = None,
) -> list[Scored]:
    """Scores prompt x style x system prompt; returns the finalists of each kind, best first.

    Args:
        prompts: candidates; each is tried under every style and every system prompt, unless it names its own.
        utterances: described utterances to sample from.
        reply: the LLM.
        styles: description styles to try.
        systems: system prompts to try.
        attributes: which attributes the descriptions mention; None for all.
        first_round: utterances on which every candidate is tried.
        second_round: utterances on which the finalists are tried.
        finalists: candidates of each kind that reach the second round.
        max_new_tokens: cut-off of replies.
        seed: of the sample.
        surprisal: reads the replies of the second round again, with the LLM; None to save the time.
    """
    candidates = [
        prompt.model_copy(update={"style": style, "system": system})
        for prompt in prompts
        for style in ([prompt.style] if prompt.style else styles)
        for system in ([prompt.system] if prompt.system else systems)
    ]
    sampling = Sampling(max_new_tokens=max_new_tokens)
    first, second = (
        _sample(utterances, prompts, first_round, seed),
        _sample(utterances, prompts, second_round, seed + 1),
    )
    scored = _score(candidates, first, reply, sampling, attributes, "search prompts, round 1")
    best = [s.prompt for ranked in _by_kind(scored).values() for s in ranked[:finalists]]
    scored = _score(best, second, reply, sampling, attributes, "search prompts, round 2", surprisal)
    return [s for ranked in _by_kind(scored).values() for s in ranked]


def keep_faithful(scored: Sequence[Scored], threshold: float = 0.8, at_most: int = 2) -> list[Prompt]:
    """The best prompts of each kind that reach `threshold`; the best one alone where none does."""
    kept: list[Prompt] = []
    for ranked in _by_kind(scored).values():
        good = [s for s in ranked if s.score >= threshold] or ranked[:1]
        kept += [s.prompt for s in good[:at_most]]
    return kept


def _by_kind(scored: Sequence[Scored]) -> dict[str, list[Scored]]:
    kinds: dict[str, list[Scored]] = defaultdict(list)
    for one in sorted(scored, key=lambda s: -s.score):
        kinds[one.prompt.kind].append(one)
    return dict(sorted(kinds.items()))


def _score(
    prompts: Sequence[Prompt],
    utterances: Sequence[Utterance],
    reply: Replier,
    sampling: Sampling,
    attributes: Sequence[str] | None,
    description: str,
    surprisal: Surprisal | None = None,
) -> list[Scored]:
    pairs = [(prompt, utterance) for prompt in prompts for utterance in utterances]
    conversations = [describe_audio(p.messages(), [describe(u, p.style or "desta", attributes)]) for p, u in pairs]
    replies = reply(conversations, sampling, description)
    surprisals = surprisal(conversations, [r.text for r in replies]) if surprisal else None
    scored = []
    for k, prompt in enumerate(prompts):
        mine = slice(k * len(utterances), (k + 1) * len(utterances))
        values = [faithfulness(prompt.kind, u, r.text) for u, r in zip(utterances, replies[mine], strict=True)]
        faults = _faults(prompt, utterances, replies[mine], attributes)
        read = mean_surprisal(surprisals[mine]) if surprisals is not None else None
        example = replies[mine][0].text
        scored.append(Scored(prompt, sum(values) / len(values), len(values), example, **faults, surprisal=read))
    return scored


def _faults(
    prompt: Prompt, utterances: Sequence[Utterance], replies: Sequence[Reply], attributes: Sequence[str] | None
) -> dict[str, float]:
    """Shares of replies with each fault, and how varied their words are."""
    refusal = echo = copy = truncated = 0
    pairs: list[tuple[str, str]] = []
    for utterance, reply in zip(utterances, replies, strict=True):
        description = describe(utterance, prompt.style or "desta", attributes)
        found = verdicts(Item(id="", prompt=prompt, utterance=utterance), reply.text, reply.finish_reason)
        refusal += "refusal" in found
        echo += "leaked_metadata" in found
        truncated += "truncated" in found
        copy += bool(description) and description.lower() in reply.text.lower()
        words = reply.text.lower().split()
        pairs += pairwise(words)
    n = len(replies)
    shares = {"refusal": refusal / n, "echo": echo / n, "copy": copy / n, "truncated": truncated / n}
    return {**shares, "distinct_2": len(set(pairs)) / len(pairs) if pairs else 0.0}


def _sample(utterances: Sequence[Utterance], prompts: Sequence[Prompt], n: int, seed: int) -> list[Utterance]:
    """At most `n` utterances that have all that the prompts ask for, combinations of values balanced."""
    asked = {prompt.kind for prompt in prompts}
    kinds = sorted(asked - {TRANSCRIBE})
    unscorable = [kind for kind in kinds if kind not in ATTRIBUTES or not ATTRIBUTES[kind].values]
    if unscorable:
        raise SpeechLLMError(
            f"prompts of kind {unscorable[0]!r} cannot be scored: the words that name its values are not known;"
            " use them without a search"
        )
    able = [u for u in utterances if (u.text or TRANSCRIBE not in asked) and all(u.value(k) is not None for k in kinds)]
    if not able:
        wanted = ", ".join(["text"] * (TRANSCRIBE in asked) + kinds)
        raise SpeechLLMError(f"no utterance has all of {wanted}; prompts cannot be scored")
    random.Random(seed).shuffle(able)
    groups: dict[tuple[object, ...], list[Utterance]] = defaultdict(list)
    for utterance in able:
        groups[tuple(utterance.value(kind) for kind in kinds)].append(utterance)
    turns = [[group[i] for group in groups.values() if i < len(group)] for i in range(max(map(len, groups.values())))]
    return [utterance for turn in turns for utterance in turn][:n]
