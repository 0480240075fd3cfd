"""What a picture file says before it is decoded: format, size and orientation."""

import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

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

from ..errors import DataError
from ..weights.files import read_bytes

Source = str | os.PathLike[str] | bytes

#: Most bytes of a picture file.
MAX_BYTES = 100_000_000

# How files begin. Opening the plugin itself keeps out every other format (EPS would start Ghostscript) and
# Pillow's global pixel limit, whose warning cannot be caught safely from several threads.
_FORMATS: tuple[tuple[str, tuple[bytes, ...], Callable[[Any], ImageFile.ImageFile]], ...] = (
    ("JPEG", (b"\xff\xd8\xff",), JpegImagePlugin.JpegImageFile),
    ("PNG", (b"\x89PNG\r\n\x1a\n",), PngImagePlugin.PngImageFile),
    ("GIF", (b"GIF87a", b"GIF89a"), GifImagePlugin.GifImageFile),
    ("TIFF", (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), TiffImagePlugin.TiffImageFile),
    ("BMP", (b"BM",), BmpImagePlugin.BmpImageFile),
    ("WebP", (b"RIFF",), WebPImagePlugin.WebPImageFile),
)
#: What is told by name, but not read.
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
#: What to do about all others.
REMEDY = "use JPEG, PNG, BMP, WebP, GIF or TIFF"


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


def read_header(source: Source) -> Header:
    """The format, stored size and orientation of a picture, without decoding it.

    Raises:
        DataError: not a picture of a known format.
        FileError: the file is missing, unreadable or not a regular file.
    """
    data, file = content_of(source)
    image, form = open_picture(data, file)
    with image:
        width, height = image.size
        orientation = orientation_of(image, form, data)
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


def content_of(source: Source) -> tuple[bytes, str]:
    """The bytes of a picture file, and what to call it in messages.

    Raises:
        FileError: the file is missing, unreadable, too large or not a regular file.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        return bytes(source), "picture"
    return read_bytes(source, MAX_BYTES), os.fspath(source)


def open_picture(data: bytes, file: str) -> tuple[ImageFile.ImageFile, str]:
    """A picture that Pillow has not decoded yet, and its format, told by its content.

    Raises:
        DataError: not a picture of a known format, or its header is damaged.
    """
    for form, starts, plugin in _FORMATS:
        if data.startswith(starts) and (form != "WebP" or data[8:12] == b"WEBP"):
            try:
                return plugin(io.BytesIO(data)), form
            except Exception as error:  # a decoder on hostile bytes may raise anything
                raise damaged(error, file) from None
    raise _unknown(data, file)


def _unknown(data: bytes, file: str) -> DataError:
    if not data:
        return DataError("the picture is empty (0 bytes)", file=file, remedy="was its download cut short?")
    head = data[:512].lstrip(b"\xef\xbb\xbf \t\r\n")
    if head[:1] == b"<":
        if b"<svg" in head.lower():
            return DataError("unsupported format SVG", file=file, remedy=REMEDY)
        start = head[:5].decode("ascii", "replace")
        reason = f"not a picture: it starts with `{start}`: an HTML or XML page"
        return DataError(reason, file=file, remedy="was this a failed download?")
    for magic, name in _OTHERS:
        if data.startswith(magic):
            return DataError(f"unsupported format {name}", file=file, remedy=REMEDY)
    if data[4:8] == b"ftyp":
        name = "HEIC or AVIF" if data[8:12] in (b"heic", b"heix", b"mif1", b"avif") else "MP4"
        return DataError(f"unsupported format {name}", file=file, remedy=REMEDY)
    return DataError(
        "not a picture of a known format: it starts with", file=file, value=data[:12], remedy=REMEDY
    )


def damaged(error: Exception, file: str, remedy: str | None = None) -> DataError:
    """What to raise where a decoder found something wrong."""
    text = str(error) or type(error).__name__
    return DataError(f"the picture is damaged: {text}", file=file, remedy=remedy)


def orientation_of(image: Image.Image, form: str, data: bytes) -> int:
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
