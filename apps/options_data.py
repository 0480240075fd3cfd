"""Flags of the targets of `visionkit data`."""

from . import flags
from .arguments import Parser, number, size, text, whole


def check(parser: Parser) -> None:
    """Which data set, and what its oracle is about."""
    flags.data_set(parser)
    parser.add_argument(
        "--strict", action="store_true", help="boxes without area and the like are errors too"
    )
    parser.add_argument(
        "--oracle", action="store_true", help="score the ground truth itself: the ceiling of AP"
    )
    parser.add_argument("--model", type=text, metavar="NAME", help="the network the oracle is about")
    parser.add_argument("--weights", type=text, metavar="W", help="instead: weights whose anchors it uses")
    flags.assignment(parser)
    parser.add_argument("--size", type=size, metavar="N|HxW", help="input size of the oracle")
    parser.add_argument("--problems", type=text, metavar="F", help="write every finding as JSON here")
    flags.as_json(parser, "the findings")


def stats(parser: Parser) -> None:
    """Which data set."""
    flags.data_set(parser)
    flags.as_json(parser, "the figures")


def convert(parser: Parser) -> None:
    """Which data set, and the layout to write."""
    flags.data_set(parser)
    parser.add_argument("--to", required=True, choices=("coco", "voc", "yolo"))
    parser.add_argument("--out", required=True, type=text, metavar="DIR", help="a new folder")


def split(parser: Parser) -> None:
    """Which data set, and how large the part for validation is."""
    flags.data_set(parser)
    parser.add_argument(
        "--val", type=number(0, 1, open_low=True), default=0.2, metavar="F", help="share (0.2)"
    )
    parser.add_argument("--seed", type=whole(0, 2**63 - 1), default=0, metavar="N")
    parser.add_argument("--out", required=True, type=text, metavar="DIR", help="for train.json and val.json")


def anchors(parser: Parser) -> None:
    """Which data set, and how many sizes for which input."""
    flags.data_set(parser)
    parser.add_argument("--size", type=size, default=(320, 320), metavar="N|HxW", help="input size (320)")
    parser.add_argument("--count", type=whole(1, 100), default=9, metavar="N", help="how many (9)")
    parser.add_argument("--balanced", action="store_true", help="as many boxes of every class")
    parser.add_argument("--seed", type=whole(0, 2**63 - 1), default=0, metavar="N")
    flags.as_json(parser, "the anchors")


def show(parser: Parser) -> None:
    """Which data set, and how many pictures."""
    flags.data_set(parser)
    parser.add_argument("--count", type=whole(1, 1_000_000), default=20, metavar="N", help="pictures (20)")
    parser.add_argument("--out", required=True, type=text, metavar="DIR", help="pictures with their boxes")
