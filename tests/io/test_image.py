"""The picture rows of the torture list (I01-I21); every file is made here, at test time."""

import io
import os
import struct
import time
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from visionkit.errors import DataError, FileError, ShapeError, UsageError
from visionkit.io import header
from visionkit.io.header import image_size, read_header
from visionkit.io.image import PictureWarning, as_image, orient, read_image, write_image

RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (60, 80, 3), dtype=np.uint8)
SMOOTH = np.stack(np.broadcast_arrays(np.arange(60)[:, None] * 4, np.arange(80) * 3, 90), 2).astype(np.uint8)


def coded(picture, form, **options):
    """The bytes of an array or Pillow picture in a format."""
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def png_header(width, height):
    """A PNG that promises a size and holds hardly any pixels."""
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(b"\0")
    chunks = [struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in (head, data)]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF", "WEBP"])
def test_lossless_formats_come_back_exactly(form):
    data = coded(NOISE, form, **({"lossless": True} if form == "WEBP" else {}))
    assert (read_image(data) == NOISE).all()
    assert image_size(data) == (60, 80)


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"subsampling": 2}, {"restart_marker_rows": 1}]
)
def test_jpeg_variants(options):
    """I18."""
    found = read_image(coded(SMOOTH, "JPEG", quality=95, **options))
    assert np.abs(found.astype(int) - SMOOTH).mean() < 3


@pytest.mark.parametrize("percent", [50, 90, 99])
def test_cut_jpeg_is_refused_or_marked(percent):
    """I01."""
    data = coded(NOISE, "JPEG")
    cut = data[: len(data) * percent // 100]
    with pytest.raises(DataError, match="truncated"):
        read_image(cut)
    with pytest.warns(PictureWarning, match="ends early"):
        found = read_image(cut, allow_truncated=True)
    assert found.shape == NOISE.shape
    whole = read_image(data)
    rows = 60 * percent // 100 // 16 * 16 - 16
    assert (found[:rows] == whole[:rows]).all()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b"hello world", "not a picture"),
        (b"<!DOCTYPE html><html>404</html>", "`<!DOC`: an HTML or XML page"),
        (coded(NOISE, "JPEG")[:40], "damaged"),
        (coded(NOISE, "JPEG")[:3], "damaged"),
        (b"<?xml version='1.0'?><svg/>", "SVG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "EPS"),
        (b"%PDF-1.7", "PDF"),
        (b"\0\0\0\x18ftypheic\0\0", "HEIC"),
        (b"icns\0\0\0\x08", "ICNS"),
        (b"RIFF\0\0\0\0WAVE", "not a picture"),
    ],
)
def test_what_is_no_picture_is_named(data, message):
    """I02, I14."""
    with pytest.raises(DataError, match=message):
        read_image(data)


def test_jpeg_corrupt_in_the_middle():
    """I03: a marker amid the pixels. Damage without one is below what the decoder can tell."""
    data = bytearray(coded(NOISE, "JPEG"))
    middle = len(data) // 2
    data[middle : middle + 8] = b"\xff\xda" * 4
    with pytest.raises(DataError, match="damaged"):
        read_image(bytes(data))


def test_damaged_png():
    """I04: cut, and a wrong checksum."""
    data = coded(NOISE, "PNG")
    with pytest.raises(DataError, match="damaged"):
        read_image(data[: len(data) // 2])
    broken = bytearray(data)
    broken[data.index(b"IDAT") + 40] ^= 255
    with pytest.raises(DataError, match="damaged"):
        read_image(bytes(broken))


def test_cmyk():
    """I05: four inks are read in Adobe's inverted form, with its marker or without."""
    ink = Image.new("CMYK", (16, 16), (0, 128, 255, 0))
    data = coded(ink, "JPEG", quality=100)
    assert np.abs(read_image(data)[8, 8].astype(int) - (255, 127, 0)).max() <= 3
    at = data.index(b"Adobe") - 4
    plain = data[:at] + data[at + 2 + int.from_bytes(data[at + 2 : at + 4], "big") :]
    assert (read_image(plain) == read_image(data)).all()


def test_16_bit_grey_is_scaled_by_257():
    """I06."""
    values = np.array([[0, 128, 129, 257, 32768, 65535]], np.uint16)
    for form in ("PNG", "TIFF"):
        assert read_image(coded(values, form))[0, :, 0].tolist() == [0, 0, 1, 1, 128, 255]


def test_other_kinds_of_pixels_become_rgb():
    """I07: transparency lies over white."""
    rgba = np.zeros((1, 3, 4), np.uint8)
    rgba[0] = [(200, 0, 100, 255), (200, 0, 100, 0), (200, 0, 100, 51)]
    over = [[200, 0, 100], [255, 255, 255], [244, 204, 224]]
    assert read_image(coded(rgba, "PNG"))[0].tolist() == over
    grey = np.array([[[50, 255], [50, 0]]], np.uint8)
    assert read_image(coded(Image.fromarray(grey, "LA"), "PNG"))[0].tolist() == [[50] * 3, [255] * 3]
    bits = Image.fromarray(np.array([[0, 255]], np.uint8)).convert("1")
    assert read_image(coded(bits, "PNG"))[0].tolist() == [[0] * 3, [255] * 3]
    palette = Image.new("P", (2, 1))
    palette.putpalette([9, 8, 7, 1, 2, 3])
    palette.putpixel((1, 0), 1)
    assert read_image(coded(palette, "PNG"))[0].tolist() == [[9, 8, 7], [1, 2, 3]]
    assert read_image(coded(palette, "PNG", transparency=0))[0].tolist() == [[255] * 3, [1, 2, 3]]
    with pytest.raises(DataError, match="kind of pixels"):
        read_image(coded(Image.new("F", (2, 2)), "TIFF"))


# The eight orientations of EXIF, spelled out for a picture of 2 rows and 3 columns.
TURNED = {
    1: ["abc", "def"],
    2: ["cba", "fed"],
    3: ["fed", "cba"],
    4: ["def", "abc"],
    5: ["ad", "be", "cf"],
    6: ["da", "eb", "fc"],
    7: ["fc", "eb", "da"],
    8: ["cf", "be", "ad"],
}


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_turns_as_the_standard_says(orientation):
    letters = np.array([list("abc"), list("def")])
    assert orient(letters, orientation).tolist() == [list(row) for row in TURNED[orientation]]


@pytest.mark.parametrize("form", ["PNG", "JPEG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied(form, orientation):
    """I08."""
    exif = Image.Exif()
    exif[274] = orientation
    options = {"lossless": True} if form == "WEBP" else {}
    stored = read_image(coded(SMOOTH, form, **options))
    data = coded(SMOOTH, form, exif=exif, **options)
    found = read_image(data)
    assert (found == orient(stored, orientation)).all()
    assert found.flags.c_contiguous
    header = read_header(data)
    assert (header.size, header.orientation, header.shown_size) == ((60, 80), orientation, found.shape[:2])


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize("rest", [b"garbage", b"II*\0\xff\xff\xff\xff", b"x" * 60_000], ids=len)
def test_broken_exif_counts_as_none(rest):
    """I08."""
    exif = b"Exif\0\0" + rest
    assert image_size(coded(SMOOTH, "JPEG", exif=exif)) == (60, 80)
    assert read_image(coded(SMOOTH, "JPEG", exif=exif)).shape == (60, 80, 3)
    senseless = Image.Exif()
    senseless[274] = 99
    assert read_header(coded(SMOOTH, "PNG", exif=senseless)).orientation == 1


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_many_frames_the_first(form):
    """I09, I18."""
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime")]
    data = coded(
        frames[0],
        form,
        save_all=True,
        append_images=frames[1:],
        **({"lossless": True} if form == "WEBP" else {}),
    )
    with pytest.warns(PictureWarning, match="first of several"):
        assert read_image(data)[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (30_000, 1), (1, 30_000)])
def test_thin_pictures(size):
    """I10."""
    assert read_image(coded(np.full((*size, 3), 7, np.uint8), "PNG")).shape == (*size, 3)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (png_header(12_000, 12_000), r"144.0 MP > limit 64 MP"),
        (png_header(30_000, 30_000), "900.0 MP"),
        (png_header(2**31 - 1, 2**31 - 1), "MP"),
        (png_header(0, 0), "damaged|no pixels"),
    ],
)
def test_bombs_are_refused_from_the_header(data, message):
    """I11-I13."""
    start = time.perf_counter()
    with pytest.raises(DataError, match=message):
        read_image(data)
    assert time.perf_counter() - start < 0.5


def test_the_limit_of_pixels_can_be_moved():
    data = coded(NOISE, "PNG")
    with pytest.raises(DataError, match="max_pixels"):
        read_image(data, max_pixels=4799)
    assert read_image(data, max_pixels=4800).shape == (60, 80, 3)
    limit = Image.MAX_IMAGE_PIXELS
    huge = coded(Image.new("1", (20_000, 10_000)), "PNG")  # Pillow alone would refuse 200 MP
    assert image_size(huge) == (10_000, 20_000)
    assert limit == Image.MAX_IMAGE_PIXELS


def test_content_decides_not_the_name(tmp_path):
    """I14."""
    (tmp_path / "a.jpg").write_bytes(coded(NOISE, "PNG"))
    assert (read_image(tmp_path / "a.jpg") == NOISE).all()
    assert read_header(tmp_path / "a.jpg").format == "PNG"


@pytest.mark.parametrize(
    "name", ["ü.png", "日本.png", "🐈 .png", "a\nb.png", "-x.png", "%d.png", b"bad\xff.png"]
)
def test_odd_names(tmp_path, name):
    """I15, I16."""
    path = os.path.join(tmp_path, os.fsdecode(name))
    with open(path, "wb") as file:
        file.write(coded(NOISE, "PNG"))
    assert read_image(path).shape == NOISE.shape
    with open(path, "wb") as file:
        file.write(b"no")
    with pytest.raises(DataError) as caught:
        read_image(path)
    assert str(caught.value).isprintable()


def test_what_is_no_file(tmp_path):
    """I17: never waits."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for path in (
        tmp_path / "none",
        tmp_path,
        tmp_path / "pipe",
        tmp_path / "loop",
        "/dev/zero",
        "a\0b",
        "x" * 5000,
    ):
        with pytest.raises(FileError):
            read_image(path)


def test_bytes_behind_the_picture_do_no_harm():
    """I18."""
    data = coded(SMOOTH, "JPEG")
    assert (read_image(data + b"PK\x03\x04" + bytes(10_000_000)) == read_image(data)).all()


def test_bounded_metadata():
    """I19: a colour profile is ignored, 10,000 texts end in an error or a picture, soon."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert (read_image(coded(NOISE, "PNG", icc_profile=profile)) == NOISE).all()
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    for k in range(10_000):
        info.add_text(f"k{k}", "x" * 100, zip=True)
    start = time.perf_counter()
    assert (read_image(coded(NOISE, "PNG", pnginfo=info)) == NOISE).all()
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize(
    "array",
    [
        NOISE.astype(np.float32),
        NOISE.astype(np.int16),
        NOISE > 7,
        np.uint8(3),
        np.zeros((4, 5, 2), np.uint8),
        np.zeros((0, 5, 3), np.uint8),
        np.zeros((2, 4, 5, 3), np.uint8),
        [["a"]],
    ],
    ids=str,
)
def test_arrays_of_another_kind_are_refused(array):
    """I20."""
    with pytest.raises(ShapeError):
        as_image(array)


def test_arrays_in_any_memory_order_are_taken_and_left_alone():
    """I20."""
    frozen = NOISE.copy()
    frozen.flags.writeable = False
    wide = np.zeros((60, 160, 3), np.uint8)
    wide[:, ::2] = NOISE
    for array in (frozen, wide[:, ::2], np.asfortranarray(NOISE), NOISE[::-1][::-1], Image.fromarray(NOISE)):
        found = as_image(array)
        assert (found == NOISE).all()
        assert found.flags.c_contiguous
    assert (as_image(NOISE[:, :, 0]) == NOISE[:, :, :1]).all()
    assert as_image(np.zeros((1, 1, 4), np.uint8)).tolist() == [[[255, 255, 255]]]


def test_the_file_is_read_once(tmp_path, monkeypatch):
    """I21: what happens to the file after the read does not matter."""
    path = tmp_path / "a.png"
    path.write_bytes(coded(NOISE, "PNG"))
    real, reads = header.read_bytes, []

    def read(*args):
        reads.append(args)
        data = real(*args)
        path.write_bytes(b"gone")
        return data

    monkeypatch.setattr(header, "read_bytes", read)
    assert (read_image(path) == NOISE).all()
    assert len(reads) == 1


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.jpg", "a.webp"])
def test_written_pictures_come_back(tmp_path, name):
    write_image(tmp_path / name, SMOOTH, quality=98)
    found = read_image(tmp_path / name)
    assert np.abs(found.astype(int) - SMOOTH).mean() < (0.001 if name[2:] in ("png", "bmp") else 3)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_pictures_cannot_be_written_to_nowhere(tmp_path):
    with pytest.raises(UsageError, match="format"):
        write_image(tmp_path / "a.xyz", SMOOTH)
    with pytest.raises(FileError):
        write_image(tmp_path / "none" / "a.png", SMOOTH)
