"""The safetensors format: eight bytes of header length, a JSON header, then the arrays without gaps.

The safetensors library reads the arrays, after a check of our own: it accepts what the format's description
forbids (duplicate names, a header with a leading space), says nothing about NaN and does not name the place.
The writer is our own: the library writes metadata in random order and arrays that are not contiguous
wrongly, while the same training must give the same file to the last bit (torture 1.3, W10).
"""

import json
import struct
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load

from ..errors import WeightsError
from .files import StrPath, atomic_write, read_bytes
from .sniff import sniff

HEADER_LIMIT = 10_000_000
_DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "<i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "<u1", "BOOL": "?",
}  # fmt: skip
_NAMES = {np.dtype(dtype): name for name, dtype in _DTYPES.items()}

Tensors = dict[str, NDArray[Any]]


def read(path: StrPath, *, allow_nonfinite: bool = False) -> tuple[Tensors, dict[str, str]]:
    """The arrays of a safetensors file by name, each with memory of its own, and its metadata.

    Args:
        path: the file; its content is read once and whole.
        allow_nonfinite: accept NaN and infinity.

    Raises:
        FileError: missing, unreadable or not a regular file.
        WeightsError: anything that the format forbids, an unknown dtype, a tensor without elements, a name
            that could pass for a path, or a number that is not finite.
    """
    data = read_bytes(path)
    header, start = _header(data, path)
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise WeightsError("metadata must map names to text", file=path, place="__metadata__", value=metadata)
    spans = sorted(
        ((*_span(name, entry, len(data) - start, path), name) for name, entry in header.items()),
        key=lambda span: span[0],
    )
    end = 0
    for first, last, name in spans:
        if first != end:
            problem = "overlaps the one before" if first < end else "leaves a gap before it"
            raise WeightsError(f"the tensor {problem}", file=path, place=f"tensor {name!r}", value=first)
        end = last
    if end != len(data) - start:
        raise WeightsError(
            f"{len(data) - start - end:,} bytes follow the last tensor",
            file=path,
            place=f"byte {start + end}",
        )
    try:
        loaded = load(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise WeightsError(f"damaged: {error}", file=path) from None
    tensors = {name: loaded[name] for name in header}
    if not allow_nonfinite:
        _refuse_nonfinite(tensors, path)
    return tensors, metadata


def read_metadata(path: StrPath) -> dict[str, str]:
    """The metadata of a safetensors file."""
    return read(path, allow_nonfinite=True)[1]


def write(
    path: StrPath, tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, str] | None = None
) -> None:
    """Write arrays and metadata, whole or not at all; the same content gives the same bytes.

    Raises:
        WeightsError: a dtype without a name in the format, a bad tensor name, or a number that is not finite.
        FileError: the file cannot be written.
    """
    header: dict[str, Any] = {}
    if metadata:
        header["__metadata__"] = dict(sorted(metadata.items()))
    arrays = []
    offset = 0
    # The widest first, so that every array starts at a multiple of its element's size.
    for name in sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name)):
        array = np.ascontiguousarray(tensors[name]).reshape(tensors[name].shape)
        array = array.astype(array.dtype.newbyteorder("<"), copy=False)
        if array.dtype not in _NAMES:
            raise WeightsError(
                f"dtype {array.dtype} has no place in safetensors", file=path, place=f"tensor {name!r}"
            )
        _check_name(name, path)
        header[name] = {
            "dtype": _NAMES[array.dtype],
            "shape": list(array.shape),
            "data_offsets": [offset, offset + array.nbytes],
        }
        offset += array.nbytes
        arrays.append(array)
    _refuse_nonfinite(tensors, path)
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)

    def content(file: BinaryIO) -> None:
        file.write(struct.pack("<Q", len(text)) + text)
        for array in arrays:
            file.write(array.data)

    atomic_write(path, content)


def _header(data: bytes, path: StrPath) -> tuple[dict[str, Any], int]:
    """The checked JSON header and the offset of the first array."""
    size = struct.unpack("<Q", data[:8])[0] if len(data) >= 8 else 0
    if len(data) < 10 or size > min(HEADER_LIMIT, len(data) - 8) or data[8:9] != b"{":
        known = sniff(data)
        if known:
            raise WeightsError(f"not a safetensors file but {known[0]}", file=path, remedy=known[1])
        if len(data) < 10:
            raise WeightsError(f"not a safetensors file: only {len(data)} bytes", file=path)
        if size > HEADER_LIMIT:
            problem = f"a header of {size:,} bytes is more than the limit of {HEADER_LIMIT:,}"
        elif size > len(data) - 8:
            problem = f"the header ends at byte {8 + size:,} of {len(data):,}; is the download incomplete?"
        else:
            raise WeightsError("the header must start with '{'", file=path, place="byte 8", value=data[8:9])
        raise WeightsError(f"not a safetensors file, or a damaged one: {problem}", file=path, place="byte 0")
    try:
        header = json.loads(
            data[8 : 8 + size].decode(), object_pairs_hook=_unique, parse_constant=_no_constant
        )
    except UnicodeDecodeError as error:
        raise WeightsError("the header is not UTF-8", file=path, place=f"byte {8 + error.start}") from None
    except json.JSONDecodeError as error:
        raise WeightsError(
            f"the header is not JSON: {error.msg}", file=path, place=f"byte {8 + error.pos}"
        ) from None
    except RecursionError:
        raise WeightsError("the header is nested too deeply", file=path, place="byte 8") from None
    except ValueError as error:
        raise WeightsError(f"bad header: {error}", file=path, place="byte 8") from None
    return header, 8 + size


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the name {twice!r} occurs twice")
    return result


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is not JSON")


def _check_name(name: str, path: StrPath) -> None:
    parts = name.replace("\\", "/").split("/")
    if not name or not name.isprintable() or ".." in parts or parts[0] == "" or len(name) > 1000:
        raise WeightsError(
            "a tensor's name must be printable, at most 1,000 long and no path", file=path, value=name
        )


def _span(name: str, entry: Any, room: int, path: StrPath) -> tuple[int, int]:
    """Where a tensor's bytes begin and end, checked against its dtype and shape."""
    _check_name(name, path)
    place = f"tensor {name!r}"
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise WeightsError(
            "expected the keys dtype, shape and data_offsets", file=path, place=place, value=entry
        )
    shape, offsets = entry["shape"], entry["data_offsets"]
    if not isinstance(entry["dtype"], str) or entry["dtype"] not in _DTYPES:
        raise WeightsError(
            "unsupported dtype", file=path, place=place, value=entry["dtype"], remedy="convert it to float32"
        )
    for numbers, what in ((shape, "shape"), (offsets, "data_offsets")):
        if not isinstance(numbers, list) or not all(type(n) is int and 0 <= n < 2**53 for n in numbers):
            raise WeightsError(
                f"{what}: expected non-negative integers", file=path, place=place, value=numbers
            )
    if 0 in shape or len(shape) > 32:
        raise WeightsError(
            "a tensor without elements or of too many axes", file=path, place=place, value=shape
        )
    if len(offsets) != 2 or not 0 <= offsets[0] <= offsets[1] <= room:
        raise WeightsError(
            f"data_offsets must be two rising numbers up to {room}", file=path, place=place, value=offsets
        )
    needed = np.dtype(_DTYPES[entry["dtype"]]).itemsize
    for size in shape:  # Python integers: no overflow
        needed *= size
    if needed != offsets[1] - offsets[0]:
        raise WeightsError(
            f"shape {shape} of {entry['dtype']} needs {needed:,} bytes, data_offsets hold "
            f"{offsets[1] - offsets[0]:,}", file=path, place=place,
        )  # fmt: skip
    return offsets[0], offsets[1]


def _refuse_nonfinite(tensors: Mapping[str, NDArray[Any]], path: StrPath) -> None:
    for name, array in tensors.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            index = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
            raise WeightsError(
                "a weight is not finite",
                file=path,
                place=f"tensor {name!r}{list(index)}",
                value=float(array[index]),
            )
