"""OpenPose's own networks (Cao et al., 2017), from the two files of Caffe that describe them."""

from visionkit.engine.pose_info import PoseInfo
from visionkit.errors import ShapeError, WeightsError
from visionkit.graph.trace import trace
from visionkit.nn import Conv2d
from visionkit.vision.skeleton import Skeleton
from visionkit.vision.skeletons import BODY_25, MPI_15, OPENPOSE_18
from visionkit.weights.files import StrPath

from .caffe import CaffeNetwork, load_caffe

_STRIDE = 8
#: Heat maps with the background, and fields: what tells OpenPose's three networks from each other.
_SKELETONS: dict[tuple[int, ...], Skeleton] = {
    (len(one) + 1, one.field_channels): one for one in (OPENPOSE_18, BODY_25, MPI_15)
}


def load_openpose(description: StrPath, weights: StrPath) -> tuple[CaffeNetwork, PoseInfo]:
    """The network of a .prototxt and .caffemodel of OpenPose, for many people: COCO, BODY_25 or MPI.

    Its first layer is turned round to take RGB, and it returns heat maps and fields as two maps.

    Args:
        description: the .prototxt, the one for deployment; MPI's of 4 stages goes with the weights of 6.
        weights: the .caffemodel.

    Raises:
        FileError: a file cannot be read.
        WeightsError: a file is damaged, the two do not fit, or the network is none of the three.
    """
    network = load_caffe(description, weights, allow_extra=True)
    return network, as_openpose(network, description)


def as_openpose(network: CaffeNetwork, description: StrPath | None = None) -> PoseInfo:
    """Change a network that was read already in the same way; `description` is for messages."""
    whole = network.outputs
    network.outputs = network.joined
    try:
        graph = trace(network, (1, 2 * _STRIDE, 2 * _STRIDE, 3))
        shapes = [value.shape for value in graph.outputs]
    except ShapeError:  # fully connected layers, which take pictures of one size alone
        shapes = []
    skeleton = _SKELETONS.get(tuple(shape[-1] for shape in shapes))
    first = next((m for m in network.layers.values() if isinstance(m, Conv2d)), None)
    if skeleton is None or first is None or any(shape[1:3] != (2, 2) for shape in shapes):
        network.outputs = whole
        wanted = " or ".join(f"{heat} and {fields}" for heat, fields in _SKELETONS)
        raise WeightsError(
            f"not one of OpenPose's networks for bodies: the last layer reads {shapes}, expected heat maps "
            f"and fields of {wanted} channels at an eighth of the picture",
            file=description,
            remedy="use visionkit.models.caffe for other networks",
        )
    first.weight.data[...] = first.weight.data[:, ::-1].copy()
    return PoseInfo(
        "openpose", skeleton, input_size=(368, 656), stride=_STRIDE, sigma=7 / _STRIDE, background=True,
        mean=128.0, scale=1 / 256,
    )  # fmt: skip
