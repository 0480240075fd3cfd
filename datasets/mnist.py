"""MNIST's idx files, plain or gzipped (LeCun, Cortes and Burges, yann.lecun.com/exdb/mnist)."""

import gzip
import io
import math
import os
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from visionkit.errors import DataError, FileError, UsageError
from visionkit.weights.files import read_bytes

_MAX_BYTES = 500_000_000
_FILES = {"train": "train", "test": "t10k"}


@dataclass(frozen=True, slots=True)
class Mnist:
    """Digits: `images` (N, 28, 28, 1) uint8, 255 is ink; `labels` (N,) int64 from 0 to 9."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.images)

    @classmethod
    def read(cls, folder: str | os.PathLike[str], split: str = "train") -> "Mnist":
        """The 60,000 digits of `train` or the 10,000 of `test`, in the published order.

        Raises:
            UsageError: another split.
            FileError: the files are missing.
            DataError: they are damaged or do not belong together.
        """
        if split not in _FILES:
            raise UsageError("MNIST has the splits train and test", value=split)
        images = read_idx(_find(folder, f"{_FILES[split]}-images-idx3-ubyte"))
        labels = read_idx(_find(folder, f"{_FILES[split]}-labels-idx1-ubyte"))
        if images.ndim != 3 or labels.shape != images.shape[:1]:
            raise DataError(f"{images.shape} pictures do not fit {labels.shape} labels", file=folder)
        return cls(images[..., None], labels.astype(np.int64))


def read_idx(path: str | os.PathLike[str]) -> NDArray[np.uint8]:
    """The array of bytes in an idx file; gzip is recognised by content.

    Raises:
        DataError: not an idx file of bytes, or of another length than its header says.
        FileError: missing or unreadable.
    """
    raw = read_bytes(path, _MAX_BYTES)
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(raw)) if raw[:2] == b"\x1f\x8b" else io.BytesIO(raw) as file:
            head = file.read(4)
            if len(head) < 4 or head[:3] != b"\0\0\x08" or not 1 <= head[3] <= 4:
                raise DataError("not an idx file of bytes", file=path, place="byte 0", value=head)
            sides = file.read(4 * head[3])
            shape = tuple(int(n) for n in np.frombuffer(sides[: len(sides) // 4 * 4], ">u4"))
            size = math.prod(shape)
            if len(shape) != head[3] or size > _MAX_BYTES:
                raise DataError("an idx file of senseless size", file=path, value=shape)
            data = file.read(size + 1)
    except (OSError, EOFError, zlib.error) as error:
        if isinstance(error, FileError):
            raise
        raise DataError(f"damaged gzip data: {error}", file=path) from None
    if len(data) != size:
        found = "more" if len(data) > size else f"{len(data):,}"
        raise DataError(f"{shape} needs {size:,} bytes, the file has {found}", file=path)
    return np.frombuffer(data, np.uint8).reshape(shape)


def _find(folder: str | os.PathLike[str], name: str) -> Path:
    for path in (Path(folder, name), Path(folder, f"{name}.gz")):
        if path.exists():
            return path
    raise FileError(f"neither {name} nor {name}.gz is there", file=folder)
