"""Standard input: one picture of any format, or every picture of a stream."""

import io
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from PIL import Image

from tests.io.streams import jpeg, number_of, part, picture
from visionkit.errors import DataError, UsageError
from visionkit.io.clip import VideoWarning
from visionkit.io.piped import Piped


class Pipe(io.BytesIO):
    """Gives a few bytes at a time, as pipes do."""

    def read1(self, size=-1):
        return super().read1(min(size, 700))


@pytest.mark.parametrize("form", ["PNG", "GIF", "TIFF", "BMP", "WEBP", "JPEG"])
def test_one_picture_of_any_format(form):
    content = io.BytesIO()
    Image.fromarray(picture(3)).save(content, form)
    source = Piped(Pipe(content.getvalue()))
    assert source.single
    (frame,) = source
    assert np.abs(frame.astype(int) - picture(3)).max() < 40


@pytest.mark.parametrize("wrap", [bytes, part], ids=["joined", "multipart"])
def test_every_picture_of_a_stream_in_order(wrap):
    source = Piped(Pipe(b"".join(wrap(jpeg(number)) for number in range(16))))
    assert not source.single
    assert not source.live
    assert [number_of(frame) for frame in source] == list(range(16))
    assert source.dropped == 0
    assert 0 <= source.time <= source.arrived


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "stdin: no whole picture. Pipe a picture"),
        (b"hello", "no whole picture"),
        (b"\0\0\0\x20ftypisom" + b"\0" * 5000, "no whole picture"),
        (jpeg(1)[:-40], "no whole picture"),
        (b"\x89PNG and so on", "picture"),
        (b"BM", "picture"),
    ],
)
def test_what_is_no_picture(content, words):
    with pytest.raises(DataError, match=words):
        list(Piped(Pipe(content)))


def broken(number):
    """A JPEG whose markers are in order and whose tables are not."""
    whole = jpeg(number)
    at = whole.index(b"\xff\xc4")
    return whole[: at + 4] + b"\xff\x01" * 8 + whole[at + 20 :]


@pytest.mark.parametrize(
    ("content", "seen", "words"),
    [
        ([jpeg(1), jpeg(2)[:-40], jpeg(3)], [1, 3], "1 of 3 pictures were damaged"),
        ([jpeg(1), jpeg(2), jpeg(3)[:-2]], [1, 2], "1 of 3 pictures were damaged"),
        ([jpeg(1), broken(2), jpeg(3)], [1, 3], "1 of 3 pictures were damaged"),
    ],
)
def test_damaged_pictures_are_left_out_and_told_at_the_end(content, seen, words):
    """Torture V03, V05; `tolerant` warns."""
    frames = iter(Piped(Pipe(b"".join(content))))
    assert [number_of(next(frames)) for _ in seen] == seen
    with pytest.raises(DataError, match=words):
        next(frames)
    with pytest.warns(VideoWarning, match=words):
        assert [number_of(frame) for frame in Piped(Pipe(b"".join(content)), tolerant=True)] == seen


def test_a_picture_is_given_when_the_next_one_begins_not_when_the_pipe_ends():
    reads, writes = os.pipe()
    with os.fdopen(writes, "wb", buffering=0) as pipe, os.fdopen(reads, "rb") as end:
        pipe.write(jpeg(1) + jpeg(2))
        source = iter(Piped(end))
        assert number_of(next(source)) == 1
        assert number_of(next(source)) == 2
        threading.Timer(0.1, pipe.write, [jpeg(3)]).start()
        assert number_of(next(source)) == 3


def test_a_terminal_is_refused():
    class Terminal(io.BytesIO):
        def isatty(self):
            return True

    with pytest.raises(UsageError, match="is a terminal"):
        Piped(Terminal())


def test_the_door_takes_standard_input():
    code = (
        "from visionkit.io.video import Video\n"
        "with Video('-') as v: print(v.name, v.single, len(list(v)), v.frames)"
    )
    for content, printed in ((jpeg(1), "stdin True 1 1"), (jpeg(1) * 3, "stdin False 3 3")):
        done = subprocess.run([sys.executable, "-c", code], input=content, capture_output=True, check=True)
        assert done.stdout.decode().strip() == printed
