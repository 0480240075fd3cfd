"""Flags that several verbs share."""

import argparse

from .arguments import Parser, corners, fraction, number, size, text, whole


def threads(parser: Parser) -> None:
    """How many threads compute."""
    parser.add_argument("--threads", type=whole(1, 1024), metavar="N", help="threads to compute on (all)")


def as_json(parser: Parser, what: str) -> None:
    """Results for other programs."""
    parser.add_argument("--json", action="store_true", help=f"print {what} as JSON and nothing else")


def weights(parser: Parser) -> None:
    """Which weights."""
    parser.add_argument("--weights", type=text, metavar="W", help="a shipped name or a .safetensors file")


def network(parser: Parser) -> None:
    """Which weights, and the size of their input."""
    weights(parser)
    parser.add_argument(
        "--size", type=size, metavar="N|HxW", help="input size, multiples of 32 (the network's own)"
    )


def plan(parser: Parser, default: str = "timed") -> None:
    """How plans choose convolutions."""
    parser.add_argument(
        "--plan", dest="winograd", choices=("timed", "rule", "direct"),
        help=f"which convolutions take Winograd's form: by timing once, by a rule, none ({default})",
    )  # fmt: skip


def precision(parser: Parser) -> None:
    """What convolutions multiply."""
    parser.add_argument(
        "--precision", choices=("float32", "bfloat16", "int8"),
        help="what convolutions multiply, where the processor can (float32)",
    )  # fmt: skip
    parser.add_argument(
        "--calibrate", type=text, metavar="DIR|F",
        help="pictures like those to come, or the file that weights calibrate wrote, for int8 (the file "
        "beside the weights)",
    )  # fmt: skip


def assignment(parser: argparse._ActionsContainer) -> None:
    """Which cells of a detector learn a box."""
    parser.add_argument(
        "--assignment", choices=("hy", "v5", "v3", "shape"), help="detectors: which cells learn a box"
    )


def data_set(parser: Parser) -> None:
    """A data set, in one of two ways."""
    parser.add_argument("--json-annotations", type=text, metavar="F", help="COCO annotation file")
    parser.add_argument("--images", type=text, metavar="DIR", help="its folder of pictures")
    parser.add_argument(
        "--data", type=text, metavar="DIR", help="instead: a folder in VOC, YOLO or COCO layout"
    )
    parser.add_argument(
        "--split", type=text, default="train", metavar="NAME", help="which part of --data (train)"
    )
    parser.add_argument(
        "--skip-bad", action="store_true", help="leave out what would be refused, and count it"
    )


def sources(parser: Parser, what: str) -> None:
    """What `detect`, `track` and `pose` look at, and where the results go."""
    parser.add_argument(
        "source", nargs="*", metavar="SOURCE", type=text,
        help="picture, folder, glob, .txt list of pictures, video, camera by number or name, http:// or "
        "rtsp:// stream, screen or screen:X,Y,WxH, - for standard input (without any: a portrait that comes "
        "with matplotlib)",
    )  # fmt: skip
    parser.add_argument("--demo", action="store_true", help="use the portrait that comes with matplotlib")
    results(parser, what)
    parser.add_argument("--no-window", action="store_true", help="never open a window for videos and cameras")
    seconds = number(0, 1e9)
    parser.add_argument(
        "--reconnect", type=seconds, default=300.0, metavar="SECONDS",
        help="of cameras and streams: so long without a picture, and they are lost for good (300)",
    )  # fmt: skip
    parser.add_argument(
        "--stale", type=seconds, default=30.0, metavar="SECONDS",
        help="of cameras and streams: so long the same picture, and they count as broken off; 0: never (30)",
    )  # fmt: skip
    parser.add_argument(
        "--tolerant", action="store_true", help="take what damaged files still give, with a warning"
    )
    frame = whole(0, 10**9)
    parser.add_argument("--frame-first", type=frame, default=0, metavar="N", help="of videos: begin here (0)")
    parser.add_argument("--frame-last", type=frame, metavar="N", help="of videos: end after this frame")
    parser.add_argument(
        "--frame-step", type=whole(1, 10**9), default=1, metavar="N", help="of videos: every Nth frame (1)"
    )


def results(parser: Parser, what: str) -> None:
    """Where what was found goes."""
    group = parser.add_argument_group("results")
    group.add_argument("--out", type=text, metavar="DIR", help=f"write pictures with {what}, and JSON, here")
    group.add_argument("--csv", type=text, metavar="F", help="write a table of all sources here")
    group.add_argument("--coco", type=text, metavar="F", help="write COCO's format for results here")
    group.add_argument(
        "--overwrite", action="store_true",
        help="replace what a former run wrote (without: --out numbers its files, --csv and --coco refuse)",
    )  # fmt: skip
    group.add_argument(
        "--http", type=whole(0, 65535), metavar="PORT",
        help="show pictures and JSON to browsers on this machine, at http://127.0.0.1:PORT/; 0: any port",
    )  # fmt: skip
    as_json(parser, "one object a picture or frame")


def following(parser: Parser) -> argparse._ArgumentGroup:
    """What `track` and `pose --track` follow and count."""
    group = parser.add_argument_group("following")
    group.add_argument(
        "--low", type=fraction, metavar="F", help="less sure things down to this go on with tracks (0.1)"
    )
    group.add_argument(
        "--patience",
        type=number(0, 1e6),
        metavar="F",
        help="frames until a thing out of sight is forgotten (30)",
    )
    group.add_argument(
        "--line", type=corners(2, 2), action="append", default=[], metavar="[NAME=]X1,Y1,X2,Y2",
        help="count what crosses this line, in pixels: in is from the left hand to the right hand of one who "
        "goes from its first end to its second; may be given several times",
    )  # fmt: skip
    group.add_argument(
        "--zone", type=corners(3), action="append", default=[], metavar="[NAME=]X1,Y1,X2,Y2,X3,Y3,...",
        help="count what enters, leaves and is in this polygon; may be given several times",
    )  # fmt: skip
    group.add_argument(
        "--anchor", choices=("feet", "centre"), help="which point of a box crosses and enters (feet)"
    )
    group.add_argument(
        "--hold", type=whole(1, 10_000), metavar="N", help="count what held for so many frames (2)"
    )
    return group
