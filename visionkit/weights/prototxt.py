"""Protobuf's text format, in which Caffe describes networks (.prototxt).

Without a schema: a message is a dictionary of fields, and whoever knows a field asks for its kind. Every
complaint names line and column. (Protocol Buffers, "Text Format Language Specification"; names of extensions
are left out.)
"""

import difflib
import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NoReturn

from ..errors import WeightsError
from .files import StrPath, read_bytes
from .sniff import sniff
from .textformat import Source, Token, tokens, unquoted

#: Bytes of a file, and messages inside messages: OpenPose's largest has 46,372 and 2.
LIMIT, DEPTH = 4_000_000, 32

_CLOSING = {"{": "}", "<": ">"}


@dataclass(slots=True)
class Message:
    """The fields of a message by name, each a list of what stands behind that name, in order."""

    source: Source
    at: int
    fields: dict[str, list["Token | Message"]] = field(default_factory=dict)

    def fail(self, reason: str, name: str = "", remedy: str | None = None, **value: object) -> NoReturn:
        """Complain about the last field `name`, or about the message itself."""
        at = self.fields[name][-1].at if name in self.fields else self.at
        self.source.fail(reason, at, remedy, **value)

    def only(self, known: Collection[str]) -> None:
        """Refuse fields of other names."""
        for name in self.fields:
            if name not in known:
                near = difflib.get_close_matches(name, list(known), n=1)
                remedy = f"did you mean {near[0]}?" if near else f"known are {', '.join(sorted(known))}"
                self.fail("unknown field", name, remedy, value=name)

    def messages(self, name: str) -> list["Message"]:
        """The messages called `name`."""
        found = self.fields.get(name, [])
        if not all(isinstance(one, Message) for one in found):
            self.fail(f"{name}: expected a message in braces", name)
        return [one for one in found if isinstance(one, Message)]

    def message(self, name: str) -> "Message":
        """The message called `name`, an empty one where there is none."""
        found = self.messages(name)
        self._single(name)
        return found[0] if found else Message(self.source, self.at)

    def texts(self, name: str) -> list[str]:
        """The strings called `name`."""
        return [unquoted(token.text) for token in self._tokens(name, "string")]

    def text(self, name: str, default: str = "") -> str:
        """The string called `name`."""
        self._single(name)
        return next(iter(self.texts(name)), default)

    def integers(self, name: str, low: int, high: int) -> list[int]:
        """The integers called `name`, each from `low` to `high`."""
        found = []
        for token in self._tokens(name, "number"):
            try:
                value = int(token.text, 0)
            except ValueError:
                self.source.fail(f"{name}: expected an integer", token.at, value=token.text)
            if not low <= value <= high:
                self.source.fail(f"{name}: expected {low:,} to {high:,}", token.at, value=token.text)
            found.append(value)
        return found

    def integer(self, name: str, default: int, low: int, high: int) -> int:
        """The integer called `name`, from `low` to `high`."""
        self._single(name)
        return next(iter(self.integers(name, low, high)), default)

    def numbers(self, name: str) -> list[float]:
        """The finite decimal numbers called `name`."""
        found = []
        for token in self._tokens(name, "number"):
            value = math.nan if "x" in token.text.lower() else float(token.text.rstrip("fF"))
            if not math.isfinite(value):
                self.source.fail(f"{name}: expected a finite decimal number", token.at, value=token.text)
            found.append(value)
        return found

    def number(self, name: str, default: float) -> float:
        """The finite decimal number called `name`."""
        self._single(name)
        return next(iter(self.numbers(name)), default)

    def flag(self, name: str, default: bool) -> bool:
        """The truth value called `name`."""
        return bool(
            self.choice(name, (("false", "False", "f", "0"), ("true", "True", "t", "1")), int(default))
        )

    def choice(self, name: str, names: Sequence[str | tuple[str, ...]], default: int = 0) -> int:
        """The position among `names` of the word called `name`, which may be a number, too."""
        self._single(name)
        for token in self._tokens(name, "word", "number"):
            for i, one in enumerate(names):
                if token.text == str(i) or token.text in (one if isinstance(one, tuple) else (one,)):
                    return i
            known = ", ".join(one[0] if isinstance(one, tuple) else one for one in names)
            self.source.fail(f"{name}: expected one of {known}", token.at, value=token.text)
        return default

    def _single(self, name: str) -> None:
        if len(self.fields.get(name, [])) > 1:
            self.fail(f"{name} is given twice", name)

    def _tokens(self, name: str, *kinds: str) -> Iterator[Token]:
        for one in self.fields.get(name, []):
            if isinstance(one, Message) or one.kind not in kinds:
                self.source.fail(f"{name}: expected a {' or '.join(kinds)}", one.at)
            yield one


def read(path: StrPath) -> Message:
    """The message that a file holds.

    Raises:
        FileError: missing, unreadable, not a regular file, or larger than 4 MB.
        WeightsError: it is something else, or the text breaks the format's rules; with line and column.
    """
    data = read_bytes(path, LIMIT)
    known = sniff(data)
    if known:
        raise WeightsError(f"not a .prototxt but {known[0]}", file=path, remedy=known[1])
    try:
        return parse(data.decode("utf-8-sig"), path)
    except UnicodeDecodeError as error:
        raise WeightsError(
            "not a text in UTF-8", file=path, place=f"byte {error.start}",
            remedy="give the .prototxt here, and the .caffemodel as the weights",
        ) from None  # fmt: skip


def parse(text: str, file: StrPath = "description") -> Message:
    """The message that a text holds; `file` is what complaints call it.

    Raises:
        WeightsError: the text breaks the format's rules; with line and column.
    """
    source = Source(text, file)
    return _Parser(source).message(0, None, 0)


class _Parser:
    """Reads messages from the tokens of a text."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._tokens = tokens(source)
        self._next = next(self._tokens)

    def _take(self) -> Token:
        token, self._next = self._next, next(self._tokens)
        return token

    def message(self, at: int, closing: str | None, depth: int) -> Message:
        """Fields up to the mark `closing`, or to the end of the text."""
        made = Message(self.source, at)
        if depth > DEPTH:
            self.source.fail(f"more than {DEPTH} messages inside each other", at)
        while True:
            token = self._take()
            if token.kind == "end":
                if closing is not None:
                    self.source.fail(f"the text ends before the {closing!r} of this message", at)
                return made
            if token.text == closing:
                return made
            if token.kind != "word":
                self.source.fail("expected a field's name", token.at, value=token.text)
            made.fields.setdefault(token.text, []).extend(self._values(token, depth))
            if self._next.text in (",", ";"):
                self._take()

    def _values(self, name: Token, depth: int) -> "Iterator[Token | Message]":
        colon = self._next.text == ":" and bool(self._take())
        if self._next.text != "[":
            yield self._value(name, colon, depth)
            return
        self._take()
        while self._next.text != "]":
            yield self._value(name, colon, depth)
            if self._next.text != "]" and self._take().text != ",":
                self.source.fail(f"{name.text}: expected a comma or ']' in this list", name.at)
        self._take()

    def _value(self, name: Token, colon: bool, depth: int) -> "Token | Message":
        token = self._take()
        if token.text in _CLOSING:
            return self.message(token.at, _CLOSING[token.text], depth + 1)
        if not colon or token.kind not in ("word", "number", "string"):
            self.source.fail(f"{name.text}: expected a colon and a value, or a message in braces", token.at)
        if token.kind == "string":
            parts = [token.text]
            while self._next.kind == "string":  # strings side by side are one
                parts.append(self._take().text)
            if len(parts) > 1:
                return Token("string", '"' + "".join(part[1:-1] for part in parts) + '"', token.at)
        return token
