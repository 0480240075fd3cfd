"""The networks of `networks` in torch: the same parts, the same names, so weights travel both ways."""

from functools import partial

from torch import nn

from .classifiers import MobileNetV2, ResNet18, VggFront
from .detectors import YoloNano, YoloV3Tiny
from .pose import Hourglass, OpenPoseStage

_NETWORKS = {
    "resnet18": ResNet18,
    "vgg19-front": VggFront,
    "mobilenet-v2": MobileNetV2,
    "yolov3-tiny": YoloV3Tiny,
    "hourglass": partial(Hourglass, 4, 256),
    "openpose-stage": OpenPoseStage,
    "yolo-nano": YoloNano,
}


def build(name: str) -> nn.Module:
    """A network of `protocol.SHAPES`."""
    return _NETWORKS[name]()
