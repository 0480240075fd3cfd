"""The words, numbers, strings and marks of protobuf's text format, and where they stand."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn

from ..errors import WeightsError
from .files import StrPath

_TOKEN = re.compile(
    r"""(?P<space>\s+|\#[^\n]*)
    | (?P<word>[A-Za-z_][A-Za-z0-9_]*)
    | (?P<number>-?(?:0[xX][0-9a-fA-F]+|(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?[fF]?))(?![\w.])
    | (?P<string>"(?:[^"\\\n]|\\[^\n])*"|'(?:[^'\\\n]|\\[^\n])*')
    | (?P<mark>[{}<>\[\]:;,])""",
    re.VERBOSE | re.ASCII,
)
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{1,2}|[0-7]{1,3}|.)")
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\", "'": "'", '"': '"'}


@dataclass(frozen=True, slots=True)
class Source:
    """A text and the file it came from."""

    text: str
    file: StrPath

    def fail(self, reason: str, at: int, remedy: str | None = None, **value: object) -> NoReturn:
        """Complain about the character `at`, counted from 0."""
        line, column = self.text.count("\n", 0, at) + 1, at - self.text.rfind("\n", 0, at)
        place = f"line {line}, column {column}"
        raise WeightsError(reason, file=self.file, place=place, remedy=remedy, **value)


@dataclass(frozen=True, slots=True)
class Token:
    """A word, number, string or mark, and where it stands."""

    kind: str
    text: str
    at: int


def tokens(source: Source) -> Iterator[Token]:
    """All tokens but spaces and comments; after the last, for ever, one of kind "end"."""
    at, text = 0, source.text
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            source.fail("neither a name, a number, a string nor a mark", at, value=text[at])
        if match.lastgroup != "space":
            yield Token(str(match.lastgroup), match[0], at)
        at = match.end()
    while True:
        yield Token("end", "", len(text))


def unquoted(quoted: str) -> str:
    """What a string between quotes says."""

    def plain(match: re.Match[str]) -> str:
        code = match[1]
        if code[0] == "x" and len(code) > 1:
            return chr(int(code[1:], 16))
        return chr(int(code, 8)) if code[0] in "01234567" else _ESCAPES.get(code, code)

    return _ESCAPE.sub(plain, quoted[1:-1])
