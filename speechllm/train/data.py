"""Training examples: utterances with their target records, and encoded audio."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from speechllm import progress
from speechllm.data.augmentation import Recipe
from speechllm.data.manifest import Utterance
from speechllm.data.readable import Tally, decoding_complaint
from speechllm.data.render import Message
from speechllm.errors import SpeechLLMError
from speechllm.models.modeling import EncodedAudio, SpeechLLM
from speechllm.models.processing import SpeechLLMProcessor, pad_features
from speechllm.targets.records import TargetRecord
from speechllm.train.features import Encoded, FeatureCache, Windows
from speechllm.train.reading import Reader

MAX_CACHE_BYTES = 2 << 30
"""Encoder states kept in memory; what does not fit is encoded again each time."""

ENCODER_BATCH = 16
"""Clips that run through the encoder at once."""


NOTHING_HEARD = Utterance(id="(text only)", audio="-", duration=0.0, sampling_rate=1)
"""Stands for the audio of a target that is about none (replay); it is never opened."""


@dataclass(frozen=True)
class Example:
    """One utterance and, except in the warm-up, one target about it."""

    utterance: Utterance
    target: TargetRecord | None = None
    source: int = 0
    """Which of the sources of the run's data it comes from."""

    @property
    def hears(self) -> bool:
        """Whether there is audio; replay is text only."""
        return self.utterance is not NOTHING_HEARD


def pair_up(
    utterances: Sequence[Utterance], targets: Sequence[TargetRecord], learns_text: bool = False, source: int = 0
) -> list[Example]:
    """Joins targets to their utterances.

    Args:
        utterances: of the manifest.
        targets: about them; text-only ones only where something learns from text.
        learns_text: whether the LLM itself is trained where there is no audio.
        source: the number of their source.

    Raises:
        SpeechLLMError: a target names an utterance that the manifest lacks, or none where an adapter alone is trained.
    """
    known = {utterance.id: utterance for utterance in utterances}
    for target in targets:
        if not target.utterance_id and learns_text:
            continue
        if not target.utterance_id:
            raise SpeechLLMError(
                f"target {target.id!r} is text only ({target.strategy}): an adapter does not learn from it;"
                " leave that strategy out of this run's targets, or train the LLM too ([model.lora])"
            )
        if target.utterance_id not in known:
            raise SpeechLLMError(
                f"target {target.id!r} is about utterance {target.utterance_id!r}, which the manifest does not hold;"
                " give the manifest that the targets were generated from"
            )
    return [
        Example(known[target.utterance_id] if target.utterance_id else NOTHING_HEARD, target, source)
        for target in targets
    ]


class AudioStore:
    """What the adapter reads of each utterance.

    Computed once and kept while there is room, where the encoder is frozen and hears the same each time.
    """

    reader: ClassVar[type[Reader]] = Reader

    def __init__(
        self,
        model: SpeechLLM,
        processor: SpeechLLMProcessor,
        max_bytes: int = MAX_CACHE_BYTES,
        disk: FeatureCache | None = None,
        augmentation: Recipe | None = None,
    ) -> None:
        self._anew = augmentation is not None or bool(model.config.encoder_lora)
        self._model = model
        self._reader = self.reader(processor, augmentation)
        self._disk = disk
        self._room = 0 if self._anew else max_bytes
        self._kept: dict[str, Windows] = {}
        self._frames: dict[str, list[int]] = {}
        self._broken: set[str] = set()

    def fill(self, utterances: Sequence[Utterance], batch_size: int = ENCODER_BATCH) -> dict[str, str]:
        """Encodes utterances ahead of training, those of similar length together, until the room is used up.

        Returns:
            what is wrong with each of those that cannot be decoded, by id; `get` is not to be asked for them.
        """
        broken: dict[str, str] = {}
        waiting = sorted({u.id: u for u in utterances if u.id not in self._kept}.values(), key=lambda u: u.duration)
        with progress.task("encode audio", len(waiting)) as bar:
            for at in range(0, len(waiting), batch_size):
                if self._room <= 0:
                    break
                broken |= self._encode_sound(waiting[at : at + batch_size])
                bar.advance(len(waiting[at : at + batch_size]))
        return broken

    def holds(self, utterance: Utterance) -> bool:
        """Whether the clip is encoded already, in memory or on disk."""
        if utterance.id in self._kept:
            return True
        return self._disk is not None and not self._anew and self._disk.holds(utterance)

    def sound(self, batch: Sequence[Example], following: Sequence[Example], tally: Tally) -> list[Example]:
        """A batch whose audio is at hand, while that of the `following` one is being read.

        One that cannot be decoded leaves its place to another of the batch; it is reported, once.

        Raises:
            SpeechLLMError: more is broken than `tally` allows, or the whole batch is.
        """
        now, ahead = (
            [e.utterance for e in part if e.hears and not self.holds(e.utterance)] for part in (batch, following)
        )
        self._reader.expect([*now, *ahead])
        complaints = {u.id: complaint for u in now if (complaint := self._reader.complaint(u)) is not None}
        if not complaints:
            return list(batch)
        tally.add([text for name, text in complaints.items() if name not in self._broken])
        self._broken |= complaints.keys()
        sound = itertools.cycle([e for e in batch if e.utterance.id not in complaints])
        try:
            return [next(sound) if e.utterance.id in complaints else e for e in batch]
        except StopIteration:
            raise SpeechLLMError(
                f"nothing in a batch can be decoded; one of it: {next(iter(complaints.values()))}"
            ) from None

    def _encode_sound(self, utterances: Sequence[Utterance]) -> dict[str, str]:
        """Encodes and keeps those that can be decoded; returns what is wrong with the others, by id."""
        try:
            self._encode(utterances, keep=True)
            return {}
        except SpeechLLMError:
            complaints = {u.id: decoding_complaint(u) for u in utterances}
        broken = {name: complaint for name, complaint in complaints.items() if complaint is not None}
        if not broken:
            raise
        sound = [u for u in utterances if u.id not in broken]
        if sound:
            self._encode(sound, keep=True)
        return broken

    def get(self, utterances: Sequence[Utterance]) -> EncodedAudio:
        """What the adapter reads, (W, L, R, K) and mask (W, R), of all windows of `utterances`, in order."""
        if self._anew:
            return self._hear_once(utterances)
        missing = list({u.id: u for u in utterances if u.id not in self._kept}.values())
        fresh: dict[str, Windows] = {}
        for at in range(0, len(missing), ENCODER_BATCH):
            fresh |= self._encode(missing[at : at + ENCODER_BATCH], keep=self._room > 0)
        windows = [w for u in utterances for w in (self._kept[u.id] if u.id in self._kept else fresh[u.id])]
        lengths = torch.tensor([window.shape[1] for window in windows])
        longest = int(lengths.max())
        padded = [torch.nn.functional.pad(window, (0, 0, 0, longest - window.shape[1])) for window in windows]
        mask = torch.arange(longest)[None, :] < lengths[:, None]
        return torch.stack(padded).to(self._model.device), mask.to(self._model.device)

    def frames(self, utterance: Utterance) -> list[int]:
        """Log-mel frames of each window of an utterance that `fill` or `get` has seen."""
        return self._frames[utterance.id]

    def _encode(self, utterances: Sequence[Utterance], keep: bool) -> dict[str, Windows]:
        found = self._from_disk(utterances) or self._run(utterances)
        for utterance, (windows, frames) in zip(utterances, found, strict=True):
            self._frames[utterance.id] = frames
            if keep:
                self._kept[utterance.id] = windows
                self._room -= sum(window.nbytes for window in windows)
        return {utterance.id: windows for utterance, (windows, _) in zip(utterances, found, strict=True)}

    def _from_disk(self, utterances: Sequence[Utterance]) -> list[Encoded] | None:
        """All of the clips or none: those of one batch are always encoded together, so a resumed run rounds alike."""
        found = []
        for utterance in utterances:
            encoded = self._disk.get(utterance) if self._disk is not None else None
            if encoded is None:
                return None
            found.append(encoded)
        return found

    def _hear(self, utterances: Sequence[Utterance]) -> tuple[EncodedAudio, list[list[torch.Tensor]]]:
        """Runs the encoder; returns with it the features of each window of each clip."""
        features = [self._reader.features(utterance) for utterance in utterances]
        for utterance, windows in zip(utterances, features, strict=True):
            self._frames[utterance.id] = [window.shape[-1] for window in windows]
        return self._model.encode_audio(**pad_features([w for windows in features for w in windows])), features

    def _hear_once(self, utterances: Sequence[Utterance]) -> EncodedAudio:
        """The same for clips of which some may come several times: each of them runs through the encoder once."""
        different = list({u.id: u for u in utterances}.values())
        (states, mask), features = self._hear(different)
        rows = iter(range(len(mask)))
        rows_of = {u.id: [next(rows) for _ in windows] for u, windows in zip(different, features, strict=True)}
        index = torch.tensor([row for u in utterances for row in rows_of[u.id]], device=mask.device)
        return states[index], mask[index]

    def _run(self, utterances: Sequence[Utterance]) -> list[Encoded]:
        """Runs the encoder; what it gives goes to disk if it is kept there."""
        (states, mask), log_mel = self._hear(utterances)
        rows = iter(zip(states.cpu(), mask.sum(1).tolist(), strict=True))
        found = []
        for utterance, windows in zip(utterances, log_mel, strict=True):
            encoded = [row[:, :valid].clone() for row, valid in (next(rows) for _ in windows)]
            found.append((encoded, [window.shape[-1] for window in windows]))
            if self._disk is not None:
                self._disk.put(utterance, *found[-1])
        return found


def conversation(messages: Sequence[Message], utterance: Utterance, *, transcript: bool) -> list[Message]:
    """A target's messages with the audio part filled in: where the audio lies, and the recogniser's words if wanted."""
    filled: dict[str, Any] = {"type": "audio", "path": utterance.audio, "start": utterance.start, "end": utterance.end}
    if transcript:
        filled["transcript"] = utterance.recognised_text or utterance.text
    return [
        {
            **message,
            "content": message["content"]
            if isinstance(message["content"], str)
            else [filled if part.get("type") == "audio" else part for part in message["content"]],
        }
        for message in messages
    ]
