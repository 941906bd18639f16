"""JSON Lines on disk: typed records in, typed records out, and never a half-written file under the final name."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError

from speechllm.errors import SpeechLLMError, did_you_mean

Record = TypeVar("Record", bound=BaseModel)

_STORAGE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS}
"""What the file system says when it takes no more. Other errors inside the block are the caller's own."""

_UNION_BRANCHES = {"str", "int", "float", "bool"}
"""pydantic ends an error's location with these when a value fits no branch of, say, `str | int`."""

_LONGEST_VALUE = 80
"""Characters of an offending value that a message quotes."""


@contextlib.contextmanager
def written_aside(path: Path) -> Iterator[IO[str]]:
    """Opens a text file beside `path` that takes its name only if the block ends without an error.

    Raises:
        SpeechLLMError: the file system refuses (full, read-only); what stood at `path` before still stands.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = tempfile.NamedTemporaryFile(  # noqa: SIM115 - closed below, then renamed
            "w", encoding="utf-8", newline="\n", dir=path.parent, prefix=f".{path.name}.", delete=False
        )
    except OSError as error:
        raise _refused(path, error) from error
    try:
        yield handle
        handle.flush()
        os.fsync(handle.fileno())
        handle.close()
    except OSError as error:
        _discard(handle)
        if error.errno in _STORAGE:
            raise _refused(path, error) from error
        raise
    except BaseException:
        _discard(handle)
        raise
    try:
        Path(handle.name).chmod(0o666 & ~umask())
        Path(handle.name).replace(path)
    except OSError as error:
        _discard(handle)
        raise _refused(path, error) from error


def _refused(path: Path, error: OSError) -> SpeechLLMError:
    reason = error.strerror or error
    return SpeechLLMError(f"{path}: cannot be written ({reason}); free some space or pick another folder")


def _discard(handle: IO[str]) -> None:
    with contextlib.suppress(OSError):  # closing flushes once more, which may fail once more
        handle.close()
    Path(handle.name).unlink(missing_ok=True)


def umask() -> int:
    """The permission bits that new files do not get."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def append_synced(file: IO[bytes], text: str) -> None:
    """Appends lines and has the disk take them, so that a kill afterwards loses nothing.

    Raises:
        SpeechLLMError: the file system refuses.
    """
    try:
        file.write(text.encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
    except OSError as error:
        raise SpeechLLMError(
            f"{file.name}: cannot be written ({error.strerror}); free some space and run the command again, what is"
            " finished is kept"
        ) from error


def whole_lines(path: Path) -> list[bytes]:
    """The lines of a file that is appended to; cuts off a last one that a kill tore, so that the next stands alone."""
    if not path.exists():
        return []
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) < len(data):
        with path.open("r+b") as file:
            file.truncate(len(whole))
    return whole.splitlines()


def text_lines(path: Path) -> list[str]:
    """The lines of a JSON Lines file, parted where they were written: in a string U+2028 or U+0085 may stand as it is.

    Raises:
        OSError, UnicodeDecodeError: it cannot be read.
    """
    return [line.decode("utf-8") for line in path.read_bytes().removeprefix(BOM_UTF8).splitlines()]


def write_jsonl(path: Path, records: Iterable[BaseModel]) -> int:
    """Writes one record a line, leaving out fields that were never set; returns how many."""
    count = 0
    with written_aside(path) as out:
        for record in records:
            out.write(record.model_dump_json(exclude_unset=True, by_alias=True) + "\n")
            count += 1
    return count


def read_jsonl(path: Path, kind: type[Record]) -> list[Record]:
    """Reads and validates every line.

    Raises:
        SpeechLLMError: the file is missing, or a line is not a valid record; names the file, the line and the key.
    """
    return [record for _, record in numbered_jsonl(path, kind)]


def numbered_jsonl(path: Path, kind: type[Record]) -> Iterator[tuple[int, Record]]:
    """As `read_jsonl`, one at a time, with the number of the line in the file, from 1; empty lines are passed over."""
    for number, line in numbered_lines(path):
        yield number, parse_line(line, kind, f"{path}:{number}")


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a text file that are not empty, with their numbers from 1, not yet parsed.

    Raises:
        SpeechLLMError: the file is missing or not UTF-8.
    """
    path = Path(path)
    try:
        with path.open(encoding="utf-8-sig") as lines:
            yield from ((number, line) for number, line in enumerate(lines, 1) if line.strip())
    except OSError as error:
        raise SpeechLLMError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except UnicodeDecodeError as error:
        raise SpeechLLMError(f"{path}: is not UTF-8 text; expected one JSON object a line") from error


def parse_line(line: str, kind: type[Record], where: str) -> Record:
    """One validated record; `where` (file and line) opens the error message."""
    try:
        return kind.model_validate_json(line)
    except ValidationError as error:
        raise SpeechLLMError(f"{where}: {explain(error, kind)}") from error


def explain(error: ValidationError, kind: type) -> str:
    """The first problem of a validation error in one clause, with a suggestion for a misspelt key."""
    problems = error.errors(include_url=False)
    # A misspelt key is also a missing one; the misspelling is the better news.
    first = next((p for p in problems if p["type"] in {"extra_forbidden", "unexpected_keyword_argument"}), problems[0])
    location, message = first["loc"], first["msg"].removeprefix("Value error, ")
    key = ".".join(str(part) for part in location)
    if first["type"] in {"extra_forbidden", "unexpected_keyword_argument"}:
        return f"unknown key {key!r}{did_you_mean(str(location[-1]), _keys(kind, location[:-1]))}"
    if first["type"] in {"missing", "missing_argument"}:
        return f"the key {key!r} is missing"
    if not key:
        return message
    if len(location) > 1 and location[-1] in _UNION_BRANCHES:
        key = ".".join(str(part) for part in location[:-1])
        branches = [str(p["loc"][-1]) for p in problems if p["loc"][:-1] == location[:-1]]
        message = f"Input should be {' or '.join(branches)}"
    if isinstance(first["input"], dict):  # a table is at fault as a whole, and too long to repeat
        return f"{key}: {message}"
    value = repr(first["input"])
    shown = value if len(value) <= _LONGEST_VALUE else value[:_LONGEST_VALUE] + "..."
    return f"{key}: {message}, not {shown}"


def _keys(kind: type, location: tuple[int | str, ...]) -> list[str]:
    """Keys of the (nested) model or dataclass that stands at `location`."""
    for part in location:
        if isinstance(part, int):  # the place in a list, whose element stands for it below
            continue
        inner = {key: field.annotation for key, field in _fields(kind).items()}.get(part)
        inner = get_args(inner)[0] if get_origin(inner) is list else inner
        if inner is None or not _fields(inner):
            return []
        kind = inner
    return list(_fields(kind))


def _fields(kind: type) -> dict[str, Any]:
    fields = getattr(kind, "model_fields", None) or getattr(kind, "__pydantic_fields__", {})
    return {getattr(field, "alias", None) or name: field for name, field in fields.items()}
