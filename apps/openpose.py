"""OpenPose's own flags, as far as they mean something here: the same things under the names people know."""

import argparse
from collections.abc import Callable
from typing import Any

from .arguments import Parser, number, openpose_resolution, text, whole

#: `--model_pose`, and what the skeleton is called here.
_MODELS = {"BODY_25": "body-25", "COCO": "openpose-18", "MPI": "mpi-15"}


def flags(parser: Parser) -> None:
    """Add them to `visionkit pose`."""
    group = parser.add_argument_group("the same under OpenPose's names")

    def alias(
        flag: str, dest: str, kind: Callable[[str], Any], metavar: str, what: str | None = None
    ) -> None:
        group.add_argument(flag, dest=dest, type=kind, metavar=metavar, help=what, default=argparse.SUPPRESS)

    number_of = whole(0, 10**9)
    for flag in ("--image_dir", "--video", "--camera", "--ip_camera"):
        alias(flag, "openpose_source", text, "SOURCE")
    parser.set_defaults(openpose_source=None)
    alias("--prototxt_path", "prototxt", text, "F")
    alias("--caffemodel_path", "weights", text, "F")
    alias("--net_resolution", "size", openpose_resolution, "WxH", "width first; multiples of 16 go up to 32")
    alias("--number_people_max", "max_people", _or(whole(1, 10_000), 10_000), "N", "-1: all")
    alias("--render_threshold", "keypoint_confidence", number(0, 1, open_low=True), "F")
    alias("--model_pose", "skeleton", _model, "|".join(_MODELS), "the points that are given")
    alias("--write_json", "write_json", text, "DIR")
    alias("--write_images", "out", text, "DIR")
    alias("--display", "no_window", lambda level: whole(0, 3)(level) == 0, "0")
    alias("--frame_first", "frame_first", number_of, "N")
    alias("--frame_last", "frame_last", _or(number_of, None), "N", "-1: to the end")
    alias("--frame_step", "frame_step", whole(1, 10**9), "N")


def _or(kind: Callable[[str], int], all_: int | None) -> Callable[[str], int | None]:
    """A type for a number, or -1 for no limit."""
    return lambda given: all_ if given == "-1" else kind(given)


def _model(given: str) -> str:
    if given not in _MODELS:
        raise argparse.ArgumentTypeError(f"expected one of {', '.join(_MODELS)}, not {given!r}")
    return _MODELS[given]
