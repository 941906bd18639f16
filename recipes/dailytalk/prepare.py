"""DailyTalk: 2,541 written dialogues of DailyDialog, read by a woman and a man (Lee, Park and Kim, 2023)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from speechllm.data.recipe import Clip, read_lines, require, write_corpus
from speechllm.errors import SpeechLLMError

TABLE = "metadata.json"
GENDERS = {0: "male", 1: "female"}
NONE = "no emotion"


def prepare(corpus_dir: Path, output_dir: Path) -> dict[str, Path]:
    """Reads `metadata.json` and `data/<dialogue>/<turn>_<speaker>_d<dialogue>.wav`; one split, `all`."""
    require(corpus_dir, TABLE, "data")
    return write_corpus("dailytalk", _clips(corpus_dir), output_dir)


def _clips(corpus_dir: Path) -> Iterator[Clip]:
    try:
        for dialogue, turns in json.loads("\n".join(read_lines(corpus_dir / TABLE))).items():
            for turn, facts in turns.items():
                speaker = int(facts["speaker"])
                name = f"{turn}_{speaker}_d{dialogue}"
                emotion = facts["emotion"]
                yield Clip(
                    id=name,
                    audio=corpus_dir / "data" / dialogue / f"{name}.wav",
                    text=facts["text"],
                    language="en",
                    speaker=str(speaker),
                    attributes={
                        "gender": GENDERS[speaker],
                        "topic": facts["topic"],
                        "emotion_of_words": None if emotion == NONE else emotion,
                    },
                )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise SpeechLLMError(
            f"{corpus_dir / TABLE}: is not dialogues of turns with speaker, text, topic and emotion ({error!r}); "
            "download it again"
        ) from error
