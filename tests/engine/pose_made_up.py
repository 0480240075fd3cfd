"""Poses without pictures, and a network of two convolutions that has the maps of a pose network."""

from dataclasses import dataclass, field, replace

import numpy as np

from visionkit import nn
from visionkit.data.dataset import DetectionDataset, Record
from visionkit.data.problems import Problems
from visionkit.errors import DataError
from visionkit.vision.skeleton import Skeleton

#: Five points whose names say left and right, and four limbs.
PUPPET = Skeleton("puppet", ("head", "left_hand", "right_hand", "left_foot", "right_foot"),
                  ((0, 1), (0, 2), (0, 3), (0, 4)), sigmas=(0.05,) * 5)  # fmt: skip


@dataclass
class PoseBatch:
    """What a criterion asks of a batch; `people` lists (keypoints (K, 3), box, ignore) for each picture."""

    people: list
    size: tuple[int, int]
    points: int = 5
    boxes: list = field(init=False)
    ignore: list = field(init=False)
    keypoints: list = field(init=False)

    def __post_init__(self):
        self.images = np.zeros((len(self.people), *self.size, 3), np.uint8)
        self.boxes = [np.array([p[1] for p in one], np.float32).reshape(-1, 4) for one in self.people]
        self.ignore = [np.array([p[2] for p in one], bool) for one in self.people]
        self.keypoints = [
            np.array([p[0] for p in one], np.float32).reshape(-1, self.points, 3) for one in self.people
        ]


def person(rng, size, points=5, side=24.0):
    """(keypoints, box) of somebody somewhere in a picture of `size`, one point of whom is not labelled."""
    height, width = size
    corner = rng.uniform(0, [width - side, height - side])
    xy = corner + rng.random((points, 2)) * side
    v = rng.permutation([0, *[1 + int(rng.random() < 0.7) for _ in range(points - 1)]])
    box = [*corner, *(corner + side)]
    return np.column_stack([np.where(v[:, None] > 0, xy, 0), v]), box


class TwoConvs(nn.Module):
    """Maps of one or several stages from a strided and a 1x1 convolution each."""

    def __init__(self, channels, stride=4, stages=1, seed=0):
        rng = np.random.default_rng(seed)
        self.first = nn.Conv2d(3, 16, stride + 1, stride=stride, padding=stride // 2, rng=rng)
        self.act = nn.LeakyReLU(0.1)
        self.heads = [nn.Conv2d(16, c, 1, rng=rng) for _ in range(stages) for c in channels]

    def forward(self, x):
        features = self.act(self.first(x))
        return tuple(head(features) for head in self.heads)


class PoseSet(DetectionDataset):
    """Made-up people in pictures where every point is a bright spot: something that can be learned.

    `damaged` names files that cannot be read.
    """

    skeleton = PUPPET

    def __init__(self, count, rng, sizes=((64, 96),), names=("person",), most=2, side=24.0):
        self.damaged, records = set(), []
        for i in range(count):
            size = sizes[i % len(sizes)]
            poses = [person(rng, size, side=side) for _ in range(int(rng.integers(1, most + 1)))]
            objects = [(box, int(rng.integers(len(names))), False) for _, box in poses]
            points = np.array([p for p, _ in poses], np.float32)
            records.append(replace(Record.of(10 + i, f"{i}.png", None, size, objects), keypoints=points))
        super().__init__(names, range(3, 3 + len(names)), records, Problems("made up"))

    def _picture(self, record):
        if record.file in self.damaged:
            raise DataError("damaged", file=record.file)
        image = np.full((*record.size, 3), 90, np.uint8)
        for pose in record.keypoints:
            for k, (x, y, v) in enumerate(pose):
                if v:
                    spot = image[max(int(y) - 2, 0) : int(y) + 3, max(int(x) - 2, 0) : int(x) + 3]
                    spot[...] = (255, 0, 40 * k) if k % 2 else (0, 255, 40 * k)
        return image

    def to_coco(self):
        document = super().to_coco()
        for category in document["categories"]:
            category |= {
                "keypoints": list(PUPPET.keypoints),
                "skeleton": [list(limb) for limb in PUPPET.limbs],
            }
        rows = [pose for record in self.records for pose in record.keypoints]
        for row, pose in zip(document["annotations"], rows, strict=True):
            row["keypoints"] = [int(n) if k % 3 == 2 else float(n) for k, n in enumerate(pose.ravel())]
            row["num_keypoints"] = int((pose[:, 2] > 0).sum())
        return document
