"""`visionkit weights info`: what a weight file says of itself."""

import argparse
import json
from typing import Any

from visionkit.engine.info import DetectorInfo
from visionkit.engine.pose_info import PoseInfo

from .detector import open_predictor


def run(args: argparse.Namespace) -> int:
    """Print the description in a weight file, and how many numbers it holds."""
    predictor = open_predictor(args)
    info = predictor.info
    facts = {
        "architecture": info.architecture,
        "parameters": sum(parameter.size for parameter in predictor.network.parameters()),
        "input_size": info.input_size,
        "classes": [{"id": i, "name": n} for i, n in zip(info.category_ids, info.names, strict=True)],
        **(_detector(info) if isinstance(info, DetectorInfo) else _pose(info)),
        "licence": info.licence,
        "training": dict(info.training),
    }
    if args.json:
        print(json.dumps(facts))
        return 0
    facts["parameters"] = f"{facts['parameters']:,}"
    facts["input_size"] = "{}x{}".format(*info.input_size)
    facts["classes"] = ", ".join(f"{n} ({i})" for i, n in zip(info.category_ids, info.names, strict=True))
    if isinstance(info, DetectorInfo):
        facts["anchors"] = " | ".join(" ".join(f"{w:g}x{h:g}" for w, h in level) for level in info.anchors)
    else:
        facts["keypoints"] = ", ".join(info.skeleton.keypoints)
        facts["limbs"] = len(info.skeleton.limbs)
    facts["training"] = json.dumps(facts["training"])
    for name, value in facts.items():
        print(f"{name:14} {value}")
    return 0


def _detector(info: DetectorInfo) -> dict[str, Any]:
    return {
        "anchors": info.anchors,
        "strides": info.strides,
        "preprocessing": f"RGB, letterbox on grey 114, {_normalised(info)}",
        "assignment": info.assignment,
    }


def _pose(info: PoseInfo) -> dict[str, Any]:
    skeleton = info.skeleton
    how = "letterbox" if info.people == "many" else f"crop of the box times {info.padding:g}"
    return {
        "skeleton": skeleton.name,
        "keypoints": skeleton.keypoints,
        "limbs": skeleton.limbs,
        "sigmas": skeleton.sigmas,
        "people": info.people,
        "stride": info.stride,
        "preprocessing": f"RGB, {how} on grey 114, {_normalised(info)}",
    }


def _normalised(info: DetectorInfo | PoseInfo) -> str:
    return f"(pixel - {info.mean:g}) * {info.scale:g}"
