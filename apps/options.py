"""The verbs and their flags, in the order `visionkit --help` shows them."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .arguments import Parser
from .options_data import anchors, check, convert, show, split, stats
from .options_learn import evaluate, train
from .options_look import detect, pose, serve, track
from .options_tools import bench, calibrate, doctor, export, info, warmup


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


_DATA = (
    Verb("check", "Find everything that is wrong with a data set.", "data", check),
    Verb("stats", "Count pictures, boxes and sizes per class.", "data", stats),
    Verb("convert", "Write the annotations as COCO, VOC or YOLO.", "data", convert),
    Verb("split", "Split into train and val by a seed.", "data", split),
    Verb("anchors", "Find typical box sizes.", "data", anchors),
    Verb("show", "Draw the annotated boxes.", "data", show),
)
_WEIGHTS = (
    Verb("info", "Show what a weight file says of itself.", "weights", info),
    Verb("calibrate", "Find the ranges that int8 needs, on a folder of pictures.", "calibrate", calibrate),
)

VERBS = (
    Verb("detect", "Find objects in pictures, videos and cameras.", "detect", detect,
         "visionkit detect street.jpg --out out"),
    Verb("pose", "Find key-points of people in pictures, videos and cameras.", "pose", pose,
         "visionkit pose street.jpg --out out --write-json out"),
    Verb("track", "Follow and count objects in videos and sequences of pictures.", "track", track,
         "visionkit track clip.mp4 --out out --line door=100,300,500,300"),
    Verb("serve", "Open a page in the browser for pictures and the camera.", "serve", serve,
         "visionkit serve --weights openpose-lite --weights runs/first/best.safetensors"),
    Verb("train", "Train a detector or a pose network on your data, or go on with a run.", "train", train,
         "visionkit train --train-json train.json --train-images pictures "
         "--val-json val.json --val-images pictures --out runs/first"),
    Verb("eval", "Score a detector or a pose network, or a file of what was found.", "evaluate", evaluate,
         "visionkit eval --weights best.safetensors --json-annotations val.json --images pictures"),
    Verb("data", "Look at a data set: check, stats, convert, split, anchors, show.", "data", _no_flags,
         targets=_DATA),
    Verb("weights", "Look at weight files, calibrate them: info, calibrate.", "weights", _no_flags,
         targets=_WEIGHTS),
    Verb("export", "Write a network as an ONNX file for other runtimes.", "export", export,
         "visionkit export --weights best.safetensors --to onnx --decoded --out best.onnx"),
    Verb("bench", "Measure speed here: a network's parts, or the kernels.", "bench", bench),
    Verb("doctor", "Look at this machine and installation, and say what to do.", "doctor", doctor),
    Verb("warmup", "Compile the kernels of a network now, not at the first picture.", "warmup", warmup),
)  # fmt: skip
