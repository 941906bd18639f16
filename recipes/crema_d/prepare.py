"""CREMA-D: 91 actors say twelve sentences in six emotions (Cao et al., 2014)."""

from __future__ import annotations

from pathlib import Path

from speechllm.data.recipe import Clip, audio_files, gender, read_table, require, write_corpus
from speechllm.errors import SpeechLLMError

SENTENCES = {
    "IEO": "It's eleven o'clock.",
    "TIE": "That is exactly what happened.",
    "IOM": "I'm on my way to the meeting.",
    "IWW": "I wonder what this is about.",
    "TAI": "The airplane is almost full.",
    "MTI": "Maybe tomorrow it will be cold.",
    "IWL": "I would like a new alarm clock.",
    "ITH": "I think I have a doctor's appointment.",
    "DFA": "Don't forget a jacket.",
    "ITS": "I think I've seen this before.",
    "TSI": "The surface is slick.",
    "WSI": "We'll stop in a couple of minutes.",
}
EMOTIONS = {"ANG": "angry", "DIS": "disgusted", "FEA": "fearful", "HAP": "happy", "NEU": "neutral", "SAD": "sad"}
LEVELS = {"LO": "low", "MD": "medium", "HI": "high"}  # XX is unspecified: no attribute


def prepare(corpus_dir: Path, output_dir: Path) -> dict[str, Path]:
    """Reads `AudioWAV/<actor>_<sentence>_<emotion>_<level>.wav` and `VideoDemographics.csv`; one split, `all`."""
    require(corpus_dir, "AudioWAV", "VideoDemographics.csv")
    table = corpus_dir / "VideoDemographics.csv"
    actors = {row["ActorID"]: row for row in read_table(table, "ActorID", "Age", "Sex")}
    return write_corpus("crema_d", (_clip(p, actors) for p in audio_files(corpus_dir / "AudioWAV", ".wav")), output_dir)


def _clip(path: Path, actors: dict[str, dict[str, str]]) -> Clip:
    try:
        actor, sentence, emotion, level = path.stem.split("_")
        return Clip(
            id=path.stem,
            audio=path,
            text=SENTENCES[sentence],
            language="en",
            speaker=actor,
            attributes={
                "gender": gender(actors[actor]["Sex"]),
                "age": int(actors[actor]["Age"]),
                "emotion": EMOTIONS[emotion],
                "emotion_intensity": LEVELS.get(level),
            },
        )
    except (KeyError, ValueError) as error:
        raise SpeechLLMError(f"{path}: is not named <actor>_<sentence>_<emotion>_<level>.wav; remove it") from error
