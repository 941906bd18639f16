"""Manifests from manifests: merged, split so that no speaker is on two sides, filtered by what the lines say."""

from __future__ import annotations

import operator
import random
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from speechllm.data.manifest import Attribute, Utterance, read_manifest
from speechllm.errors import SpeechLLMError, did_you_mean

_OPERATORS: dict[str, Callable[..., bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "!=": operator.ne,
    "=": operator.eq,
    "<": operator.lt,
    ">": operator.gt,
}

_CONDITION = re.compile(r"\s*([^<>=!\s]+)\s*(<=|>=|!=|=|<|>)\s*(.*?)\s*")


def merge(manifests: Iterable[Path]) -> list[Utterance]:
    """The utterances of several manifests in their order; `audio` as `read_manifest` gives it.

    Raises:
        SpeechLLMError: one id stands in two of them.
    """
    merged, origin = list[Utterance](), dict[str, Path]()
    for path in manifests:
        for utterance in read_manifest(path):
            first = origin.setdefault(utterance.id, path)
            if first != path:
                raise SpeechLLMError(f"{path}: id {utterance.id!r} stands in {first} already; give each its own")
            merged.append(utterance)
    return merged


def split_by_speaker(
    utterances: Sequence[Utterance], shares: Mapping[str, float], seed: int = 0
) -> dict[str, list[Utterance]]:
    """Splits utterances so that every speaker is in one split only; `split` is set to its name.

    Where the speaker is not known, the audio file stands for it, so that segments of one file stay together. Speakers
    come in an order drawn from the seed, and each goes where most seconds are missing: no split ends up further from
    its share than the longest speaker lasts.

    Args:
        utterances: what to split.
        shares: of the total duration, by the name of the split; any positive numbers, their ratios count.
        seed: the same seed gives the same splits, whatever the order of the utterances.

    Raises:
        SpeechLLMError: a share is not positive, or there are too few speakers to fill every split.
    """
    if not shares or min(shares.values()) <= 0:
        raise SpeechLLMError(f"shares {dict(shares)}: give each split a positive share, such as train 0.9 test 0.1")
    seconds = dict[tuple[str | None, str], float]()
    for utterance in utterances:
        seconds[_speaker(utterance)] = seconds.get(_speaker(utterance), 0.0) + utterance.duration
    order = sorted(seconds, key=lambda speaker: (speaker[0] or "", speaker[1]))
    random.Random(seed).shuffle(order)
    missing = {name: share / sum(shares.values()) * sum(seconds.values()) for name, share in shares.items()}
    place = dict[tuple[str | None, str], str]()
    for number, speaker in enumerate(order):
        waiting = [name for name in shares if name not in place.values()]
        open_to = waiting if len(order) - number <= len(waiting) else list(missing)  # none is left empty
        place[speaker] = max(open_to, key=missing.__getitem__)
        missing[place[speaker]] -= seconds[speaker]
    splits: dict[str, list[Utterance]] = {name: [] for name in shares}
    for utterance in utterances:
        name = place[_speaker(utterance)]
        splits[name].append(utterance.model_copy(update={"split": name}))
    empty = [name for name, part in splits.items() if not part]
    if empty:
        raise SpeechLLMError(
            f"{len(order)} speakers leave {', '.join(empty)} empty; give larger shares or fewer splits"
        )
    return splits


def _speaker(utterance: Utterance) -> tuple[str | None, str]:
    return (utterance.dataset, utterance.audio if utterance.speaker is None else utterance.speaker)


@dataclass(frozen=True)
class Condition:
    """`key<value` and the like, about a field or an attribute of an utterance."""

    key: str
    sign: str
    value: str

    def holds(self, utterance: Utterance) -> bool:
        """Whether it holds; an utterance that lacks the key meets no condition about it, `!=` neither.

        Raises:
            SpeechLLMError: less or greater is asked of words.
        """
        found = value_of(utterance, self.key)
        if found is None:
            return False
        if isinstance(found, str):
            if self.sign not in ("=", "!="):
                raise SpeechLLMError(
                    f"{self}: {self.key} of {utterance.id!r} is a word, {found!r}; compare with = or !="
                )
            return _OPERATORS[self.sign](found, self.value)
        try:
            return _OPERATORS[self.sign](found, float(self.value))
        except ValueError as error:
            raise SpeechLLMError(f"{self}: {self.key} of {utterance.id!r} is a number; compare it with one") from error

    def __str__(self) -> str:
        return f"{self.key}{self.sign}{self.value}"


def parse_condition(text: str) -> Condition:
    """Reads `gender=female`, `duration<20`, `snr_db>=15`, `language!=en`.

    Raises:
        SpeechLLMError: there is no key, no sign or no value.
    """
    match = _CONDITION.fullmatch(text)
    if match is None or not match[3]:
        raise SpeechLLMError(f"condition {text!r}: write it as key=value, key!=value, key<number or key>=number")
    return Condition(match[1], match[2], match[3])


def value_of(utterance: Utterance, key: str) -> Attribute | None:
    """A field of an utterance, or else its attribute of that name; None where it has neither."""
    value = getattr(utterance, key) if key in Utterance.model_fields else utterance.attributes.get(key)
    return value if isinstance(value, str | int | float) else None


def filter_manifest(utterances: Sequence[Utterance], conditions: Sequence[Condition]) -> list[Utterance]:
    """The utterances that meet every condition.

    Raises:
        SpeechLLMError: no utterance has one of the keys, or none meets the conditions.
    """
    for condition in conditions:
        if all(value_of(utterance, condition.key) is None for utterance in utterances):
            known = {name for utterance in utterances for name in utterance.attributes} | {*Utterance.model_fields}
            raise SpeechLLMError(f"{condition}: no utterance has {condition.key!r}{did_you_mean(condition.key, known)}")
    kept = [u for u in utterances if all(condition.holds(u) for condition in conditions)]
    if not kept:
        raise SpeechLLMError(f"no utterance meets {', '.join(map(str, conditions))}; see `speechllm manifest stats`")
    return kept
