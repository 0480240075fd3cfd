"""People one by one: a detector finds them, a network for one person finds the points of each (MPP-01)."""

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import UsageError
from ..vision.poses import Poses
from .pose_info import PoseInfo
from .pose_predictor import PoseMaps, PosePredictor
from .predictor import Predictor
from .stream import Image, as_picture, stream

if TYPE_CHECKING:
    from ..vision.tracking import Tracker


class TopDown:
    """A pair: boxes from a detector, a crop of each box through a network for one person.

    Time grows with the number of people, and a person whose box is missed has no pose.

    Args:
        detector: its classes that have the name of one of the pose network's categories are looked at.
        pose: a network for one person; its description says how much of the surroundings a crop shows.
        max_people: at most so many a picture, those with the surest boxes.

    Raises:
        UsageError: a pose network for many people, or a detector of other things.
    """

    def __init__(self, detector: Predictor, pose: PosePredictor, *, max_people: int = 100) -> None:
        if pose.info.people != "one":
            raise UsageError(
                f"{pose.info.architecture} finds all people of a picture by itself",
                remedy="use it without a detector, or take a network for one person",
            )
        self._class_id = [k for k, name in enumerate(detector.names) if name in pose.names]
        if not self._class_id:
            raise UsageError(
                f"the detector finds none of {', '.join(pose.names)}", value=list(detector.names),
                remedy="take a detector of what the pose network knows",
            )  # fmt: skip
        if max_people < 1:
            raise UsageError("max_people must be at least 1", value=max_people)
        self.detector, self.pose, self.max_people = detector, pose, max_people

    @property
    def info(self) -> PoseInfo:
        """The pose network's description."""
        return self.pose.info

    @property
    def confidence(self) -> float:
        """Least confidence of a pose, 0..1."""
        return self.pose.confidence

    def warm_up(self) -> None:
        """Compile now what the first picture would otherwise wait for."""
        self.detector.warm_up()
        self.pose.warm_up()

    def __call__(self, image: Any, confidence: float | None = None) -> Poses:
        """The poses in a picture; arguments and errors as of `PosePredictor`.

        Returns:
            One pose a box in which a point is found, sure ones first; a pose's confidence is that of its
            box times the mean of its points'.
        """
        return self.look(image, confidence)[0]

    def look(self, image: Any, confidence: float | None = None) -> tuple[Poses, list[PoseMaps]]:
        """The poses in a picture, and the maps of every crop."""
        picture = as_picture(image)
        boxes = self.detector(picture)
        boxes = boxes[np.isin(boxes.class_id, self._class_id)][: self.max_people]
        seen = [self.pose.maps(picture, box) for box in boxes.xyxy]
        none = Poses.empty(boxes.image_size, self.pose.skeleton)
        found = [none, *(self.pose.decode(one, 0.0) for one in seen)]
        sure = [0.0, *boxes.confidence]
        poses = replace(
            none,
            xy=np.concatenate([one.xy for one in found]),
            keypoint_confidence=np.concatenate([one.keypoint_confidence for one in found]),
            confidence=np.concatenate([one.confidence * box for one, box in zip(found, sure, strict=True)]),
        )
        least = self.confidence if confidence is None else confidence
        return poses[np.argsort(-poses.confidence, kind="stable")].above(least), seen

    def stream(
        self, source: Any, *,
        first: int = 0, last: int | None = None, step: int = 1, tracker: "Tracker | None" = None,
    ) -> Iterator[tuple[Image, Poses]]:  # fmt: skip
        """Frames and the poses in them, one after the other; all as of `Predictor.stream`."""
        return stream(self, source, first, last, step, tracker)

    def __repr__(self) -> str:
        return f"TopDown({self.detector!r}, {self.pose!r})"
