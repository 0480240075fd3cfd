"""Flags of the verbs that learn and judge: train, eval."""

from . import flags
from .arguments import Parser, fraction, number, size, text, whole


def train(parser: Parser) -> None:
    """Which data, which network to begin with, and how it is trained."""
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
    flags.assignment(how)
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


def evaluate(parser: Parser) -> None:
    """What is scored, against which data, and how."""
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
