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
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import (
    BmpImagePlugin,
    ExifTags,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from ..errors import DataError, ShapeError, UsageError
from ..weights.files import atomic_write, read_bytes

Picture = NDArray[np.uint8]
Source = str | os.PathLike[str] | bytes

#: Most pixels of a picture, checked before anything is decoded.
MAX_PIXELS = 64_000_000
#: Most bytes of a picture file.
MAX_BYTES = 100_000_000

# Opening the plugin itself keeps out every other format (EPS would start Ghostscript) and Pillow's global
# pixel limit, whose warning cannot be caught safely from several threads.
_FORMATS: tuple[tuple[str, tuple[bytes, ...], Callable[[Any], ImageFile.ImageFile]], ...] = (
    ("JPEG", (b"\xff\xd8\xff",), JpegImagePlugin.JpegImageFile),
    ("PNG", (b"\x89PNG\r\n\x1a\n",), PngImagePlugin.PngImageFile),
    ("GIF", (b"GIF87a", b"GIF89a"), GifImagePlugin.GifImageFile),
    ("TIFF", (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), TiffImagePlugin.TiffImageFile),
    ("BMP", (b"BM",), BmpImagePlugin.BmpImageFile),
    ("WebP", (b"RIFF",), WebPImagePlugin.WebPImageFile),
)
_OTHERS = (
    (b"%PDF", "PDF"),
    (b"%!PS", "EPS"),
    (b"\xc5\xd0\xd3\xc6", "EPS"),
    (b"icns", "ICNS"),
    (b"8BPS", "PSD"),
    (b"\0\0\x01\0", "ICO"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cjP", "JPEG 2000"),
    (b"PK\x03\x04", "ZIP"),
    (b"\x1f\x8b", "gzip"),
)
_REMEDY = "use JPEG, PNG, BMP, WebP, GIF or TIFF"


class PictureWarning(UserWarning):
    """A picture was read, but not all of it: later frames left out, or the end missing."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a picture file says before it is decoded.

    `size` is (height, width) as stored; `orientation` is EXIF's 1-8 (1 where there is none).
    """

    format: str
    size: tuple[int, int]
    orientation: int

    @property
    def shown_size(self) -> tuple[int, int]:
        """(height, width) of the array that `read_image` returns: the orientation applied."""
        height, width = self.size
        return (width, height) if self.orientation > 4 else (height, width)


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
    data, file = _content(source)
    image, form = _open(data, file)
    try:
        _check_size(image, file, max_pixels)
        if getattr(image, "is_animated", False):
            warnings.warn(f"{file}: only the first of several frames is used", PictureWarning, stacklevel=2)
        try:
            image.load()
        except Exception as error:
            if not (allow_truncated and form == "JPEG"):
                remedy = "--tolerant (allow_truncated) reads what is there"
                raise _damaged(error, file, remedy if "truncated" in str(error) else None) from None
            image = _load_cut_jpeg(data, file)
            warnings.warn(f"{file}: the picture ends early; the rest is grey", PictureWarning, stacklevel=2)
        # TIFF pictures have turned themselves in load(); their tag is gone by now.
        orientation = _orientation(image, form, data)
        try:
            pixels = _rgb(image, file)
        except (OSError, MemoryError) as error:
            raise _damaged(error, file, None) from None
    finally:
        image.close()
    if expected is not None:
        height, width = pixels.shape[:2]
        orientation = turn_for(Header(form, (height, width), orientation), expected, file)
    return np.ascontiguousarray(orient(pixels, orientation))


def read_header(source: Source) -> Header:
    """The format, stored size and orientation of a picture, without decoding it.

    Raises:
        DataError: not a picture of a known format.
        FileError: the file is missing, unreadable or not a regular file.
    """
    data, file = _content(source)
    image, form = _open(data, file)
    with image:
        width, height = image.size
        orientation = _orientation(image, form, data)
        if form == "TIFF" and orientation > 4:  # Pillow gives the turned size
            width, height = height, width
    return Header(form, (height, width), orientation)


def image_size(source: Source) -> tuple[int, int]:
    """(height, width) of the array `read_image` would return, from the header alone."""
    return read_header(source).shown_size


def turn_for(header: Header, expected: tuple[int, int], file: str) -> int:
    """The orientation to apply so that the picture has the (height, width) its annotations give.

    Annotation tools disagree about turned photos: some give boxes on the stored pixels (COCO does), some on
    the turned ones. The size tells which. The orientation is applied if the turned size is the expected
    one; it is left out (1) if only the stored size is.

    Raises:
        DataError: neither size is the expected one.
    """
    if header.shown_size == expected:
        return header.orientation
    if header.size == expected:
        return 1
    height, width = header.shown_size
    note = f" (EXIF orientation {header.orientation})" if header.orientation > 1 else ""
    reason = f"the picture is {width}x{height}{note}, its annotations say {expected[1]}x{expected[0]}"
    remedy = "the boxes belong to another version of the picture; correct width, height and boxes together"
    raise DataError(reason, file=file, remedy=remedy)


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
        return np.ascontiguousarray(orient(_rgb(picture, name), _orientation(picture, "", b"")))
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
        raise UsageError("cannot tell the picture's format from its name", value=str(path), remedy=_REMEDY)
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


def _content(source: Source) -> tuple[bytes, str]:
    if isinstance(source, bytes | bytearray | memoryview):
        return bytes(source), "picture"
    return read_bytes(source, MAX_BYTES), os.fspath(source)


def _open(data: bytes, file: str) -> tuple[ImageFile.ImageFile, str]:
    for form, starts, plugin in _FORMATS:
        if data.startswith(starts) and (form != "WebP" or data[8:12] == b"WEBP"):
            try:
                return plugin(io.BytesIO(data)), form
            except Exception as error:  # a decoder on hostile bytes may raise anything
                raise _damaged(error, file, None) from None
    raise _unknown(data, file)


def _unknown(data: bytes, file: str) -> DataError:
    if not data:
        return DataError("the picture is empty (0 bytes)", file=file, remedy="was its download cut short?")
    head = data[:512].lstrip(b"\xef\xbb\xbf \t\r\n")
    if head[:1] == b"<":
        if b"<svg" in head.lower():
            return DataError("unsupported format SVG", file=file, remedy=_REMEDY)
        start = head[:5].decode("ascii", "replace")
        reason = f"not a picture: it starts with `{start}`: an HTML or XML page"
        return DataError(reason, file=file, remedy="was this a failed download?")
    for magic, name in _OTHERS:
        if data.startswith(magic):
            return DataError(f"unsupported format {name}", file=file, remedy=_REMEDY)
    if data[4:8] == b"ftyp":
        name = "HEIC or AVIF" if data[8:12] in (b"heic", b"heix", b"mif1", b"avif") else "MP4"
        return DataError(f"unsupported format {name}", file=file, remedy=_REMEDY)
    return DataError(
        "not a picture of a known format: it starts with", file=file, value=data[:12], remedy=_REMEDY
    )


def _damaged(error: Exception, file: str, remedy: str | None) -> DataError:
    text = str(error) or type(error).__name__
    return DataError(f"the picture is damaged: {text}", file=file, remedy=remedy)


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
        raise _damaged(error, file, None) from None
    return image


def _orientation(image: Image.Image, form: str, data: bytes) -> int:
    """EXIF orientation 1-8; a missing, broken or senseless one counts as 1."""
    try:
        if form == "PNG":  # Pillow would decode the picture to look behind its pixels
            exif: Any = Image.Exif()
            exif.load(_png_exif(data))
        else:
            exif = image.getexif()
        found = exif.get(ExifTags.Base.Orientation, 1)
    except Exception:
        return 1
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def _png_exif(data: bytes) -> bytes:
    at = 8
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        if data[at + 4 : at + 8] == b"eXIf":
            return data[at + 8 : at + 8 + size]
        at += size + 12
    return b""


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
