"""JSON from strangers: what Python's parser forgives, dies of or hides is refused with its place.

Shared by the readers of annotations and of detections (torture J47-J55). Numbers such as 1e999 are legal
JSON and become infinite here; whoever uses a number still asks whether it is finite.
"""

import hashlib
import json
import math
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from ..errors import DataError
from ..weights.files import read_bytes

#: Largest file read by default; parsed JSON takes about eight times as much memory.
MAX_BYTES = 1_000_000_000
_INCOMPLETE = "was its download cut short?"


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed file: the value, the file's name, its bytes' SHA-256 and number.

    `changed`: somebody wrote the file while it was read; `sha256` says what was read.
    """

    value: Any
    file: str
    sha256: str
    size: int
    changed: bool


def read_json(path: str | os.PathLike[str], *, limit: int = MAX_BYTES) -> Document:
    """Read one JSON document from a regular file.

    Raises:
        FileError: missing, unreadable, not a regular file, or larger than `limit` bytes.
        DataError: not one complete document of strict JSON in UTF-8.
    """
    before = _stamp(path)
    data = read_bytes(path, limit)
    changed = _stamp(path) != before
    file = os.fspath(path)
    return Document(parse_json(data, file=file), file, hashlib.sha256(data).hexdigest(), len(data), changed)


def parse_json(data: bytes, *, file: str) -> Any:
    """The value of one JSON document.

    Args:
        data: UTF-8, with or without a byte order mark.
        file: its name, for messages.

    Raises:
        DataError: empty, not UTF-8, cut short, followed by more, nested too deeply, an integer too long, a
            key twice in one object, or NaN or Infinity (which Python writes, but which are not JSON).
    """
    text = _decode(data, file)
    foreign: list[str] = []

    def constant(name: str) -> float:
        foreign.append(name)
        return float(name.replace("Infinity", "inf"))

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            seen: set[str] = set()
            key = next(k for k, _ in pairs if k in seen or seen.add(k))  # type: ignore[func-returns-value]
            remedy = "one of the two would be lost; remove it"
            raise DataError("the same key stands twice in one object", file=file, value=key, remedy=remedy)
        return found

    try:
        value = json.loads(text, object_pairs_hook=unique, parse_constant=constant)
    except json.JSONDecodeError as error:
        raise _syntax(error, text, len(data), file) from None
    except RecursionError:
        raise DataError("the JSON is nested too deeply to be annotations", file=file) from None
    except DataError:
        raise
    except ValueError:
        found = re.search(r"\d{4000,}", text)
        place = f"byte {_offset(text, found.start())}" if found else None
        length = len(found[0]) if found else "too many"
        raise DataError(f"an integer of {length} digits", file=file, place=place) from None
    if foreign:
        places = list(islice(_non_finite(value, ""), 20))
        remedy = "the program that wrote the file has computed a number that is not finite; correct it there"
        reason = f"{len(foreign)} numbers are NaN or Infinity, which is not JSON: {', '.join(places)}"
        raise DataError(reason, file=file, place=places[0], remedy=remedy)
    return value


def _stamp(path: str | os.PathLike[str]) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except (OSError, ValueError):  # reading it will say what is wrong
        return None
    return found.st_size, found.st_mtime_ns


def _decode(data: bytes, file: str) -> str:
    if not data:
        raise DataError("the file is empty (0 bytes)", file=file, remedy=_INCOMPLETE)
    if data.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in data[:4]:
        reason = "the file is UTF-16 or UTF-32, not UTF-8"
        raise DataError(reason, file=file, place="byte 0", value=data[:8], remedy="convert it to UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        place = f"byte {error.start}"
        bad = data[error.start : error.start + 4]
        raise DataError(
            "not UTF-8", file=file, place=place, value=bad, remedy="convert it to UTF-8"
        ) from None


def _syntax(error: json.JSONDecodeError, text: str, size: int, file: str) -> DataError:
    at = _offset(text, error.pos)
    rest = text[error.pos :]
    place = f"byte {at}, line {error.lineno}"
    if error.msg == "Extra data":
        reason = f"more text after the end of the JSON value at byte {at} of {size}"
        remedy = "is this two files in one, or garbage at the end? Keep one value"
        return DataError(reason, file=file, place=place, value=rest[:40], remedy=remedy)
    if error.msg.startswith("Unterminated string") or (len(rest.strip()) < 6 and not set(rest) & set("]}")):
        reason = f"the JSON ends at byte {at} of {size} before it is complete ({error.msg})"
        return DataError(reason, file=file, place=place, remedy=_INCOMPLETE)
    if rest[:1] == "<":
        reason = "an HTML or XML page, not JSON"
        return DataError(
            reason, file=file, place=place, value=rest[:40], remedy="was this a failed download?"
        )
    return DataError(f"not JSON: {error.msg}", file=file, place=place, value=rest[:40])


def _offset(text: str, position: int) -> int:
    return len(text[:position].encode())


def _non_finite(value: Any, pointer: str) -> Iterator[str]:
    if isinstance(value, float) and not math.isfinite(value):
        yield pointer
    elif isinstance(value, dict):
        for key, item in value.items():
            owner = f"{pointer}.{key}" if pointer else key
            yield from _non_finite(item, owner)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _non_finite(item, f"{pointer}[{index}]")
