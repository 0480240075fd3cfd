"""From arguments to a network: weights, input size, thresholds, threads; or a description for new data."""

import argparse
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar, cast

from visionkit.errors import DataError, UsageError

if TYPE_CHECKING:
    from visionkit.data.dataset import DetectionDataset
    from visionkit.engine.info import DetectorInfo
    from visionkit.engine.pose_info import PoseInfo
    from visionkit.engine.pose_predictor import PosePredictor
    from visionkit.engine.predictor import Predictor
    from visionkit.graph import Ranges

    Ready = TypeVar("Ready", Predictor, PosePredictor)

#: What `detect` runs and what `train` builds where nothing else is named.
WEIGHTS, MODEL = "yolo-nano-person", "yolo-nano"


def use_threads(args: argparse.Namespace) -> None:
    """Compute on `--threads` threads, if the user asked for a number."""
    if args.threads:
        from visionkit.kernels.jit import set_threads

        set_threads(args.threads)


def open_detector(args: argparse.Namespace) -> "Predictor":
    """The detector of `--weights`, `--size`, `--precision` and thresholds; the shipped one by default.

    Raises:
        UsageError: the weights of a network of poses.
        UnknownNameError: no such model.
        WeightsError: a weight file that cannot be used.
        FileError: it is missing.
    """
    return calibrated(load_detector(args.weights or WEIGHTS, **predictor_options(args)), args)


def open_predictor(args: argparse.Namespace) -> "Predictor | PosePredictor":
    """The same of any weights; errors but the first as of `open_detector`."""
    from visionkit.models.zoo import load

    return calibrated(load(args.weights or WEIGHTS, **predictor_options(args)), args)


def load_detector(weights: str, **options: Any) -> "Predictor":
    """`visionkit.load` where only a detector will do; errors as of `open_detector`."""
    from visionkit.engine.predictor import Predictor
    from visionkit.models.zoo import load, task

    if task(None, weights) == "pose":
        remedy = "run visionkit pose, or name the weights of a detector"
        raise UsageError("this is a network of poses, not a detector", value=weights, remedy=remedy)
    return cast(Predictor, load(weights, **options))


def predictor_options(args: argparse.Namespace) -> dict[str, Any]:
    """Those of `Predictor` that the user gave."""
    return given(args, ("size", "confidence", "iou", "winograd", "precision"))


def given(args: argparse.Namespace, names: Iterable[str]) -> dict[str, Any]:
    """Those of the named arguments that the user gave."""
    return {name: value for name in names if (value := getattr(args, name, None)) is not None}


def calibrated(predictor: "Ready", args: argparse.Namespace) -> "Ready":
    """The predictor with the ranges of `--calibrate`, if the user gave it."""
    pictures = getattr(args, "calibrate", None)
    if pictures:
        if predictor.precision != "int8":
            raise UsageError("--calibrate goes with --precision int8")
        predictor.ranges = ranges_of(predictor, pictures)
    return predictor


def ranges_of(predictor: "Predictor | PosePredictor", path: str) -> "Ranges":
    """The ranges in a .json file, or those on a folder of pictures.

    Raises:
        DataError, FileError: no file of ranges, or no pictures.
    """
    from visionkit.engine.calibration import calibrate_network
    from visionkit.graph import Ranges
    from visionkit.io.video import is_video

    from .sources import expand

    if path.lower().endswith(".json"):
        return Ranges.read(path)
    files = [name for name in expand([path]) if not is_video(name)]
    return calibrate_network(predictor.network, predictor.info, files, input_size(predictor))


def input_size(predictor: "Predictor | PosePredictor") -> tuple[int, int]:
    """Its input's (height, width), for a picture of the aspect that its description has."""
    from visionkit.engine.predictor import Predictor

    if isinstance(predictor, Predictor):
        return predictor.size
    return predictor.input_size(predictor.info.input_size)


def describe(
    dataset: "DetectionDataset",
    model: str | None,
    weights: str | None,
    *,
    size: tuple[int, int] | None = None,
    assignment: str | None = None,
) -> "DetectorInfo":
    """The description of a detector for the classes of a data set.

    A new network gets anchors made from the data, if it has enough different boxes; weights keep theirs.
    """
    from visionkit.engine.detector import for_data
    from visionkit.models.zoo import card, open_weights

    info = open_weights(weights)[1] if weights else card(model or MODEL).info(dataset.names)
    info = replace(info, input_size=size or info.input_size)
    if assignment:
        info = info.with_assignment(assignment)
    try:
        return for_data(info, dataset, anchors=not weights)
    except DataError:  # a handful of boxes: the anchors of people do
        return for_data(info, dataset, anchors=False)


def describe_poses(
    dataset: "DetectionDataset",
    model: str | None,
    weights: str | None,
    *,
    size: tuple[int, int] | None = None,
) -> "PoseInfo":
    """The description of a pose network for the points of a data set that has some."""
    from visionkit.models.zoo import open_weights, pose_card

    if weights:
        info = open_weights(weights)[1].with_skeleton(dataset.skeleton, dataset.names, dataset.category_ids)
    else:
        info = pose_card(model or "").info(dataset.skeleton, dataset.names, dataset.category_ids)
    return replace(info, input_size=size or info.input_size)
