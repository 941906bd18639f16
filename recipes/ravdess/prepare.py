"""RAVDESS: 24 actors speak and sing two sentences in eight emotions (Livingstone and Russo, 2018)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from speechllm.data.download import Archive, fetch
from speechllm.data.recipe import Clip, audio_files, require, write_corpus
from speechllm.errors import SpeechLLMError

# The seven fields of a file name, as the corpus's page describes them.
AUDIO_ONLY = "03"
CHANNELS = {"01": "speech", "02": "song"}
EMOTIONS = {
    "01": "neutral",
    "02": "calm",
    "03": "happy",
    "04": "sad",
    "05": "angry",
    "06": "fearful",
    "07": "disgusted",
    "08": "surprised",
}
INTENSITIES = {"01": "normal", "02": "strong"}
SENTENCES = {"01": "Kids are talking by the door.", "02": "Dogs are sitting by the door."}

SERVER = "https://zenodo.org/records/1188976/files"
ROOT = "RAVDESS"
ARCHIVES = {
    "speech": Archive(f"{SERVER}/Audio_Speech_Actors_01-24.zip", "md5:bc696df654c87fed845eb13823edef8a", into=ROOT),
    "song": Archive(f"{SERVER}/Audio_Song_Actors_01-24.zip", "md5:5411230427d67a21e18aa4d466e6d1b9", into=ROOT),
}


def download(folder: Path, parts: Sequence[str] = ()) -> Path:
    """Fetches the archives into `folder`; returns the folder that `prepare` reads.

    Args:
        folder: where to.
        parts: speech, song; none for both.
    """
    fetch(ARCHIVES, folder, parts)
    return folder / ROOT


def prepare(corpus_dir: Path, output_dir: Path) -> dict[str, Path]:
    """Reads `Actor_<nn>/03-<channel>-<emotion>-<intensity>-<sentence>-<take>-<actor>.wav`; one split, `all`.

    Speech and song may lie in folders of their own (`Audio_Speech_Actors_01-24`, `Audio_Song_Actors_01-24`).
    """
    require(corpus_dir)
    # Some copies of the archive hold the actors' folders twice, one inside the other: a name counts once.
    files = {path.name: path for path in reversed(audio_files(corpus_dir, ".wav")) if "Actor_" in path.parent.name}
    return write_corpus("ravdess", (_clip(files[name]) for name in sorted(files)), output_dir)


def _clip(path: Path) -> Clip:
    try:
        modality, channel, emotion, intensity, sentence, _, actor = path.stem.split("-")
        if modality != AUDIO_ONLY:
            raise ValueError(modality)
        return Clip(
            id=path.stem,
            audio=path,
            text=SENTENCES[sentence],
            language="en",
            speaker=actor,
            attributes={
                "gender": "male" if int(actor) % 2 else "female",
                "accent": "North American",
                "emotion": EMOTIONS[emotion],
                "emotion_intensity": INTENSITIES[intensity],
                "vocal_channel": CHANNELS[channel],
            },
        )
    except (KeyError, ValueError) as error:
        raise SpeechLLMError(f"{path}: is not named like 03-01-06-01-02-01-12.wav, audio only; remove it") from error
