"""Flags of the verbs around a network and this machine: weights, export, bench, doctor, warmup."""

from . import flags
from .arguments import Parser, batch, number, several, size, text, whole


def info(parser: Parser) -> None:
    """Which weights."""
    _weights(parser)
    flags.as_json(parser, "what the file says")


def calibrate(parser: Parser) -> None:
    """Which weights, on which pictures."""
    _weights(parser)
    parser.add_argument("--size", type=size, metavar="N|HxW", help="input size (the network's own)")
    images = "folder of pictures like those to come; 100 of them are read"
    parser.add_argument("--images", required=True, type=text, metavar="DIR", help=images)
    parser.add_argument(
        "--out", required=True, type=text, metavar="F", help="W.ranges.json beside W.safetensors is found"
    )
    flags.threads(parser)


def export(parser: Parser) -> None:
    """Which weights, and the file to write."""
    flags.network(parser)
    parser.add_argument("--to", required=True, choices=("onnx",))
    parser.add_argument("--out", required=True, type=text, metavar="F", help="the file, ending in .onnx")
    parser.add_argument(
        "--batch", type=batch, default=1, metavar="N|dynamic", help="pictures at a time; dynamic: any (1)"
    )
    parser.add_argument(
        "--decoded", action="store_true", help="give boxes and scores before suppression, not raw maps"
    )


def bench(parser: Parser) -> None:
    """What is measured, and how often."""
    parser.add_argument(
        "what", nargs="?", choices=("network", "kernels"), default="network", metavar="network|kernels"
    )
    flags.weights(parser)
    parser.add_argument(
        "--size", type=several(size), metavar="N|HxW,...", help="input sizes (the network's own)"
    )
    parser.add_argument(
        "--threads",
        type=several(whole(1, 1024)),
        metavar="N,...",
        help="numbers of threads (1, 2, 4, ..., all)",
    )
    parser.add_argument(
        "--rate",
        type=number(0, 1e6, open_low=True),
        metavar="F",
        help="propose the largest network and size that handle so many pictures a second",
    )
    flags.plan(parser)
    parser.add_argument("--runs", type=whole(1, 100_000), default=30, metavar="N", help="timed runs (30)")
    parser.add_argument(
        "--lanes", type=int, choices=(4, 8, 16), metavar="N", help="kernels for vectors of 4, 8 or 16 numbers"
    )
    flags.as_json(parser, "the figures")
    flags.precision(parser)


def doctor(parser: Parser) -> None:
    """What is looked at."""
    parser.add_argument(
        "--cameras", action="store_true", help="list the cameras instead, without opening any"
    )
    flags.as_json(parser, "the findings")


def warmup(parser: Parser) -> None:
    """Which network, as it will be run."""
    flags.network(parser)
    flags.precision(parser)
    flags.plan(parser)
    flags.threads(parser)


def _weights(parser: Parser) -> None:
    parser.add_argument("weights", type=text, metavar="W", help="a shipped name or a .safetensors file")
