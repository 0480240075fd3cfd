"""Flags of the verbs that look at pictures: detect, track, pose, serve."""

from . import flags, openpose
from .arguments import Parser, fraction, number, resolution, text, whole


def detect(parser: Parser) -> None:
    """What to look at, with which network, and what counts as found."""
    flags.sources(parser, "boxes")
    flags.network(parser)
    parser.add_argument("--confidence", type=fraction, metavar="F", help="least confidence, 0 to 1 (0.4)")
    parser.add_argument(
        "--iou", type=fraction, metavar="F", help="overlap of boxes taken for one object (0.5)"
    )
    flags.plan(parser)
    flags.precision(parser)
    flags.threads(parser)


def track(parser: Parser) -> None:
    """Those of `detect`, and what is followed and counted."""
    detect(parser)
    flags.following(parser)


def pose(parser: Parser) -> None:
    """What to look at, with which networks, and what counts as a person and a point."""
    flags.sources(parser, "skeletons")
    flags.weights(parser)
    parser.add_argument(
        "--prototxt", type=text, metavar="F", help="of OpenPose's networks: --weights is a .caffemodel"
    )
    parser.add_argument(
        "--detector", type=text, metavar="W|none",
        help="finds the people for weights that see one; none: the picture shows one (yolo-nano-person)",
    )  # fmt: skip
    parser.add_argument(
        "--net-resolution", dest="size", type=resolution, metavar="N|HxW",
        help="input size, multiples of 32; -1 for one side follows the picture, as N does with as many "
        "pixels as NxN (as many as the network's own)",
    )  # fmt: skip
    parser.add_argument("--max-people", type=whole(1, 10_000), metavar="N", help="in a picture (100)")
    parser.add_argument(
        "--confidence", type=fraction, metavar="F", help="least confidence of a pose, 0 to 1 (0.2)"
    )
    parser.add_argument(
        "--keypoint-confidence", type=number(0, 1, open_low=True), metavar="F",
        help="least confidence of a point; others are missing (0.1)",
    )  # fmt: skip
    parser.add_argument(
        "--flip", action="store_true", help="average with the mirrored picture: better, half as fast"
    )
    parser.add_argument(
        "--skeleton", type=text, metavar="NAME", help="give the points of this skeleton (the network's own)"
    )
    parser.add_argument(
        "--write-json", type=text, metavar="DIR", help="write OpenPose's JSON here, a file a picture or frame"
    )
    parser.add_argument(
        "--show-maps", action="store_true", help="write pictures of the heat maps and fields too"
    )
    flags.plan(parser, "rule")
    flags.precision(parser)
    flags.threads(parser)
    flags.following(parser).add_argument(
        "--track", action="store_true", help="follow people: a number for each, the same in every frame"
    )
    openpose.flags(parser)


def serve(parser: Parser) -> None:
    """Which models, on which port."""
    parser.add_argument(
        "--weights", action="append", type=text, metavar="W",
        help="a shipped name or a .safetensors file, of boxes or poses; may be given several times "
        "(yolo-nano-person and hourglass-lite)",
    )  # fmt: skip
    parser.add_argument(
        "--port", type=whole(0, 65_535), default=8000, metavar="N", help="on 127.0.0.1; 0: any (8000)"
    )
    flags.plan(parser)
    flags.precision(parser)
    flags.threads(parser)
