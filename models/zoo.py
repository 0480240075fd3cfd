"""The networks that come with the project, and the way to open any of its weight files."""

import difflib
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visionkit.engine.info import LOSS_WEIGHTS, Anchors, DetectorInfo
from visionkit.engine.pose_info import PoseInfo
from visionkit.engine.pose_predictor import PosePredictor
from visionkit.engine.pose_transfer import transfer_poses
from visionkit.engine.predictor import Predictor
from visionkit.engine.transfer import Transfer, transfer, transfer_backbone
from visionkit.errors import UnknownNameError, UsageError, WeightsError
from visionkit.graph import Ranges
from visionkit.nn import Module
from visionkit.nn.init import Unset
from visionkit.vision.skeleton import Skeleton
from visionkit.vision.skeletons import COCO_17
from visionkit.weights import safetensors

from .card import ModelCard, PoseCard
from .detectors import yolo_nano, yolo_nano_dilated, yolo_small
from .hourglass import hourglass_lite
from .openpose_lite import openpose_lite

#: k-means of COCO's people at 320 x 320.
_ANCHORS: Anchors = (
    ((4, 8), (8, 15), (12, 27)),
    ((21, 33), (25, 66), (42, 51)),
    ((51, 101), (91, 158), (164, 210)),
)
_NANO = DetectorInfo(
    "yolo-nano", ("person",), (1,), _ANCHORS, (8, 16, 32), (320, 320), loss=dict(LOSS_WEIGHTS["v5"])
)

#: Detectors by name.
CARDS = {
    card.name: card
    for card in (
        ModelCard(yolo_nano, "1.35 M parameters, 1.02 GFLOP at 320x320", _NANO),
        ModelCard(
            yolo_small, "6.61 M parameters, 3.99 GFLOP at 320x320", replace(_NANO, architecture="yolo-small")
        ),
        ModelCard(
            yolo_nano_dilated,
            "yolo-nano, dilated instead of stride 32",
            replace(_NANO, architecture="yolo-nano-dilated", strides=(8, 16, 16)),
        ),
    )
}

#: Networks of poses by name.
POSE_CARDS = {
    card.name: card
    for card in (
        PoseCard(
            openpose_lite,
            "1.50 M parameters, 3.71 GFLOP at 384x384",
            PoseInfo(
                "openpose-lite",
                COCO_17,
                input_size=(384, 384),
                stride=4,
                sigma=1.5,
                limb_width=3.0,
                focus=3.0,
            ),
        ),
        PoseCard(
            hourglass_lite,
            "1.41 M parameters, 2.37 GFLOP at 256x192",
            PoseInfo(
                "hourglass-lite", COCO_17, input_size=(256, 192), stride=4, people="one", sigma=2.0, focus=3.0
            ),
        ),
    )
}

_WEIGHTS = Path(__file__).parent / "weights"

Tensors = dict[str, NDArray[Any]]
Info = DetectorInfo | PoseInfo


def card(name: str) -> ModelCard:
    """The card of a detector's architecture.

    Raises:
        UnknownNameError: there is none of this name; the message lists near ones.
    """
    if name not in CARDS:
        raise _unknown("detector", name, CARDS)
    return CARDS[name]


def pose_card(name: str) -> PoseCard:
    """The card of an architecture that finds poses; errors as of `card`."""
    if name not in POSE_CARDS:
        raise _unknown("network of poses", name, POSE_CARDS)
    return POSE_CARDS[name]


def task(model: str | None, weights: str | os.PathLike[str] | None) -> str:
    """What is found by an architecture, or by a shipped name or weight file: "detect" or "pose".

    Raises:
        UsageError: both are named.
        UnknownNameError: no such name.
        FileError, WeightsError: the file cannot be read.
    """
    if model and weights:
        reason, remedy = "model and weights exclude each other", "leave the model out: weights know theirs"
        raise UsageError(reason, value=(model, str(weights)), remedy=remedy)
    if weights:
        return "pose" if safetensors.read_metadata(find(weights)).get("task") == "pose" else "detect"
    if model and model not in CARDS and model not in POSE_CARDS:
        raise _unknown("architecture", model, [*CARDS, *POSE_CARDS])
    return "pose" if model in POSE_CARDS else "detect"


def shipped() -> dict[str, Path]:
    """The weight files that come with the project, by name."""
    return {path.stem: path for path in sorted(_WEIGHTS.glob("*.safetensors"))}


def find(weights: str | os.PathLike[str]) -> Path:
    """The file that a shipped name or a path means.

    Raises:
        UnknownNameError: neither a file nor a shipped name; the message lists near ones.
    """
    path = Path(weights)
    names = shipped()
    if path.suffix or path.exists() or len(path.parts) > 1:
        return path
    if str(weights) in names:
        return names[str(weights)]
    if str(weights) in CARDS or str(weights) in POSE_CARDS:
        raise UnknownNameError(
            "an architecture without weights", value=str(weights), remedy="train it, or name a weight file"
        )
    raise _unknown("weights", str(weights), names)


def open_weights(weights: str | os.PathLike[str]) -> tuple[Module, Info]:
    """The network and the description of a shipped name or a .safetensors file.

    Raises:
        UnknownNameError: no such name.
        FileError: the file cannot be read.
        WeightsError: it is damaged, or its tensors do not fit its architecture.
    """
    path = find(weights)
    tensors, info = _read(path)
    network = _network(info, Unset())
    try:
        network.load_state_dict(tensors)
    except WeightsError as error:
        raise WeightsError(error.reason, file=path, remedy=error.remedy) from None
    return network, info


def load(weights: str | os.PathLike[str], **options: Any) -> Predictor | PosePredictor:
    """A detector, or a network of poses, that is ready to run.

    Args:
        weights: a shipped name, or a .safetensors file.
        options: of `Predictor` (confidence, iou, max_detections, size, precision, ranges) or `PosePredictor`.
            Without ranges those in the file `WEIGHTS.ranges.json` beside the weights are taken, if there is
            one.
    """
    network, info = open_weights(weights)
    stored = find(weights).with_suffix(".ranges.json")
    if options.get("precision") == "int8" and options.get("ranges") is None and stored.is_file():
        options["ranges"] = Ranges.read(stored)
    if isinstance(info, PoseInfo):
        return PosePredictor(network, info, **options)
    return Predictor(network, info, **options)


def fine_tuned(
    weights: str | os.PathLike[str], names: Sequence[str], category_ids: Sequence[int], seed: int = 0
) -> tuple[Module, DetectorInfo, Transfer]:
    """A network for other classes that starts from a detector's weights.

    Args:
        weights: a shipped name, or a .safetensors file.
        names, category_ids: the new classes; those of the same name keep their weights.
        seed: of what is new.

    Returns:
        The network, its description (the file's, with the new classes), and what was taken over.
    """
    tensors, info = _read(find(weights))
    if not isinstance(info, DetectorInfo):
        raise WeightsError("a network of poses, not a detector", file=find(weights))
    kind = card(info.architecture)
    network = kind.network(len(names), seed)
    done = transfer(network, tensors, info.names, names, len(info.anchors[0]), kind.heads(len(names)))
    return network, info.with_classes(tuple(names), tuple(category_ids)), done


def fine_tuned_pose(
    weights: str | os.PathLike[str],
    skeleton: Skeleton,
    names: Sequence[str],
    category_ids: Sequence[int],
    seed: int = 0,
) -> tuple[Module, PoseInfo, Transfer]:
    """A network for other points that starts from a pose network's weights; points of one name keep theirs.

    Args:
        weights: a shipped name, or a .safetensors file.
        skeleton, names, category_ids: of the new data.
        seed: of what is new.

    Returns:
        The network, its description (the file's, with the new points), and what was taken over.
    """
    path = find(weights)
    tensors, old = _read(path)
    if not isinstance(old, PoseInfo):
        raise WeightsError("a detector, not a network of poses", file=path)
    info = old.with_skeleton(skeleton, tuple(names), tuple(category_ids))
    kind = pose_card(info.architecture)
    network = kind.network(info.channels, seed)
    return network, info, transfer_poses(network, tensors, old, info, kind.ports(info.channels))


def take_backbone(network: Module, weights: str | os.PathLike[str]) -> Transfer:
    """Give `network` the backbone of other weights, of a detector or of poses; what was taken over.

    Raises:
        FileError, WeightsError: no such file, or another backbone.
    """
    path = find(weights)
    try:
        return transfer_backbone(network, _read(path)[0])
    except WeightsError as error:
        raise WeightsError(error.reason, file=path, value=error.value, remedy=error.remedy) from None


def save(path: str | os.PathLike[str], network: Module, info: Info) -> None:
    """Write a network as a .safetensors file that `load` opens."""
    safetensors.write(path, network.state_dict(), info.to_metadata())


def _read(path: Path) -> tuple[Tensors, Info]:
    tensors, metadata = safetensors.read(path)
    kind = PoseInfo if metadata.get("task") == "pose" else DetectorInfo
    return tensors, kind.from_metadata(metadata, path)


def _network(info: Info, seed: int | np.random.Generator = 0) -> Module:
    """The network of a description, freshly initialised."""
    if isinstance(info, PoseInfo):
        return pose_card(info.architecture).network(info.channels, seed)
    return card(info.architecture).network(len(info.names), seed)


def _unknown(kind: str, name: str, known: Any) -> UnknownNameError:
    near = difflib.get_close_matches(name, list(known), n=3, cutoff=0.4)
    listed = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(known) or 'none'}"
    return UnknownNameError(f"no such {kind}", value=name, remedy=listed)
