"""JPEGs out of bytes: whole ones only, wherever the bytes are cut and whatever stands between."""

import contextlib

import numpy as np
import pytest

from tests.io.streams import jpeg, part
from visionkit.errors import DataError
from visionkit.io.image import read_image
from visionkit.io.jpegs import JpegSplitter

#: More than the 64 KB that the length of a broken segment can lead astray.
LARGE = jpeg(9, (700, 700))
assert len(LARGE) > 66_000


def split(data: bytes, step: int = 10**9, limit: int = 10**6) -> tuple[list[bytes], int]:
    splitter = JpegSplitter(limit)
    pieces = (data[at : at + step] for at in range(0, len(data), step))
    found = [whole for piece in pieces for whole in splitter.push(piece)]
    splitter.end()
    return found, splitter.damaged


KINDS = {
    "plain": jpeg(1),
    "progressive": jpeg(2, progressive=True),
    "restarts": jpeg(3, restart_marker_blocks=1),
    "comment": jpeg(4, comment=b"\xff\xd8\xff\xe0 no beginning, \xff\xd9 no end"),
    "thumbnail": jpeg(5, exif=b"Exif\0\0" + jpeg(6, (8, 8))),
}


@pytest.mark.parametrize("step", [1, 2, 7, 1000, 10**9])
def test_pictures_come_out_as_they_went_in_wherever_they_are_cut(step):
    pictures = list(KINDS.values())
    assert split(b"".join(pictures), step) == (pictures, 0)
    assert split(b"".join(map(part, pictures)) + b"--frame--\r\n", step) == (pictures, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_that_breaks_off_anywhere_is_left_out(kind):
    """Torture V15; and never is the thumbnail of a damaged picture taken for a picture."""
    whole, after = KINDS[kind], [LARGE, *(jpeg(number) for number in range(10))]
    for cut in range(3, len(whole) - 1):
        found, damaged = split(part(whole[:cut]) + b"".join(map(part, after)))
        assert found[-10:] == after[1:], cut
        if found[:-10] not in ([], [LARGE]):
            # within the text before a picture the length may lead to just the tables of the next one
            assert kind == "thumbnail"
            with contextlib.suppress(DataError):
                assert np.array_equal(read_image(found[0]), read_image(LARGE))
        else:
            assert damaged >= 1, cut
    assert split(whole[: len(whole) // 2]) == ([], 1)


def test_garbage_is_passed_over(rng):
    noise = rng.integers(0, 256, 5000).astype(np.uint8).tobytes().replace(b"\xff\xd8\xff", b"")
    assert split(noise) == ([], 0)
    assert split(noise + jpeg(1) + b"\xff" * 9 + jpeg(2) + noise) == ([jpeg(1), jpeg(2)], 0)
    page = b"<html>\xff\xd8\xff and so on" + b"\0" * 100
    assert split(page) == ([], 1)


def test_what_looks_like_an_end_and_is_none():
    """A segment whose length is wrong leads to a byte D9."""
    whole = jpeg(1)
    length = int.from_bytes(whole[4:6], "big")
    wrong = (
        whole[:4]
        + (length - 2).to_bytes(2, "big")
        + whole[6 : 2 + length]
        + b"\x12\xd9"
        + whole[4 + length :]
    )
    assert split(wrong + jpeg(2)) == ([jpeg(2)], 1)


def test_fill_bytes_before_a_marker():
    whole = jpeg(1)
    filled = whole[:2] + b"\xff\xff" + whole[2:-2] + b"\xff" + whole[-2:]
    assert split(filled, 5) == ([filled], 0)


def test_random_damage_never_loses_what_comes_later(rng):
    """A byte is changed in one picture; those from 64 KB on behind it are found again."""
    pictures = [jpeg(0), jpeg(1), LARGE, *(jpeg(number) for number in range(10))]
    for _ in range(300):
        damaged = bytearray(pictures[1])
        damaged[int(rng.integers(len(damaged)))] = int(rng.integers(256))
        found, _ = split(b"".join([pictures[0], bytes(damaged), *pictures[2:]]), 3333)
        assert found[0] == pictures[0]
        assert found[-10:] == pictures[-10:]


def test_memory_has_a_limit():
    endless = jpeg(1)[:-2]
    splitter = JpegSplitter(20_000)
    for _ in range(100):
        assert list(splitter.push(b"\0" * 1000)) == []
    assert len(splitter._buffer) < 10
    assert list(splitter.push(endless)) == []
    for _ in range(100):
        assert list(splitter.push(b"\0" * 1000)) == []
        assert len(splitter._buffer) <= 21_000
    assert splitter.damaged == 1
    assert list(splitter.push(jpeg(2))) == [jpeg(2)]
