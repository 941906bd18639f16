"""What every page is made with: the templates beside this module, and audio that travels within the page."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import jinja2
import soundfile

from speechllm.audio.io import SAMPLING_RATE, audio_info, load_audio
from speechllm.errors import SpeechLLMError


def render(template: str, *, autoescape: bool = True, **values: Any) -> str:
    """The text of a template of this package; a name that it misses is an error.

    Args:
        template: file beside this module.
        autoescape: whether values are escaped for HTML.
        values: what the template shows.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("speechllm.eval", "."),
        autoescape=autoescape,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template(template).render(**values)
    return page.encode("utf-8", "replace").decode("utf-8")  # half a surrogate pair in a reply is no reason to fail


def embedded_audio(path: Path, longest: float) -> tuple[str, bool]:
    """A file's beginning as a `data:` address of FLAC, and whether the file is longer than `longest` seconds.

    A file that cannot be read gives an empty address: a page with a silent clip is worth more than no page.
    """
    try:
        cut = audio_info(path)[0] > longest
        samples = load_audio(path, end=longest if cut else None)
    except SpeechLLMError:
        return "", False
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, SAMPLING_RATE, format="FLAC", subtype="PCM_16")
    return "data:audio/flac;base64," + base64.b64encode(buffer.getvalue()).decode("ascii"), cut
