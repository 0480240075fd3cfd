"""Still pictures in and out: (H, W, 3) uint8 RGB arrays.

One policy for every file (torture 2.2):
- six formats, recognised by content and never by name: JPEG, PNG, BMP, WebP, GIF, TIFF;
- one read of the whole file, sizes checked in the header, then decoded from memory;
- the EXIF orientation is applied;
- 16-bit grey is divided by 257; CMYK JPEG counts as Adobe's inverted form, as everywhere;
- transparency is composited over white, as a page would show it;
- of an animation or a file of several pages only the first picture is used, with a `PictureWarning`;
- a damaged file is refused; `allow_truncated` accepts a JPEG that ends early, with a `PictureWarning`.
"""

import io
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, JpegImagePlugin

from ..errors import DataError, ShapeError, UsageError
from ..weights.files import atomic_write
from .header import REMEDY, Header, Source, content_of, damaged, open_picture, orientation_of, turn_for

Picture = NDArray[np.uint8]

#: Most pixels of a picture, checked before anything is decoded.
MAX_PIXELS = 64_000_000


class PictureWarning(UserWarning):
    """A picture was read, but not all of it: later frames left out, or the end missing."""


def read_image(
    source: Source,
    *,
    max_pixels: float = MAX_PIXELS,
    allow_truncated: bool = False,
    expected: tuple[int, int] | None = None,
) -> Picture:
    """Read a picture.

    Args:
        source: a path, or the bytes of a picture file.
        max_pixels: more pixels than this are refused before decoding.
        allow_truncated: accept a JPEG that ends early; what is missing is grey.
        expected: the (height, width) that annotations give for it: see `turn_for`.

    Returns:
        (H, W, 3) uint8 RGB, contiguous, EXIF orientation applied.

    Raises:
        DataError: not a picture of a known format, damaged, too large, or not of the expected size.
        FileError: the file is missing, unreadable or not a regular file.
    """
    data, file = content_of(source)
    image, form = open_picture(data, file)
    try:
        _check_size(image, file, max_pixels)
        if getattr(image, "is_animated", False):
            warnings.warn(f"{file}: only the first of several frames is used", PictureWarning, stacklevel=2)
        try:
            image.load()
        except Exception as error:
            if form != "JPEG":
                raise damaged(error, file) from None
            if not allow_truncated:
                remedy = "--tolerant (allow_truncated) reads what is there"
                raise damaged(error, file, remedy if "truncated" in str(error) else None) from None
            image = _load_cut_jpeg(data, file)
            warnings.warn(f"{file}: the picture ends early; the rest is grey", PictureWarning, stacklevel=2)
        # TIFF pictures have turned themselves in load(); their tag is gone by now.
        orientation = orientation_of(image, form, data)
        try:
            pixels = _rgb(image, file)
        except (OSError, MemoryError) as error:
            raise damaged(error, file) from None
    finally:
        image.close()
    if expected is not None:
        height, width = pixels.shape[:2]
        orientation = turn_for(Header(form, (height, width), orientation), expected, file)
    return np.ascontiguousarray(orient(pixels, orientation))


def as_image(picture: object, *, name: str = "image") -> Picture:
    """A picture held in memory as a contiguous (H, W, 3) uint8 RGB array.

    Args:
        picture: an array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) uint8, RGB order, alpha composited over
            white; or a Pillow image. It is never changed; the result may share its memory.
        name: what to call it in a message.

    Raises:
        ShapeError: another shape or dtype, or no pixels.
    """
    if isinstance(picture, Image.Image):
        return np.ascontiguousarray(orient(_rgb(picture, name), orientation_of(picture, "", b"")))
    array = np.asarray(picture)
    shape = array.shape
    if array.dtype != np.uint8:
        remedy = "scale to 0-255 and call .astype(np.uint8)"
        raise ShapeError(f"{name}: expected uint8 pixels, got {array.dtype}", remedy=remedy)
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or 0 in array.shape:
        expected = "expected (height, width, 3) RGB with at least one pixel"
        raise ShapeError(f"{name}: {expected}, got shape {shape}")
    if array.shape[2] == 4:
        return _over_white(array)
    if array.shape[2] == 1:
        array = np.repeat(array, 3, axis=2)
    return np.ascontiguousarray(array)


def write_image(path: str | os.PathLike[str], picture: Picture, *, quality: int = 92) -> None:
    """Write (H, W, 3) uint8 RGB whole or not at all, in the format the name ends with; no metadata.

    Raises:
        UsageError: the name ends in no format that can be written.
        FileError: the disk is full, or the folder is missing or cannot be written.
    """
    form = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".bmp": "BMP", ".webp": "WebP"}
    suffix = Path(path).suffix.lower()
    if suffix not in form:
        raise UsageError("cannot tell the picture's format from its name", value=str(path), remedy=REMEDY)
    options = {"quality": quality} if form[suffix] in ("JPEG", "WebP") else {}
    buffer = io.BytesIO()
    Image.fromarray(as_image(picture)).save(buffer, form[suffix], **options)
    atomic_write(path, buffer.getvalue())


def orient(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """The stored pixels (H, W, ...) turned as the EXIF orientation 1-8 asks; a view."""
    if orientation > 4:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def _check_size(image: Image.Image, file: str, max_pixels: float) -> None:
    width, height = image.size
    if width < 1 or height < 1:
        raise DataError("the picture has no pixels", file=file, value=f"{width}x{height}")
    if width * height > max_pixels:
        found, limit = f"{width * height / 1e6:,.1f} MP", f"{max_pixels / 1e6:,.0f} MP"
        reason = f"{width}x{height} pixels: {found} > limit {limit}"
        raise DataError(reason, file=file, remedy="make it smaller, or trust it with max_pixels")


def _load_cut_jpeg(data: bytes, file: str) -> ImageFile.ImageFile:
    # With an end-of-image marker behind it libjpeg fills the missing part by itself; the alternative,
    # Pillow's LOAD_TRUNCATED_IMAGES, is a global switch of the host program.
    try:
        image = JpegImagePlugin.JpegImageFile(io.BytesIO(data + b"\xff\xd9" * 2))
        image.load()
    except Exception as error:
        raise damaged(error, file) from None
    return image


def _rgb(image: Image.Image, file: str) -> Picture:
    if image.mode.startswith("I;16") or (image.mode == "I" and getattr(image, "format", "") == "PNG"):
        grey = np.asarray(image).astype(np.uint32)
        return np.repeat(((grey + 128) // 257).astype(np.uint8)[:, :, None], 3, axis=2)
    if image.mode in ("I", "F", "LAB"):
        raise DataError(
            "unsupported kind of pixels", file=file, value=image.mode, remedy="save it as 8-bit RGB"
        )
    if image.has_transparency_data:
        return _over_white(np.asarray(image.convert("RGBA")))
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def _over_white(rgba: NDArray[np.uint8]) -> Picture:
    colour, alpha = rgba[:, :, :3].astype(np.uint32), rgba[:, :, 3:].astype(np.uint32)
    return ((colour * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
