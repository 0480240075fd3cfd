"""The grammar of the command line, and the checks of values; imports nothing heavy."""

import argparse
import math
import re
from collections.abc import Callable, Iterator, Sequence
from difflib import get_close_matches
from itertools import islice
from typing import Any, NoReturn

from visionkit.errors import UsageError

Size = tuple[int, int]


class Parser(argparse.ArgumentParser):
    """A parser that takes no abbreviations, no flag twice, and says what was probably meant."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **options)
        for action in (None, "store"):
            self.register("action", action, _Once)

    def error(self, message: str) -> NoReturn:
        """Raise what argparse would print.

        Raises:
            UsageError: always.
        """
        near = ""
        wrong = re.search(r"invalid choice: '([^']*)' \(choose from (.*)\)", message)
        if wrong:
            close = get_close_matches(wrong[1], re.findall(r"[\w-]+", wrong[2]), n=1)
            near = f"; did you mean {close[0]}?" if close else ""
        raise UsageError(message + near, remedy=f"see {self.prog} --help")


class _Once(argparse._StoreAction):
    """Stores a value; a flag given twice is a mistake, not a correction."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        space: argparse.Namespace,
        values: Any,
        option: str | None = None,
    ) -> None:
        seen = vars(space).setdefault("_seen", set())
        if option and self.dest in seen:
            raise argparse.ArgumentError(self, "given twice")
        seen.add(self.dest)
        setattr(space, self.dest, values)


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The arguments of one call: `module` says who takes them.

    Raises:
        UsageError: an unknown verb or flag (with the nearest known one), or a value that cannot be.
    """
    args, unknown = grammar().parse_known_args(list(_joined(argv)))
    if unknown:
        verb: Parser = args.parser
        flags = list(verb._option_string_actions)
        wrong = next((text for text in unknown if text.startswith("-")), unknown[0]).split("=")[0]
        theirs = [other.prog for other in args.verbs.values() if wrong in other._option_string_actions]
        longer = [flag for flag in flags if flag.startswith(wrong)]
        close = longer or get_close_matches(wrong, flags, n=1)
        near = f"; did you mean {close[0]}?" if close else ""
        near = f"; it is a flag of {', '.join(theirs)}" if theirs else near
        raise UsageError(f"{verb.prog}: unknown argument {wrong}{near}", remedy=f"see {verb.prog} --help")
    return args


def _joined(argv: Sequence[str]) -> Iterator[str]:
    """The words, with ``--line -5,0,9,9`` as ``--line=-5,0,9,9``: argparse takes the second for a flag."""
    words = iter(argv)
    for word in words:
        if re.fullmatch(r"--net[-_]resolution|--line|--zone", word):
            word = "=".join([word, *islice(words, 1)])
        yield word


def number(low: float, high: float, *, open_low: bool = False) -> Callable[[str], float]:
    """A type for finite numbers from `low` (left out with `open_low`) to `high`."""

    def convert(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not (low < value if open_low else low <= value) or value > high:
            more = "more than" if open_low else "from"
            raise argparse.ArgumentTypeError(f"expected a number {more} {low:g} to {high:g}, not {text!r}")
        return value

    return convert


def whole(low: int, high: int) -> Callable[[str], int]:
    """A type for whole numbers from `low` to `high`."""

    def convert(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,18}", text) or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"expected a whole number {low} to {high}, not {text!r}")
        return int(text)

    return convert


def size(text: str) -> Size:
    """The input size (height, width) from ``N`` or ``HxW``: multiples of 32 from 32 to 4096."""
    found = re.fullmatch(r"([0-9]{1,5})(?:x([0-9]{1,5}))?", text)
    if found:
        height, width = int(found[1]), int(found[2] or found[1])
        if all(32 <= side <= 4096 and side % 32 == 0 for side in (height, width)):
            return height, width
    raise argparse.ArgumentTypeError(f"expected N or HEIGHTxWIDTH, multiples of 32 up to 4096, not {text!r}")


def resolution(text: str) -> int | Size:
    """The input of a pose network from ``N``, ``HxW``, ``-1xW`` or ``Hx-1``: multiples of 32 up to 4096."""
    sides = _sides(text, 32)
    return sides[0] if len(sides) == 1 else (sides[0], sides[1])


def openpose_resolution(text: str) -> Size:
    """The same from OpenPose's ``WxH``: multiples of 16, which are made multiples of 32 by going up."""
    sides = _sides(text, 16)
    if len(sides) != 2:
        raise argparse.ArgumentTypeError(f"expected WIDTHxHEIGHT, not {text!r}")
    width, height = (side if side == -1 else (side + 31) // 32 * 32 for side in sides)
    return height, width


def _sides(text: str, step: int) -> list[int]:
    """One or two sides, of which one of two may be -1."""
    if re.fullmatch(r"[0-9]{1,5}|[0-9]{1,5}x(-1|[0-9]{1,5})|-1x[0-9]{1,5}", text):
        sides = [int(side) for side in text.split("x")]
        if all(side == -1 or (0 < side <= 4096 and side % step == 0) for side in sides):
            return sides
    raise argparse.ArgumentTypeError(
        f"expected a number or two with x between, multiples of {step} up to 4096, one of two may be -1, "
        f"not {text!r}"
    )


def batch(text: str) -> int | None:
    """A type for a number of pictures; None, any number, from ``dynamic``."""
    return None if text == "dynamic" else whole(1, 4096)(text)


def several(one: Callable[[str], Any]) -> Callable[[str], list[Any]]:
    """A type for one or more values of another type, with commas between them."""
    return lambda text: [one(part) for part in text.split(",")]


def corners(least: int, most: int | None = None) -> Callable[[str], tuple[str, list[tuple[float, float]]]]:
    """A type for ``[NAME=]X1,Y1,X2,Y2,...``: a name, "" without one, and `least` to `most` points."""

    def convert(text: str) -> tuple[str, list[tuple[float, float]]]:
        name, _, points = text.rpartition("=")
        try:
            found = [float(part) for part in points.split(",")]
        except ValueError:
            found = []
        count = len(found) // 2
        if len(found) % 2 or not least <= count <= (most or count) or not all(map(math.isfinite, found)):
            many = f"{least}" if most == least else f"{least} or more"
            raise argparse.ArgumentTypeError(f"expected [NAME=]X,Y,X,Y,... of {many} points, not {text!r}")
        return name, list(zip(found[::2], found[1::2], strict=True))

    return convert


def text(given: str) -> str:
    """A type for names and paths, which cannot be empty."""
    if not given:
        raise argparse.ArgumentTypeError("expected a name or a path, not nothing")
    return given


fraction = number(0, 1)


def grammar() -> Parser:
    """The parser of `visionkit VERB [TARGET] --flag value`."""
    from visionkit import __version__

    from .options import VERBS

    top = Parser(
        prog="visionkit",
        description="Detection and key-points on an ordinary CPU: run, train, score and check.",
        epilog="visionkit VERB --help shows the flags of a verb.",
    )
    top.add_argument("--version", action="version", version=f"visionkit {__version__}")
    top.add_argument("--debug", action="store_true", help="show tracebacks of errors")
    verbs = top.add_subparsers(title="verbs", metavar="VERB", required=True, dest="verb", parser_class=Parser)
    for verb in VERBS:
        verb.add(verbs)
    top.set_defaults(verbs=verbs.choices)
    return top
