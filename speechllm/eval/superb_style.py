"""Tasks in the manner of Dynamic-SUPERB about any labelled manifest: one an attribute whose values are words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from speechllm.data.attributes import display_name
from speechllm.data.bins import values_among
from speechllm.data.manifest import Utterance, read_manifest
from speechllm.data.prompts import Prompt
from speechllm.errors import SpeechLLMError
from speechllm.eval.folders import SYSTEM, equal_but_for_case
from speechllm.eval.tasks import Official, Question, Task, named_choice

NAME = "superb_style"

MOST_VALUES = 100
"""That an instruction can list; what has more is a caption rather than a class."""

WORDINGS: dict[str, tuple[str, ...]] = {
    "gender": (
        "Recognise the gender of the speaker.",
        "Who is speaking? Tell the gender from the voice.",
        "Listen to the voice and name the gender of the speaker.",
        "What is the gender of the person in the recording?",
        "Decide which gender the speaker has.",
    ),
    "age": (
        "Recognise the age of the speaker.",
        "How old does the speaker sound?",
        "Judging by the voice, which age does the speaker have?",
        "What is the age of the person in the recording?",
        "Listen to the recording and tell the speaker's age.",
    ),
    "language": (
        "Identify the language spoken in the recording.",
        "Which language do you hear?",
        "In which language does the speaker talk?",
        "Listen to the speech and name its language.",
        "What is the language of this utterance?",
    ),
    "accent": (
        "Classify the accent of the speaker.",
        "Which accent does the speaker have?",
        "Judging by the pronunciation, with which accent does the person speak?",
        "Listen to the speech and name the accent.",
        "What is the accent of this utterance?",
    ),
    "emotion": (
        "Recognise the emotion of the speaker.",
        "How does the speaker feel?",
        "Which emotion does the voice convey?",
        "Listen to the tone of the voice and name the speaker's emotion.",
        "What is the emotional state of the person in the recording?",
    ),
    "pitch": (
        "Judge the pitch of the voice.",
        "Which pitch does the speaker's voice have?",
        "Listen to the voice and tell its pitch.",
        "What is the pitch of the speaker?",
        "Decide at which pitch the person speaks.",
    ),
    "volume": (
        "Judge the volume of the speech.",
        "Which volume does the voice have?",
        "Listen to the recording and tell the volume of the speech.",
        "What is the volume of the speaker?",
        "Decide at which volume the person speaks.",
    ),
    "speaking_rate": (
        "Judge the speaking rate.",
        "Tell the tempo at which the speaker talks.",
        "Listen to the speech and tell its speed.",
        "What is the speaking rate of the speaker?",
        "Decide at which speed the person speaks.",
    ),
    "sound": (
        "Classify the sound in the recording.",
        "What makes the sound that you hear?",
        "Which sound is there in the recording?",
        "Listen to the recording and name its sound.",
        "Recognise what can be heard in the clip.",
    ),
    "noise": (
        "Judge the background noise in the recording.",
        "How much noise is there in the background?",
        "Listen to what is behind the speech and tell the level of noise.",
        "What is the level of the background noise?",
        "Decide how noisy the recording is.",
    ),
    "reverberation": (
        "Judge the reverberation in the recording.",
        "How much does the room reverberate?",
        "Listen to the echo of the room and tell how strong it is.",
        "What is the level of reverberation?",
        "Decide how reverberant the recording is.",
    ),
}
"""By attribute, without its values: the options that follow are those of the manifest."""

OF_OTHERS = (
    "Recognise this property of the recording: {}.",
    "Listen to the recording and tell: {}.",
    "Classify the recording by this: {}.",
    "Decide this from what you hear: {}.",
    "What does the recording tell about this: {}?",
)
"""Of any other attribute, by its name in lower case."""


def superb_style(manifest: Path) -> list[Task]:
    """A task an attribute whose values are words: an instruction that ends "The answer could be A, B, or C.".

    The options are the values in the manifest, and the wordings of the instruction take turns over its rows. Scored by
    Dynamic-SUPERB's own rule, the whole reply equal to the label but for case, with the tolerant count beside; its
    scorer writes the submission. Attributes with one value, with more than `MOST_VALUES`, or whose values as good as
    never repeat, as those of captions, are not asked about.

    Args:
        manifest: labelled utterances.

    Raises:
        SpeechLLMError: the manifest cannot be read, or has no such attribute.
    """
    if not Path(manifest).is_file():
        raise SpeechLLMError(f"{manifest}: is no manifest, which {NAME} is about; give the file with --data")
    utterances = read_manifest(manifest)
    names = dict.fromkeys(["language", *(name for u in utterances for name in u.attributes)])
    tasks = [task for name in names if (task := _task(name, utterances, Path(manifest).stem)) is not None]
    if not tasks:
        raise SpeechLLMError(f"{manifest}: has no attribute with several values that are words and repeat; label some")
    return tasks


def instruction(attribute: str, values: Sequence[str], turn: int) -> str:
    """The wording whose turn it is, and the options as Dynamic-SUPERB writes them."""
    wordings = WORDINGS.get(attribute) or [wording.format(display_name(attribute).lower()) for wording in OF_OTHERS]
    *others, last = values
    options = f"{', '.join(others)}, or {last}" if len(others) > 1 else f"{others[0]} or {last}"
    return f"{wordings[turn % len(wordings)]} The answer could be {options}."


def _task(attribute: str, utterances: Sequence[Utterance], manifest: str) -> Task | None:
    labelled = [(u, value) for u in utterances if isinstance(value := u.value(attribute), str)]
    occurring = {value for _, value in labelled}
    if not 2 <= len(occurring) <= min(MOST_VALUES, len(labelled) / 2):
        return None
    values = tuple(value for value in values_among(attribute, occurring) if value in occurring)
    # A name that is none of the benchmark's, so that its groups are kept free of others.
    instance = f"{attribute}_{manifest}".replace("/", ".")
    return Task(
        f"{NAME}.{attribute}",
        tuple(_question(u, attribute, value, values, turn) for turn, (u, value) in enumerate(labelled)),
        equal_but_for_case,
        tolerant=named_choice,
        rule="equal to the label but for case; tolerant: names the right option alone",
        official=Official("dynamic_superb", f"{instance}/responses.json", beside={"instance.json": _told(instance)}),
    )


def _told(instance: str) -> dict[str, str | list[str]]:
    return {"name": instance, "metrics": ["accuracy"], "version": "1"}


def _question(utterance: Utterance, attribute: str, value: str, values: tuple[str, ...], turn: int) -> Question:
    text = instruction(attribute, values, turn)
    prompt = Prompt(id=utterance.id, kind=attribute, text=text, system=SYSTEM)
    return Question((utterance,), prompt, value, values, row={"instruction": text, "label": value})
