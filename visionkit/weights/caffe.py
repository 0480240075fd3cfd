"""Caffe's weight files (.caffemodel): the arrays of each layer, by the layer's name.

Read are the files of all Caffe versions since 2013: layers as `layers` (V1) or `layer`, shapes as four
numbers or as a list, numbers packed or one by one, single or double. What else a file says about its network
is passed over: the network is that of the description (.prototxt).
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import WeightsError
from ..shapes import Shape
from .files import StrPath, read_bytes
from .protobuf import Field, Message
from .sniff import sniff

#: Protobuf's own limit.
LIMIT = 2**31 - 1
#: Axes of a blob, as in Caffe.
AXES = 32

# Numbers of the fields in caffe.proto.
_NET_V1, _NET_LAYER = 2, 100
_NAME, _TYPE, _BLOBS = 1, 2, 7
_V1_V0, _V1_NAME, _V1_BLOBS = 1, 4, 6
_UPGRADE = "bring it to the present form with Caffe's own upgrade_net_proto_binary"
_LEGACY, _DATA, _SHAPE, _DOUBLE = (1, 2, 3, 4), 5, 7, 8


@dataclass(frozen=True, slots=True)
class CaffeLayer:
    """A layer's weights.

    Attributes:
        name: of the layer.
        blobs: float32 arrays of the file's own shapes; a convolution's are (O, I/groups, KH, KW) and (O,),
            in old files (1, 1, 1, O).
        at: where the layer begins in the file, in bytes.
    """

    name: str
    blobs: tuple[NDArray[np.float32], ...]
    at: int


def read(path: StrPath, *, allow_nonfinite: bool = False) -> dict[str, CaffeLayer]:
    """The layers of a .caffemodel that have weights, by name, in the file's order.

    Args:
        path: the file; its content is read once and whole.
        allow_nonfinite: accept NaN and infinity.

    Raises:
        FileError: missing, unreadable, not a regular file, or larger than 2 GB.
        WeightsError: damaged, something else than a .caffemodel, in the form of before 2013 (V0), two layers
            of one name, or a number that is not finite; with byte and field.
    """
    data = read_bytes(path, LIMIT)
    known = sniff(data)
    if known:
        raise WeightsError(f"not a .caffemodel but {known[0]}", file=path, remedy=known[1])
    layers: dict[str, CaffeLayer] = {}
    count = 0
    for field in Message(path, data, 0, len(data)).fields():
        if field.number not in (_NET_V1, _NET_LAYER):
            if field.number == 1:
                field.text("name", limit=10_000)  # whatever begins otherwise is another kind of file
            continue
        old = field.number == _NET_V1
        layer = _layer(field, f"{'layers' if old else 'layer'}[{count}]", old, allow_nonfinite)
        count += 1
        if not layer.blobs:
            continue
        if not layer.name or layer.name in layers:
            problem = "has no name" if not layer.name else f"has the name {layer.name!r} as another one has"
            field.fail(f"a layer with weights {problem}")
        layers[layer.name] = layer
    if not layers:
        raise WeightsError(
            f"no layer has weights ({count:,} layers in {len(data):,} bytes)", file=path,
            remedy="give the .caffemodel here, and the .prototxt as the description",
        )  # fmt: skip
    return layers


def _layer(field: Field, place: str, old: bool, allow_nonfinite: bool) -> CaffeLayer:
    name, blobs = "", []
    message = field.message(place)
    for part in message.fields():
        if part.number == (_V1_NAME if old else _NAME):
            name = part.text("name")
        elif part.number == (_V1_BLOBS if old else _BLOBS):
            blobs.append(part)
        elif old and part.number == _V1_V0:
            message.fail("a layer in the form of before 2013 (V0)", part.at, _UPGRADE)
    arrays = []
    for i, part in enumerate(blobs):
        array = _blob(part.message(f"blobs[{i}]"))
        if not allow_nonfinite and not np.isfinite(array).all():
            index = int(np.flatnonzero(~np.isfinite(array))[0])
            raise WeightsError(
                "a weight is not finite",
                file=message.file,
                place=f"layer {name!r}, blob {i}, number {index}",
                value=float(array.flat[index]),
            )
        arrays.append(array)
    return CaffeLayer(name, tuple(arrays), field.at)


def _blob(message: Message) -> NDArray[np.float32]:
    """A blob's numbers in its own shape."""
    single, double = bytearray(), bytearray()
    legacy: dict[int, int] = {}
    shape: Shape | None = None
    for field in message.fields():
        if field.number == _DATA:
            single += field.numbers("data", 4)
        elif field.number == _DOUBLE:
            double += field.numbers("double_data", 8)
        elif field.number == _SHAPE:
            shape = _shape(field.message("shape"))
        elif field.number in _LEGACY:
            legacy[field.number] = field.integer(("num", "channels", "height", "width")[field.number - 1])
    numbers = np.frombuffer(double or single, "<f8" if double else "<f4")
    if shape is None:
        shape = tuple(legacy.get(i, 1) for i in _LEGACY) if legacy else (numbers.size,)
    if not shape or min(shape) < 1 or max(shape) > LIMIT or math.prod(shape) != numbers.size:
        message.fail(f"{numbers.size:,} numbers do not fill the shape {list(shape)}", message.start)
    with np.errstate(
        over="ignore", invalid="ignore"
    ):  # what float32 cannot hold becomes infinity, which is looked for
        return numbers.reshape(shape).astype(np.float32, copy=False)


def _shape(message: Message) -> Shape:
    sizes: list[int] = []
    for field in message.fields():
        if field.number == 1:
            for size in field.integers("dim"):
                sizes.append(size)
                if len(sizes) > AXES:
                    field.fail(f"a blob of more than {AXES} axes")
    return tuple(sizes) or (1,)
