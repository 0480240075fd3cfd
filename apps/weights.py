"""`visionkit weights info`: what a weight file says of itself."""

import argparse
import json

from .detector import open_detector


def run(args: argparse.Namespace) -> int:
    """Print the description in a weight file, and how many numbers it holds."""
    detector = open_detector(args)
    info = detector.info
    parameters = sum(parameter.size for parameter in detector.network.parameters())
    facts = {
        "architecture": info.architecture,
        "parameters": parameters,
        "input_size": info.input_size,
        "classes": [{"id": i, "name": n} for i, n in zip(info.category_ids, info.names, strict=True)],
        "anchors": info.anchors,
        "strides": info.strides,
        "preprocessing": f"RGB, letterbox on grey 114, (pixel - {info.mean:g}) * {info.scale:g}",
        "assignment": info.assignment,
        "licence": info.licence,
        "training": dict(info.training),
    }
    if args.json:
        print(json.dumps(facts))
        return 0
    facts["parameters"] = f"{parameters:,}"
    facts["input_size"] = "{}x{}".format(*info.input_size)
    facts["classes"] = ", ".join(f"{n} ({i})" for i, n in zip(info.category_ids, info.names, strict=True))
    facts["anchors"] = " | ".join(" ".join(f"{w:g}x{h:g}" for w, h in level) for level in info.anchors)
    facts["training"] = json.dumps(facts["training"])
    for name, value in facts.items():
        print(f"{name:14} {value}")
    return 0
