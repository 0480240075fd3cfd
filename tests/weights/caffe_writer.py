"""An encoder of .caffemodel files, as Caffe's own versions wrote them, and of broken ones."""

from collections.abc import Iterable, Sequence

import numpy as np

Arrays = Sequence[np.ndarray]


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def integer(number: int, value: int) -> bytes:
    return varint(number << 3) + varint(value)


def stretch(number: int, content: bytes | str) -> bytes:
    content = content.encode() if isinstance(content, str) else content
    return varint(number << 3 | 2) + varint(len(content)) + content


def blob(array: np.ndarray, *, legacy: bool = False, packed: bool = True, double: bool = False) -> bytes:
    """A BlobProto: its shape as BlobShape or four sizes, its numbers packed or one by one."""
    size, number, wire = (8, 8, 1) if double else (4, 5, 5)
    numbers = array.astype(f"<f{size}").tobytes()
    if legacy:
        sizes = (1,) * (4 - array.ndim) + array.shape
        shape = b"".join(integer(i + 1, n) for i, n in enumerate(sizes))
    elif packed:
        shape = stretch(7, stretch(1, b"".join(map(varint, array.shape))))
    else:
        shape = stretch(7, b"".join(integer(1, n) for n in array.shape))
    if packed:
        return shape + stretch(number, numbers)
    each = (numbers[i : i + size] for i in range(0, len(numbers), size))
    return b"".join(varint(number << 3 | wire) + one for one in each) + shape


def caffemodel(
    layers: Iterable[tuple[str, str, Arrays]], *, v1: bool = False, legacy: bool = False, packed: bool = True,
    double: bool = False,
) -> bytes:  # fmt: skip
    """A NetParameter; each layer is its name, its type and its arrays."""
    content = stretch(1, "a net")
    for name, kind, arrays in layers:
        blobs = [blob(a, legacy=legacy, packed=packed, double=double) for a in arrays]
        if v1:
            inside = stretch(2, "below") + stretch(4, name) + integer(5, {"Convolution": 4}.get(kind, 14))
            content += stretch(2, inside + b"".join(stretch(6, one) for one in blobs))
        else:
            inside = stretch(1, name) + stretch(2, kind) + stretch(3, "below")
            content += stretch(100, inside + b"".join(stretch(7, one) for one in blobs) + integer(10, 1))
    return content
