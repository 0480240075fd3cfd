"""Calibrating a network on pictures, for int8."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ..graph import Ranges, calibrate
from ..io.image import read_image
from ..nn import Module
from ..vision.letterbox import Letterbox
from ..weights.files import StrPath
from .info import DetectorInfo
from .pose_info import PoseInfo
from .validation import inference_mode

#: Pictures that are looked at, spread evenly over those given.
MOST_PICTURES = 100


def calibrate_network(
    network: Module,
    info: DetectorInfo | PoseInfo,
    files: Sequence[StrPath],
    size: tuple[int, int] | None = None,
) -> Ranges:
    """The ranges of a network's values on pictures like those that it is to see.

    Args:
        network, info: a detector, or a network of poses.
        files: pictures; `MOST_PICTURES` of them are read.
        size: input size (height, width) instead of the description's.

    Raises:
        DataError, FileError: no picture is given, or one cannot be read.
    """
    height, width = size or info.input_size
    count = min(len(files), MOST_PICTURES)

    def pictures() -> Iterator[NDArray[np.uint8]]:
        for index in range(count):
            image = read_image(files[index * len(files) // count])
            yield Letterbox(image.shape[:2], (height, width)).apply(image)[None]

    with inference_mode(network):
        return calibrate(network, (1, height, width, 3), pictures(), mean=info.mean, scale=info.scale)
