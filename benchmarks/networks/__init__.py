"""The measured networks, built with visionkit. `torch_networks` has the same ones, name by name."""

from functools import partial

import numpy as np

from visionkit.models.detectors import yolo_nano
from visionkit.models.hourglass import Hourglass
from visionkit.models.openpose_vgg import Branch, VggFront
from visionkit.nn import Module

from .classifiers import MobileNetV2, ResNet18
from .detectors import YoloV3Tiny

_NETWORKS = {
    "resnet18": ResNet18,
    "vgg19-front": VggFront,
    "mobilenet-v2": MobileNetV2,
    "yolov3-tiny": YoloV3Tiny,
    "hourglass": partial(Hourglass, 4, 256),
    "openpose-stage": partial(Branch, 185, 38),  # fields from the picture's 128, 38 and 19 before
    "yolo-nano": partial(yolo_nano, 80),
}


def build(name: str, seed: int = 0) -> Module:
    """A network of `protocol.SHAPES` with random weights and statistics."""
    rng = np.random.default_rng(seed)
    network = _NETWORKS[name](rng=rng)
    for path, buffer in network.named_buffers():
        is_variance = path.endswith("running_var")
        buffer.data[...] = (
            rng.uniform(0.5, 1.5, buffer.shape) if is_variance else rng.normal(0, 0.1, buffer.shape)
        )
    return network
