"""A detector that is ready: pictures in, detections out."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import UsageError
from ..graph import Plan, Ranges
from ..graph import compile as compile_network
from ..graph.choice import How
from ..nn import Module
from ..vision.letterbox import Letterbox
from ..vision.results import Detections
from .info import DetectorInfo
from .stream import Image, as_picture, stream
from .validation import inference_mode

if TYPE_CHECKING:
    from ..vision.tracking import Tracker


class Predictor:
    """Finds objects in pictures.

    Args:
        network: a detector's network with its weights.
        info: its description.
        confidence: least confidence of a detection, 0..1.
        iou: boxes of one class that overlap more than this are taken for one object.
        max_detections: at most so many a picture.
        size: input size (height, width) instead of the description's; one number is both.
        winograd, precision, ranges: see `visionkit.graph.compile`.

    Raises:
        UsageError: a threshold outside 0..1, or a size that is no multiple of the strides.
    """

    def __init__(
        self,
        network: Module,
        info: DetectorInfo,
        *,
        confidence: float = 0.4,
        iou: float = 0.5,
        max_detections: int = 100,
        size: int | tuple[int, int] | None = None,
        winograd: How = "timed",
        precision: str = "float32",
        ranges: Ranges | None = None,
    ) -> None:
        for name, value in (("confidence", confidence), ("iou", iou)):
            if not 0 <= value <= 1:
                raise UsageError(f"{name} must lie in 0..1", value=value)
        if max_detections < 1:
            raise UsageError("max_detections must be at least 1", value=max_detections)
        self.network, self.info, self.codec, self.winograd = network, info, info.codec(), winograd
        self.confidence, self.iou, self.max_detections = confidence, iou, max_detections
        self.precision, self.ranges = precision, ranges
        height, width = (size, size) if isinstance(size, int) else size or info.input_size
        step = max(info.strides)
        if min(height, width) < step or height % step or width % step:
            raise UsageError(f"size must be a multiple of {step} both ways", value=f"{height}x{width}")
        self.size = (height, width)
        self._plan: Plan | None = None
        self._input = np.empty((1, height, width, 3), np.uint8)
        self._lock = threading.Lock()

    @property
    def names(self) -> tuple[str, ...]:
        """The classes, in the order of class_id."""
        return self.info.names

    def warm_up(self) -> None:
        """Compile now what the first picture would otherwise wait for."""
        with self._lock:
            self.plan()

    def __call__(self, image: Any, confidence: float | None = None) -> Detections:
        """What is in a picture.

        Args:
            image: a path, the bytes of a picture file, an array (H, W, 3) uint8 RGB, or a Pillow image.
            confidence: instead of the predictor's own.

        Returns:
            Detections in pixels of the given picture, high confidence to low; empty if nothing is found.

        Raises:
            DataError, FileError: the file is no picture, or cannot be read.
            ShapeError: an array of another shape or dtype.
        """
        picture = as_picture(image)
        letterbox = Letterbox(picture.shape[:2], self.size)
        least = self.confidence if confidence is None else confidence
        with self._lock:  # a plan's memory serves one picture at a time
            plan = self.plan()
            letterbox.apply(picture, self._input[0])
            found = self.codec.decode(plan.forward(self._input), least, self.iou, self.max_detections)[0]
        return replace(
            found, xyxy=letterbox.undo(found.xyxy), names=self.info.names, image_size=picture.shape[:2]
        )

    def stream(
        self, source: Any, *,
        first: int = 0, last: int | None = None, step: int = 1, tracker: "Tracker | None" = None,
    ) -> Iterator[tuple[Image, Detections]]:  # fmt: skip
        """Frames and what is in them, one after the other.

        Args:
            source: a file, camera or stream as `visionkit.io.video.Video` takes it, such a `Video`, or any
                iterable of what a call takes. Of files every frame is looked at, and the next ones while the
                caller works on this one; of cameras and streams the newest.
            first, last: the numbers of the first and the last frame, from 0; None for all that are left.
            step: every how many-th frame.
            tracker: gives everything its number; the confidence here is to be the least it can use.

        Returns:
            Pairs of (H, W, 3) uint8 RGB and `Detections`.

        Raises:
            UsageError: a number out of its range.
            DataError, FileError, SourceLostError: as of `Video` or a call; DataError: no frame `first`.
        """
        return stream(self, source, first, last, step, tracker)

    def plan(self) -> Plan:
        """The compiled network for one picture, made at the first use; it runs one picture at a time."""
        if self._plan is None:
            with inference_mode(self.network):
                self._plan = compile_network(
                    self.network,
                    self._input.shape,
                    mean=self.info.mean,
                    scale=self.info.scale,
                    winograd=self.winograd,
                    precision=self.precision,
                    ranges=self.ranges,
                )
        return self._plan

    def __repr__(self) -> str:
        height, width = self.size
        classes = ", ".join(self.names[:5]) + (", ..." if len(self.names) > 5 else "")
        return f"Predictor({self.info.architecture}, {height}x{width}, {len(self.names)} classes: {classes})"
