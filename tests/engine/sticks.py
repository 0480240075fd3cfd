"""Pictures of sticks, and a network that sees them by their colours alone: nothing in it is learned.

A stick has three points on a line from left to right: red is more than the grey of the padding at the nose
and less at the hip, green is more at the neck, blue is more along the whole of it.
"""

from dataclasses import replace

import numpy as np

from visionkit import functional as F
from visionkit import nn
from visionkit.engine.pose_info import PoseInfo
from visionkit.vision.results import Detections
from visionkit.vision.skeleton import Skeleton

STRIDE = 4
STICK = Skeleton("stick", ("nose", "neck", "mid_hip"), ((0, 1), (1, 2)))
GREY, ROOM = 114, 110


class Seeing(nn.Module):
    """Heat maps of nose, neck and hip, and with `many` the fields of the two limbs."""

    def __init__(self, many=True):
        self.pool, self.many = nn.AvgPool2d(STRIDE), many
        rng = np.random.default_rng(0)
        self.heat, self.fields = nn.Conv2d(3, 3, 1, rng=rng), nn.Conv2d(3, 4, 1, rng=rng)
        heat = np.zeros((3, 3, 1, 1), np.float32)
        heat[[0, 1, 2], [0, 1, 0]] = np.array([1, 1, -1]).reshape(3, 1, 1)
        fields = np.zeros((4, 3, 1, 1), np.float32)
        fields[[0, 2], 2] = 1
        for conv, weight in ((self.heat, heat), (self.fields, fields)):
            conv.weight.data[...] = weight
            conv.bias.data[...] = 0

    def forward(self, x):
        x = self.pool(x)
        heat = F.relu(self.heat(x))
        return (heat, self.fields(x)) if self.many else (heat,)


def info(people="many", size=(256, 256)) -> PoseInfo:
    made = PoseInfo("seeing", STICK, ("stick",), (1,), size, STRIDE, people, mean=float(GREY), scale=1 / ROOM)
    return made if people == "many" else replace(made, padding=1.6)


def stick(x, y, length, count=3) -> np.ndarray:
    """(3, 2) nose, neck, hip from (x, y) to the right."""
    return np.array([[x + length * k / 2, y] for k in range(count)])


def paint(size, sticks, sigma) -> np.ndarray:
    """(H, W, 3) uint8 with sticks (N, 3, 2) whose points are Gaussians of `sigma` pixels."""
    rows, columns = (np.arange(side) + 0.5 for side in size)
    signal = np.zeros((*size, 3))
    for points in sticks:
        for (x, y), channel, sign in zip(points, (0, 1, 0), (1, 1, -1), strict=True):
            bump = np.exp(-((rows[:, None] - y) ** 2 + (columns - x) ** 2) / (2 * sigma**2))
            here = signal[..., channel]
            signal[..., channel] = np.where(bump > np.abs(here), sign * bump, here)
        along = (np.abs(rows - points[0, 1]) < 2 * sigma)[:, None]
        along = along & (columns > points[0, 0]) & (columns < points[-1, 0])
        signal[..., 2] = np.maximum(signal[..., 2], along)
    return np.round(GREY + ROOM * signal).astype(np.uint8)


class Boxes:
    """A detector that knows: its boxes are those that it was given."""

    names = ("chair", "stick")

    def __init__(self, xyxy, confidence, class_id=None):
        self.xyxy, self.confidence = np.reshape(xyxy, (-1, 4)), np.asarray(confidence, float)
        self.class_id = np.ones(len(self.xyxy), int) if class_id is None else np.asarray(class_id)

    def __call__(self, image):
        return Detections(self.xyxy, self.confidence, self.class_id, self.names, image.shape[:2])

    def warm_up(self):
        pass
