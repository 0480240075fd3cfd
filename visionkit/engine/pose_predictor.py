"""A pose network that is ready: pictures in, poses out."""

import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import sqrt
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from ..errors import ShapeError, UsageError
from ..graph import Plan, Ranges
from ..graph import compile as compile_network
from ..graph.choice import How
from ..nn import Module
from ..vision.affine import Matrix, crop_matrix, invert, move_points, warp_affine
from ..vision.fields import FieldCodec, average_flipped_maps
from ..vision.heatmaps import Map, Size
from ..vision.letterbox import Letterbox
from ..vision.poses import Poses
from ..vision.skeleton import Skeleton
from .pose_info import PoseInfo
from .stream import Image, as_picture, stream
from .validation import inference_mode

if TYPE_CHECKING:
    from ..vision.tracking import Tracker

#: Input sizes are multiples of this, or of the network's stride where that is more.
STEP = 32
#: Longest side of an input that follows its picture.
LONGEST = 4096
#: Bytes of plans that are kept, one plan an input size; those that have not been used for longest go.
ROOM = 512_000_000


@dataclass(frozen=True, slots=True, eq=False)
class PoseMaps:
    """What a network says of one picture, or of a part of it.

    Attributes:
        maps: heat maps (1, h, w, C), and fields (1, h, w, 2 L) where the network has them.
        matrix: (2, 3) the affine map from points of the picture to those of the network's input.
        image_size: (height, width) of the picture.
    """

    maps: tuple[Map, ...]
    matrix: Matrix
    image_size: Size


class PosePredictor:
    """Finds the key-points of many people, animals or faces in a picture, or of the one in a crop.

    Args:
        network: a pose network with its weights.
        info: its description.
        confidence: least confidence of a pose, 0..1.
        keypoint_confidence: least height of a point's peak; a lower one is missing.
        max_people: at most so many a picture.
        size: input size (height, width); -1 for one of them follows the picture's aspect. One number N has
            as many pixels as N x N in the picture's aspect. Without it: networks for many people have as
            many as their description's input size, in the picture's aspect; those for one have just that.
        flip: average with what the network says of the mirror image; takes twice as long.
        winograd, precision, ranges: see `visionkit.graph.compile`.

    Raises:
        UsageError: a number out of its range, a size that is no multiple of the step, fields whose limbs
            have no mirror images with `flip`.
    """

    def __init__(
        self, network: Module, info: PoseInfo, *,
        confidence: float = 0.2, keypoint_confidence: float = 0.1, max_people: int = 100,
        size: int | Size | None = None, flip: bool = False,
        winograd: How = "rule", precision: str = "float32", ranges: Ranges | None = None,
    ) -> None:  # fmt: skip
        if not 0 <= confidence <= 1:
            raise UsageError("confidence must lie in 0..1", value=confidence)
        if not 0 < keypoint_confidence < 1:
            raise UsageError("keypoint_confidence must lie between 0 and 1", value=keypoint_confidence)
        if max_people < 1:
            raise UsageError("max_people must be at least 1", value=max_people)
        self.network, self.info, self.codec = network, info, info.codec()
        self.confidence, self.keypoint_confidence = confidence, keypoint_confidence
        self.max_people, self.flip = max_people, flip
        self.winograd, self.precision, self.ranges = winograd, precision, ranges
        if size is None and info.people == "one":
            size = info.input_size
        self.size = size if size is None or isinstance(size, int) else (int(size[0]), int(size[1]))
        self._step = max(STEP, info.stride)
        self._check_size()
        if flip and info.people == "many":
            self.skeleton.limb_flips()
        self._plans: OrderedDict[Size, Plan] = OrderedDict()
        self._lock = threading.Lock()

    def _check_size(self) -> None:
        sides = [self.size] * 2 if isinstance(self.size, int) else self.size or ()
        if list(sides) == list(self.info.input_size):
            return
        given = [side for side in sides if side != -1]
        if sides and (not given or any(not 0 < side <= LONGEST or side % self._step for side in given)):
            reason = f"size must be multiples of {self._step} up to {LONGEST}, one of the two may be -1"
            raise UsageError(reason, value="x".join(map(str, sides)))

    @property
    def skeleton(self) -> Skeleton:
        """What the points are."""
        return self.info.skeleton

    @property
    def names(self) -> tuple[str, ...]:
        """The categories whose poses it knows, such as person."""
        return self.info.names

    def warm_up(self) -> None:
        """Compile now what the first picture, of the description's size, would otherwise wait for."""
        self.forward(np.zeros((*self.input_size(self.info.input_size), 3), np.uint8))

    def __call__(self, image: Any, confidence: float | None = None) -> Poses:
        """The poses in a picture.

        Args:
            image: a path, the bytes of a picture file, an array (H, W, 3) uint8 RGB, or a Pillow image.
            confidence: instead of the predictor's own.

        Returns:
            Poses in pixels of the given picture, high confidence to low; empty if nothing is found.

        Raises:
            DataError, FileError: the file is no picture, or cannot be read.
            ShapeError: an array of another shape or dtype.
        """
        return self.decode(self.maps(image), confidence)

    def look(self, image: Any, confidence: float | None = None) -> tuple[Poses, list[PoseMaps]]:
        """The poses in a picture, and the maps that say so; arguments and errors as of a call."""
        seen = self.maps(image)
        return self.decode(seen, confidence), [seen]

    def maps(self, image: Any, box: ArrayLike | None = None) -> PoseMaps:
        """What the network says of a picture; `image` and errors as of a call.

        Args:
            image: the picture.
            box: (4,) xyxy in pixels of the picture: look at a crop about this person, as the network was
                trained with; without it the whole picture is letterboxed.
        """
        picture = as_picture(image)
        image_size = (picture.shape[0], picture.shape[1])
        if box is None:
            letterbox = Letterbox(image_size, self.input_size(image_size))
            return PoseMaps(self.forward(letterbox.apply(picture)), letterbox.matrix, image_size)
        size = self.input_size(self.info.input_size)
        matrix = crop_matrix(box, size, self.info.padding)
        return PoseMaps(self.forward(warp_affine(picture, matrix, size)), matrix, image_size)

    def decode(self, seen: PoseMaps, confidence: float | None = None) -> Poses:
        """The poses that maps hold, in pixels of the picture, cut at its borders as boxes are."""
        found = self.poses(seen.maps, confidence)
        height, width = seen.image_size
        xy = move_points(invert(seen.matrix), found.xy)
        xy = np.clip(xy, 0, np.array([width, height], np.float32))
        return replace(found, xy=xy, image_size=seen.image_size)

    def poses(self, maps: tuple[Map, ...], confidence: float | None = None) -> Poses:
        """The poses of one picture's maps, in pixels of the input, high confidence to low, none above 1."""
        least = self.confidence if confidence is None else confidence
        maps = tuple(_tamed(one) for one in maps)
        if isinstance(self.codec, FieldCodec):
            (found,) = self.codec.decode(maps, least, self.max_people, threshold=self.keypoint_confidence)
        else:
            found = self.codec.decode(maps, self.keypoint_confidence)[0].above(least)
        return replace(
            found,
            confidence=np.minimum(found.confidence, 1),
            keypoint_confidence=np.minimum(found.keypoint_confidence, 1),
        )

    def forward(self, pixels: Image) -> tuple[Map, ...]:
        """The maps of an input (H, W, 3) uint8, averaged with those of its mirror image where `flip` is set.

        Returns:
            Heat maps (1, h, w, C), and fields (1, h, w, 2 L) where the network has them; the caller's own.

        Raises:
            ShapeError: the network's maps are not those of the description.
        """
        inputs = np.stack([pixels, pixels[:, ::-1]]) if self.flip else pixels[None]
        with self._lock:  # a plan's memory serves one picture at a time
            found = self._plan((pixels.shape[0], pixels.shape[1])).forward(inputs)[-len(self.info.channels) :]
            maps = tuple(map_.copy() for map_ in found)
        expected = tuple(
            (len(inputs), *(side // self.info.stride for side in pixels.shape[:2]), channels)
            for channels in self.info.channels
        )
        if tuple(map_.shape for map_ in maps) != expected:
            raise ShapeError(f"the network's maps are {[m.shape for m in maps]}, expected {list(expected)}")
        if not self.flip:
            return maps
        return average_flipped_maps([m[:1] for m in maps], [m[1:] for m in maps], self.skeleton)

    def input_size(self, image_size: Size) -> Size:
        """The input's (height, width) for a picture of (height, width)."""
        if isinstance(self.size, tuple) and -1 not in self.size:
            return self.size
        size = self.size or self.info.input_size
        height: float
        height, width = (size, size) if isinstance(size, int) else size
        aspect = image_size[1] / image_size[0]
        if height == -1:
            height = width / aspect
        elif width != -1:
            height = sqrt(height * width / aspect)
        return self._multiple(height), self._multiple(height * aspect)

    def _multiple(self, side: float) -> int:
        """The nearest size that the network takes."""
        return int(min(max(round(side / self._step), 1) * self._step, LONGEST))

    def stream(
        self, source: Any, *,
        first: int = 0, last: int | None = None, step: int = 1, tracker: "Tracker | None" = None,
    ) -> Iterator[tuple[Image, Poses]]:  # fmt: skip
        """Frames and the poses in them, one after the other; all as of `Predictor.stream`."""
        return stream(self, source, first, last, step, tracker)

    def _plan(self, size: Size) -> Plan:
        """The network compiled for an input's size, made at the first use; the lock is held."""
        if size not in self._plans:
            while sum(plan.memory.nbytes for plan in self._plans.values()) > ROOM:
                self._plans.popitem(last=False)
            with inference_mode(self.network):
                self._plans[size] = compile_network(
                    self.network, (1 + self.flip, *size, 3), mean=self.info.mean, scale=self.info.scale,
                    winograd=self.winograd, precision=self.precision, ranges=self.ranges,
                )  # fmt: skip
        self._plans.move_to_end(size)
        return self._plans[size]

    def __repr__(self) -> str:
        height, width = self.info.input_size
        what = f"{self.skeleton.name}, {len(self.skeleton)} points of {self.info.people}"
        return f"PosePredictor({self.info.architecture}, {height}x{width}, {what})"


def _tamed(values: Map) -> Map:
    """The map itself, or, of a network that has diverged, one of finite numbers."""
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(values.sum()):
            return values
    return np.clip(np.nan_to_num(values, nan=0.0), -10, 10)
