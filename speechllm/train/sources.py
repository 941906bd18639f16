"""What a run trains on, source by source: read, checked, and without what cannot be opened or learned."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from speechllm import progress
from speechllm.config import DataConfig
from speechllm.data.manifest import Utterance, read_manifest
from speechllm.data.readable import readable
from speechllm.errors import SpeechLLMError
from speechllm.models.processing import SpeechLLMProcessor
from speechllm.targets.records import TargetRecord, read_targets, usable


@dataclass(frozen=True)
class TrainingSource:
    """One of the sources of a run's data, read."""

    utterances: Sequence[Utterance]
    """None where the targets are text only."""
    records: Sequence[TargetRecord]

    def without(self, broken: Collection[str]) -> TrainingSource:
        """All but the utterances of these ids and the targets about them."""
        utterances = [utterance for utterance in self.utterances if utterance.id not in broken]
        records = [record for record in self.records if record.utterance_id not in broken]
        return TrainingSource(utterances, records)


def utterances_of(sources: Sequence[TrainingSource]) -> list[Utterance]:
    """All that can be heard, source by source."""
    return [utterance for source in sources for utterance in source.utterances]


def read_sources(config: DataConfig) -> list[TrainingSource]:
    """What a run trains on, source by source.

    Raises:
        SpeechLLMError: a file is not as it should be, or two sources hold an utterance of the same id.
    """
    sources: list[TrainingSource] = []
    told: dict[str, Path | None] = {}
    for source in config.mixed():
        utterances = read_manifest(source.manifest) if source.manifest is not None else []
        twice = next((u.id for u in utterances if u.id in told), None)
        if twice is not None:
            raise SpeechLLMError(
                f"{source.manifest}: the utterance {twice!r} is in {told[twice]} too; take it out of one, or rename it"
            )
        told |= {u.id: source.manifest for u in utterances}
        sources.append(TrainingSource(utterances, usable(read_targets(source.targets))))
    return sources


def leave_out_broken(sources: Sequence[TrainingSource], max_broken: float) -> list[TrainingSource]:
    """The utterances whose audio can be opened and the targets about them; the others are reported.

    Raises:
        SpeechLLMError: more than the share `max_broken` of a source's utterances are broken.
    """
    found = []
    for source in sources:
        kept = {u.id for u in readable(source.utterances, max_broken)} if source.utterances else set()
        found.append(source.without({u.id for u in source.utterances} - kept))
    return found


def teachable(sources: Sequence[TrainingSource], processor: SpeechLLMProcessor) -> list[TrainingSource]:
    """Leaves out the replies that hold a control token of the LLM (HTML's `<s>`, say), and tells so.

    Raises:
        SpeechLLMError: no reply is left.
    """
    found, reason = [], "all replies are empty"
    for source in sources:
        kept = []
        for record in source.records:
            try:
                processor.check_reply(record.response)
                kept.append(record)
            except SpeechLLMError as error:
                reason = f"{record.id!r}: {error}"
        found.append(replace(source, records=kept))
    before, after = (sum(len(source.records) for source in some) for some in (sources, found))
    if not after:
        raise SpeechLLMError(f"no target can be learned; {reason}")
    if after < before:
        progress.console.print(f"left out {before - after} of {before} targets, the last {reason}", markup=False)
    return found
