"""What an adapter was trained against: hashes of the frozen parts and of the prompt template."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from speechllm import hub
from speechllm.data.jsonl import written_aside
from speechllm.data.render import PromptRenderer
from speechllm.errors import SpeechLLMError
from speechllm.models.configuration import SpeechLLMConfig

FILE = "fingerprint.json"


def compute(config: SpeechLLMConfig) -> dict[str, Any]:
    """Fingerprints of encoders, LLM and template that the references in `config` resolve to now."""
    llm = hub.resolve(config.llm)
    encoders = {"encoder": config.encoder}
    if config.paralinguistic_encoder:
        encoders["paralinguistic_encoder"] = config.paralinguistic_encoder
    return {
        **{part: {"reference": name, **hub.fingerprint(hub.resolve(name))} for part, name in encoders.items()},
        "llm": {"reference": config.llm, **hub.fingerprint(llm)},
        "template": {
            "reference": config.llm,
            "sha256": PromptRenderer(AutoTokenizer.from_pretrained(llm)).template_hash,
        },
    }


def write(folder: Path, config: SpeechLLMConfig) -> None:
    """Writes `fingerprint.json` into a checkpoint folder."""
    with written_aside(folder / FILE) as out:
        json.dump(compute(config), out, indent=2)


def check(folder: Path, config: SpeechLLMConfig) -> None:
    """Compares a checkpoint's fingerprint with what its references resolve to here.

    Raises:
        SpeechLLMError: they differ; names the part and both sides.
    """
    file = folder / FILE
    try:
        expected = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(expected, dict):
            raise ValueError("not a JSON object")
    except (OSError, ValueError) as error:
        raise SpeechLLMError(f"{file}: cannot be read ({error}); copy the checkpoint again") from error
    found = compute(config)
    for part, hashes in found.items():
        trained = expected.get(part, {})
        for key, value in hashes.items():
            if key != "reference" and trained.get(key) != value:
                raise SpeechLLMError(
                    f"{folder}: the adapter was trained with {part} {trained.get('reference', '?')}"
                    f" ({key} {str(trained.get(key))[:12]}), but {hashes['reference']} here has {key} {value[:12]};"
                    " give the one it was trained with, or train a new adapter"
                )
