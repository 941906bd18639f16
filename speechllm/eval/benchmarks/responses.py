"""Files of responses (or of questions) as benchmarks publish them: every row with the line where it stands."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from json import JSONDecodeError, JSONDecoder
from pathlib import Path
from typing import Any, NamedTuple

from speechllm.errors import SpeechLLMError

_SHOWN = 5
"""Problems of a file that one error message lists."""

_HALF = re.compile(r"\\u[dD][89a-fA-F]")
"""An escape for half of a character beyond the basic plane; only where its other half follows does it say something."""

_BLANK = re.compile(r"\s*")


@dataclass(frozen=True)
class Row:
    """One object of a file.

    Attributes:
        data: its fields.
        where: file and line, `file.jsonl:12`, to open error messages.
        key: what names it in a file that is one object keyed by file name or id, else None.
        header: what stands beside the rows, in a file that holds them under a key of their own.
    """

    data: dict[str, Any]
    where: str
    key: str | None = None
    header: Mapping[str, Any] = field(default_factory=dict)

    def text(self, *fields: str) -> str | None:
        """The first of `fields` that is there, as text; None if all are missing or null.

        Raises:
            SpeechLLMError: it is a list or an object.
        """
        for name in fields:
            value = self.data.get(name)
            if value is None:
                continue
            if isinstance(value, list | dict):
                raise SpeechLLMError(f"{self.where}: {name} is {type(value).__name__}, not text; give the response")
            return str(value)
        return None

    def need(self, field: str, kind: type | tuple[type, ...]) -> Any:
        """A field that has to be there.

        Raises:
            SpeechLLMError: it is missing or of another type.
        """
        value = self.data.get(field)
        if not isinstance(value, kind):
            kinds = kind if isinstance(kind, tuple) else (kind,)
            wanted = " or ".join(k.__name__ for k in kinds)
            found = "missing" if value is None else f"{type(value).__name__}"
            raise SpeechLLMError(f"{self.where}: {field!r} should be {wanted} and is {found}; see the benchmark's file")
        return value


def read_rows(path: Path, inside: str | None = None) -> list[Row]:
    r"""Reads JSON lines, a JSON list, or a JSON object keyed by file name or id.

    A lone half of a pair of escapes (`\ud800`) is no character, and nothing could write it again: in texts and keys
    alike U+FFFD comes in its place.

    Args:
        path: the file.
        inside: the key under which the rows stand, if the file is one object that has it.

    Raises:
        SpeechLLMError: the file cannot be read, is empty, is not UTF-8, or has lines that are not JSON objects; names
            file and lines.
    """
    path = Path(path)
    text = _decoded(path)
    if not text.strip():
        raise SpeechLLMError(f"{path}: is empty; expected responses as JSON lines, a JSON list or a JSON object")
    rows = _document(path, text, inside) if _is_document(path, text, inside) else _lines(path, text)
    if not rows:
        raise SpeechLLMError(f"{path}: holds no responses; is it the right file?")
    return rows


def _decoded(path: Path) -> str:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise SpeechLLMError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        reason = f"byte 0x{raw[error.start]:02x} is not UTF-8"
        raise SpeechLLMError(f"{path}:{line}: {reason}; convert the file to UTF-8") from error


def _is_document(path: Path, text: str, inside: str | None) -> bool:
    """Whether the file is one JSON value; else it is one a line."""
    lines = [line for line in text.split("\n") if line.strip()]
    if lines[0].lstrip().startswith("["):
        return True
    try:
        first = json.loads(lines[0])
    except (JSONDecodeError, RecursionError):
        return path.suffix != ".jsonl"  # a first line that is broken, or that an indented object begins with
    if len(lines) > 1:
        return False
    if path.suffix == ".jsonl" or not isinstance(first, dict):
        return False
    return inside in first or all(isinstance(value, dict) for value in first.values())


def _lines(path: Path, text: str) -> list[Row]:
    rows, problems = [], []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            value = _whole(json.loads(line), line)
        except JSONDecodeError as error:
            problems.append(f"{where}: is not JSON ({error.msg} at column {error.colno}; a truncated line?)")
            continue
        except RecursionError:
            problems.append(f"{where}: is nested too deep to be a response")
            continue
        if isinstance(value, dict):
            rows.append(Row(value, where))
        else:
            problems.append(f"{where}: is {type(value).__name__}, not a JSON object")
    report(problems)
    return rows


class _Member(NamedTuple):
    key: str | None
    value: Any
    line: int
    start: int


def _document(path: Path, text: str, inside: str | None) -> list[Row]:
    members = list(_members(path, text, 0, 1))
    wrapped = next((m for m in members if inside is not None and m.key == inside), None)
    if wrapped is not None and isinstance(wrapped.value, dict | list):
        header = {m.key: m.value for m in members if m.key is not None and m.key != inside}
        rows = _rows(path, list(_members(path, text, wrapped.start, wrapped.line)))
        return [replace(row, header=header) for row in rows]
    return _rows(path, members)


def _rows(path: Path, members: Sequence[_Member]) -> list[Row]:
    rows, problems = [], []
    for key, value, line, _ in members:
        where = f"{path}:{line}"
        if isinstance(value, dict):
            rows.append(Row(value, where, key))
        elif isinstance(value, str) and key is not None:
            rows.append(Row({"response": value}, where, key))
        else:
            problems.append(f"{where}: is {type(value).__name__}, not a JSON object")
    report(problems)
    return rows


def _members(path: Path, text: str, start: int, line: int) -> Iterator[_Member]:
    """Members of the list or object at `start`, read one by one, since a dict would hide duplicates."""
    decoder, at, counted = JSONDecoder(), _skip(text, start), start
    keyed, close = text[at] == "{", "}" if text[at] == "{" else "]"
    at = _skip(text, at + 1)
    try:
        while text[at : at + 1] != close:
            line, counted = line + text.count("\n", counted, at), at
            member, key = at, None
            if keyed:
                key, at = decoder.raw_decode(text, at)
                at = _skip(text, _expect(text, _skip(text, at), ":"))
            begun = at
            value, at = decoder.raw_decode(text, at)
            key, value = _whole((key, value), text, member, at)
            yield _Member(key, value, line, begun)
            at = _skip(text, at)
            if text[at : at + 1] != close:
                at = _skip(text, _expect(text, at, ","))
        if start == 0 and (end := _skip(text, at + 1)) < len(text):
            raise JSONDecodeError("Extra data", text, end)
    except JSONDecodeError as error:
        raise SpeechLLMError(f"{path}:{error.lineno}: is not JSON ({error.msg}); is the file whole?") from error
    except RecursionError as error:
        raise SpeechLLMError(f"{path}:{line}: is nested too deep to be a response") from error


def _whole(value: Any, text: str, start: int = 0, end: int | None = None) -> Any:
    """What was read from that part of a text, without halves of characters."""
    return _characters(value) if _HALF.search(text, start, len(text) if end is None else end) else value


def _characters(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return {_characters(key): _characters(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_characters(inner) for inner in value]
    return value


def _skip(text: str, at: int) -> int:
    match = _BLANK.match(text, at)
    return match.end() if match else at


def _expect(text: str, at: int, sign: str) -> int:
    if text[at : at + 1] != sign:
        raise JSONDecodeError(f"Expecting {sign!r}", text, at)
    return at + 1


Fields = Sequence[str | tuple[str, ...]]
"""What names a row: the first that is there; several in brackets name it together."""


def by_id(rows: Iterable[Row], fields: Fields) -> dict[str, Row]:
    """Rows by what names them: the key in a keyed file, else the first of `fields` that is there.

    Raises:
        SpeechLLMError: rows without an id, or two with the same; names the lines.
    """
    found: dict[str, Row] = {}
    problems = []
    for row in rows:
        name = row.key if row.key is not None else _name(row, fields)
        if name is None:
            wanted = " or ".join(names if isinstance(names, str) else " and ".join(names) for names in fields)
            problems.append(f"{row.where}: has no id ({wanted})")
        elif name in found:
            problems.append(f"{row.where}: the id {name!r} stands at {found[name].where} already")
        else:
            found[name] = row
    report(problems)
    return found


def _name(row: Row, fields: Fields) -> str | None:
    for names in fields:
        parts = [row.text(part) for part in ((names,) if isinstance(names, str) else names)]
        if all(part is not None and part.strip() for part in parts):
            return " | ".join(str(part) for part in parts)
    return None


def report(problems: Sequence[str]) -> None:
    """Raises one error with the first problems and the number of all, if there are any."""
    if not problems:
        return
    more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
    raise SpeechLLMError("; ".join(problems[:_SHOWN]) + more + "; repair or take out these rows")
