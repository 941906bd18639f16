"""IFEval's instruction checkers, from `if-verifiable`: Google's own, and nothing fetched at import.

Unchanged but for three that ask for the language, which get langdetect's answer sooner (see `languages`).

Google's are at https://github.com/google-research/google-research/tree/master/instruction_following_eval. Of the other
packages that carry them, `lm-eval` downloads NLTK data when imported and `lighteval` brings seventy more packages.
"""

from __future__ import annotations

import contextlib
import functools
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from speechllm.errors import SpeechLLMError, did_you_mean
from speechllm.eval.benchmarks.punkt import provide_english
from speechllm.eval.benchmarks.responses import Row

Checkers = Mapping[str, type]
"""Checker classes by instruction type, such as `detectable_format:json_format`."""

Check = Callable[[dict[str, Any], str], bool]
"""Whether a response (the second) keeps to an instruction with these arguments."""

_SEED = 0
"""Two official rows ask for the frequency of `!` and `#`, in whose place Google's checker draws a letter from a to z.

So official scores move by +-0.2 from run to run. The seed is fixed so that a score can be repeated.
"""

_GIVEN_LATER = {"prompt"}
"""Arguments that come from elsewhere than a row's `kwargs`."""


@functools.cache
def load_checkers() -> Checkers:
    """Google's 25 checkers.

    Raises:
        SpeechLLMError: the extra `eval` is not installed.
    """
    try:
        from if_verifiable.ifeval.instructions_registry import INSTRUCTION_DICT

        from speechllm.eval.benchmarks.languages import detect

        provide_english()
    except ImportError as error:
        raise SpeechLLMError(f"IFEval's checkers are not installed ({error}); pip install speechllm[eval]") from error

    def written(language: str, text: str) -> bool:
        return detect(text) in (language, None)  # what cannot be told is let pass, as Google's do

    asking: dict[str, Check] = {
        "language:response_language": lambda arguments, text: written(arguments["language"], text),
        "change_case:english_capital": lambda _, text: text.isupper() and written("en", text),
        "change_case:english_lowercase": lambda _, text: text.islower() and written("en", text),
    }
    return {**INSTRUCTION_DICT, **{name: with_check(INSTRUCTION_DICT[name], check) for name, check in asking.items()}}


def with_check(base: type, check: Check) -> type:
    """A checker class with another check, of the arguments and the response."""

    def check_following(self: Any, value: str) -> bool:
        return check(self.get_instruction_args() or {}, value)

    return type(f"Other{base.__name__}", (base,), {"check_following": check_following})


class Instructions:
    """What a question asks of the form of its answer.

    Args:
        row: a question with `instruction_id_list`, `kwargs` (one object each; nulls mean not given) and the `prompt`.
        checkers: by instruction type.

    Raises:
        SpeechLLMError: an instruction type is unknown, or an argument is missing, which a checker would draw at random.
    """

    def __init__(self, row: Row, checkers: Checkers) -> None:
        self.names: list[str] = row.need("instruction_id_list", list)
        kwargs = row.need("kwargs", list)
        if not all(isinstance(name, str) for name in self.names) or not all(isinstance(one, dict) for one in kwargs):
            raise SpeechLLMError(f"{row.where}: instruction_id_list should hold names, and kwargs an object for each")
        if len(kwargs) != len(self.names):
            raise SpeechLLMError(f"{row.where}: {len(self.names)} instructions and {len(kwargs)} kwargs; give one each")
        prompt = row.text("prompt") or ""
        self._built = [_build(row, checkers, name, given, prompt) for name, given in zip(self.names, kwargs)]

    def strict(self, response: str) -> list[bool]:
        """Which instructions the response follows as it is; an empty response follows none."""
        return [bool(response.strip()) and _follows(checker, response) for checker in self._built]

    def loose(self, response: str, strict: Sequence[bool]) -> list[bool]:
        """Which instructions one of the eight variants follows (see `variants`); `strict` tells of the first."""
        if all(strict):
            return list(strict)
        others = [text for text in dict.fromkeys(variants(response)) if text != response and text.strip()]
        return [good or any(_follows(checker, text) for text in others) for checker, good in zip(self._built, strict)]


def _follows(checker: Any, text: str) -> bool:
    try:
        with _however_long():
            return bool(checker.check_following(text))
    except RecursionError:  # JSON was asked for, and thousands of brackets came, from a model that repeats itself
        return False


@contextlib.contextmanager
def _however_long() -> Iterator[None]:
    """Without the 5 s of computing that newer releases of NLTK allow for finding the sentences of a text.

    They would run out in replies of some hundred thousand letters, and what a reply scores would depend on the machine.
    """
    try:
        from nltk import redos
    except ImportError:
        yield
        return
    before, redos.DEFAULT_TIMEOUT = redos.DEFAULT_TIMEOUT, None
    try:
        yield
    finally:
        redos.DEFAULT_TIMEOUT = before


def _build(row: Row, checkers: Checkers, name: str, given: dict[str, Any], prompt: str) -> Any:
    if name not in checkers:
        raise SpeechLLMError(f"{row.where}: there is no instruction type {name!r}{did_you_mean(name, checkers)}")
    checker = checkers[name](name)
    arguments = {key: value for key, value in given.items() if value is not None}
    if unset := set(checker.get_instruction_args_keys()) - set(arguments) - _GIVEN_LATER:
        raise SpeechLLMError(f"{row.where}: kwargs of {name} lack {', '.join(sorted(unset))}")
    state = random.getstate()
    random.seed(_SEED)
    try:
        checker.build_description(**arguments)
    except (TypeError, ValueError, AttributeError, KeyError) as error:
        raise SpeechLLMError(f"{row.where}: kwargs of {name} are not what it takes ({error})") from error
    finally:
        random.setstate(state)
    asked = checker.get_instruction_args()
    if asked and "prompt" in asked:  # as the official script does
        checker.build_description(prompt=prompt)
    return checker


def variants(response: str) -> list[str]:
    """The response as it is, without its first line, its last, and both; then all four without asterisks."""
    lines = response.split("\n")
    cut = [response, *("\n".join(part).strip() for part in (lines[1:], lines[:-1], lines[1:-1]))]
    return [*cut, *(text.replace("*", "") for text in cut)]


def unfollowed(names: Sequence[str], follows: Sequence[bool]) -> str:
    """A reason: the instructions that were not followed."""
    broken = [name for name, good in zip(names, follows) if not good]
    return f"does not follow {', '.join(broken)}" if broken else "follows all instructions"
