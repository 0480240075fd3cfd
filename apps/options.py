"""The verbs and their flags, in the order `visionkit --help` shows them."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from . import flags, openpose
from .arguments import Parser, batch, fraction, number, resolution, several, size, text, whole

ASSIGNMENTS = ("hy", "v5", "v3", "shape")


@dataclass(frozen=True, slots=True)
class Verb:
    """One verb: `module` of this folder has the function `run(args) -> int` that does it."""

    name: str
    help: str
    module: str
    flags: Callable[[Parser], None]
    example: str = ""
    targets: tuple["Verb", ...] = ()

    def add(self, verbs: Any) -> None:
        """Put the verb into the grammar, with its targets if it has some."""
        parser = verbs.add_parser(
            self.name,
            help=self.help,
            description=self.help,
            epilog=self.example and f"example: {self.example}",
        )
        parser.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
        parser.set_defaults(module=self.module, parser=parser)
        self.flags(parser)
        if self.targets:
            below = parser.add_subparsers(
                title="targets", metavar="TARGET", required=True, dest="target", parser_class=Parser
            )
            for target in self.targets:
                target.add(below)


def _no_flags(parser: Parser) -> None:
    """Nothing of its own."""


def _detect(parser: Parser) -> None:
    flags.sources(parser, "boxes")
    flags.network(parser)
    parser.add_argument("--confidence", type=fraction, metavar="F", help="least confidence, 0 to 1 (0.4)")
    parser.add_argument(
        "--iou", type=fraction, metavar="F", help="overlap of boxes taken for one object (0.5)"
    )
    flags.plan(parser)
    flags.precision(parser)
    flags.threads(parser)


def _track(parser: Parser) -> None:
    _detect(parser)
    flags.following(parser)


def _pose(parser: Parser) -> None:
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


def _train(parser: Parser) -> None:
    data = parser.add_argument_group("data: COCO files, or folders in VOC or YOLO layout")
    data.add_argument("--train-json", type=text, metavar="F")
    data.add_argument("--train-images", type=text, metavar="DIR")
    data.add_argument("--val-json", type=text, metavar="F")
    data.add_argument("--val-images", type=text, metavar="DIR")
    data.add_argument("--train", type=text, metavar="DIR", help="VOC, YOLO or COCO layout")
    data.add_argument("--val", type=text, metavar="DIR", help="VOC, YOLO or COCO layout")
    data.add_argument(
        "--skip-bad", action="store_true", help="train without what would be refused, and say so"
    )
    start = parser.add_argument_group("network")
    start.add_argument(
        "--model", type=text, metavar="NAME",
        help="train this network from scratch: yolo-nano, yolo-small; of poses openpose-lite (many people), "
        "hourglass-lite (one person in a crop)",
    )  # fmt: skip
    start.add_argument(
        "--weights", type=text, metavar="W", help="go on from a shipped name or .safetensors file"
    )
    start.add_argument(
        "--backbone", type=text, metavar="W", help="a new network, but with the backbone of these weights"
    )
    start.add_argument(
        "--freeze", type=text, metavar="PATTERN", help="leave parameters alone, such as 'backbone.*'"
    )
    how = parser.add_argument_group("training")
    how.add_argument("--size", type=size, metavar="N|HxW", help="input size, multiples of 32")
    how.add_argument("--epochs", type=whole(1, 1_000_000), metavar="N")
    how.add_argument("--batch", type=whole(1, 4096), metavar="N")
    how.add_argument("--lr", type=number(0, 1e3, open_low=True), metavar="F", help="highest learning rate")
    how.add_argument("--assignment", choices=ASSIGNMENTS, help="detectors: which cells learn a box")
    how.add_argument(
        "--augment", choices=("default", "cells"), help="detectors: cells has both flips, gentler scales"
    )
    how.add_argument(
        "--precision", choices=("float32", "bfloat16"),
        help="what convolutions multiply, where the processor can; weights stay float32 (float32)",
    )  # fmt: skip
    how.add_argument("--seed", type=whole(0, 2**63 - 1), metavar="N")
    how.add_argument("--no-train-ap", action="store_true", help="do not score a part of the training data")
    flags.threads(parser)
    parser.add_argument("--out", type=text, metavar="DIR", help="the run folder")
    parser.add_argument("--resume", type=text, metavar="RUNDIR", help="go on with a run that was stopped")
    parser.add_argument("--override", action="store_true", help="resume although something differs")
    parser.add_argument("--strict-resume", action="store_true", help="stop at a damaged checkpoint")


def _eval(parser: Parser) -> None:
    flags.network(parser)
    parser.add_argument("--detections", type=text, metavar="F", help="score this COCO results file instead")
    parser.add_argument(
        "--keypoints", type=text, metavar="F", help="score the keypoints of this results file"
    )
    flags.data_set(parser)
    points = parser.add_argument_group("keypoints")
    points.add_argument(
        "--flip", action="store_true", help="average a pose network's maps with the mirrored picture's"
    )
    points.add_argument(
        "--metric", choices=("oks", "pck", "pckh", "nme"), help="AP by object similarity, or distances (oks)"
    )
    points.add_argument(
        "--reference",
        type=text,
        metavar="LENGTH",
        help="what distances are divided by: torso, head, inter-ocular, inter-pupil, box, pixel, or "
        "two points with a comma between (by metric: torso, head, inter-ocular)",
    )
    points.add_argument(
        "--threshold", type=number(0, 1e6, open_low=True), metavar="F",
        help="how far a point may be, in that length (by metric: 0.2, 0.5, 0.1)",
    )  # fmt: skip
    parser.add_argument("--report", type=text, metavar="DIR", help="write scores, detections and curves here")
    parser.add_argument("--min-ap", type=fraction, metavar="F", help="exit with 1 if AP is below")
    flags.as_json(parser, "the scores")
    flags.precision(parser)
    flags.threads(parser)


def _export(parser: Parser) -> None:
    flags.network(parser)
    parser.add_argument("--to", required=True, choices=("onnx",))
    parser.add_argument("--out", required=True, type=text, metavar="F", help="the file, ending in .onnx")
    parser.add_argument(
        "--batch", type=batch, default=1, metavar="N|dynamic", help="pictures at a time; dynamic: any (1)"
    )
    parser.add_argument(
        "--decoded", action="store_true", help="give boxes and scores before suppression, not raw maps"
    )


def _bench(parser: Parser) -> None:
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


def _check(parser: Parser) -> None:
    flags.data_set(parser)
    parser.add_argument(
        "--strict", action="store_true", help="boxes without area and the like are errors too"
    )
    parser.add_argument(
        "--oracle", action="store_true", help="score the ground truth itself: the ceiling of AP"
    )
    parser.add_argument("--model", type=text, metavar="NAME", help="the network the oracle is about")
    parser.add_argument("--weights", type=text, metavar="W", help="instead: weights whose anchors it uses")
    parser.add_argument("--assignment", choices=ASSIGNMENTS, help="detectors: which cells learn a box")
    parser.add_argument("--size", type=size, metavar="N|HxW", help="input size of the oracle")
    parser.add_argument("--problems", type=text, metavar="F", help="write every finding as JSON here")
    flags.as_json(parser, "the findings")


def _stats(parser: Parser) -> None:
    flags.data_set(parser)
    flags.as_json(parser, "the figures")


def _convert(parser: Parser) -> None:
    flags.data_set(parser)
    parser.add_argument("--to", required=True, choices=("coco", "voc", "yolo"))
    parser.add_argument("--out", required=True, type=text, metavar="DIR", help="a new folder")


def _split(parser: Parser) -> None:
    flags.data_set(parser)
    parser.add_argument(
        "--val", type=number(0, 1, open_low=True), default=0.2, metavar="F", help="share (0.2)"
    )
    parser.add_argument("--seed", type=whole(0, 2**63 - 1), default=0, metavar="N")
    parser.add_argument("--out", required=True, type=text, metavar="DIR", help="for train.json and val.json")


def _anchors(parser: Parser) -> None:
    flags.data_set(parser)
    parser.add_argument("--size", type=size, default=(320, 320), metavar="N|HxW", help="input size (320)")
    parser.add_argument("--count", type=whole(1, 100), default=9, metavar="N", help="how many (9)")
    parser.add_argument("--balanced", action="store_true", help="as many boxes of every class")
    parser.add_argument("--seed", type=whole(0, 2**63 - 1), default=0, metavar="N")
    flags.as_json(parser, "the anchors")


def _show(parser: Parser) -> None:
    flags.data_set(parser)
    parser.add_argument("--count", type=whole(1, 1_000_000), default=20, metavar="N", help="pictures (20)")
    parser.add_argument("--out", required=True, type=text, metavar="DIR", help="pictures with their boxes")


def _info(parser: Parser) -> None:
    parser.add_argument("weights", type=text, metavar="W", help="a shipped name or a .safetensors file")
    flags.as_json(parser, "what the file says")


def _calibrate(parser: Parser) -> None:
    parser.add_argument("weights", type=text, metavar="W", help="a shipped name or a .safetensors file")
    parser.add_argument("--size", type=size, metavar="N|HxW", help="input size (the network's own)")
    images = "folder of pictures like those to come; 100 of them are read"
    parser.add_argument("--images", required=True, type=text, metavar="DIR", help=images)
    parser.add_argument(
        "--out", required=True, type=text, metavar="F", help="W.ranges.json beside W.safetensors is found"
    )
    flags.threads(parser)


def _warmup(parser: Parser) -> None:
    flags.network(parser)
    flags.precision(parser)
    flags.plan(parser)
    flags.threads(parser)


def _serve(parser: Parser) -> None:
    parser.add_argument(
        "--weights", action="append", type=text, metavar="W",
        help="a shipped name or a .safetensors file, of boxes or poses; may be given several times "
        "(yolo-nano-person and openpose-lite)",
    )  # fmt: skip
    parser.add_argument(
        "--port", type=whole(0, 65_535), default=8000, metavar="N", help="on 127.0.0.1; 0: any (8000)"
    )
    flags.plan(parser)
    flags.precision(parser)
    flags.threads(parser)


_DATA = (
    Verb("check", "Find everything that is wrong with a data set.", "data", _check),
    Verb("stats", "Count pictures, boxes and sizes per class.", "data", _stats),
    Verb("convert", "Write the annotations as COCO, VOC or YOLO.", "data", _convert),
    Verb("split", "Split into train and val by a seed.", "data", _split),
    Verb("anchors", "Find typical box sizes.", "data", _anchors),
    Verb("show", "Draw the annotated boxes.", "data", _show),
)
_WEIGHTS = (
    Verb("info", "Show what a weight file says of itself.", "weights", _info),
    Verb("calibrate", "Find the ranges that int8 needs, on a folder of pictures.", "calibrate", _calibrate),
)


def _doctor(parser: Parser) -> None:
    parser.add_argument(
        "--cameras", action="store_true", help="list the cameras instead, without opening any"
    )
    flags.as_json(parser, "the findings")


VERBS = (
    Verb("detect", "Find objects in pictures, videos and cameras.", "detect", _detect,
         "visionkit detect street.jpg --out out"),
    Verb("pose", "Find key-points of people in pictures, videos and cameras.", "pose", _pose,
         "visionkit pose street.jpg --out out --write-json out"),
    Verb("track", "Follow and count objects in videos and sequences of pictures.", "track", _track,
         "visionkit track clip.mp4 --out out --line door=100,300,500,300"),
    Verb("serve", "Open a page in the browser for pictures and the camera.", "serve", _serve,
         "visionkit serve --weights openpose-lite --weights runs/first/best.safetensors"),
    Verb("train", "Train a detector or a pose network on your data, or go on with a run.", "train", _train,
         "visionkit train --train-json train.json --train-images pictures "
         "--val-json val.json --val-images pictures --out runs/first"),
    Verb("eval", "Score a detector or a pose network, or a file of what was found.", "evaluate", _eval,
         "visionkit eval --weights best.safetensors --json-annotations val.json --images pictures"),
    Verb("data", "Look at a data set: check, stats, convert, split, anchors, show.", "data", _no_flags,
         targets=_DATA),
    Verb("weights", "Look at weight files, calibrate them: info, calibrate.", "weights", _no_flags,
         targets=_WEIGHTS),
    Verb("export", "Write a detector as an ONNX file for other runtimes.", "export", _export,
         "visionkit export --weights best.safetensors --to onnx --decoded --out best.onnx"),
    Verb("bench", "Measure speed here: a network's parts, or the kernels.", "bench", _bench),
    Verb("doctor", "Look at this machine and installation, and say what to do.", "doctor",
         _doctor),
    Verb("warmup", "Compile the kernels of a network now, not at the first picture.", "warmup", _warmup),
)  # fmt: skip
