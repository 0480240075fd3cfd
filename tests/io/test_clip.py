"""Video files: what is read, what is refused, what is noticed; rows V01-V10, V24, V25 of the torture list."""

import math
import os
import shutil
import struct
import subprocess
import sys

import numpy as np
import pytest

from tests.io.streams import picture
from visionkit.errors import DataError, FileError
from visionkit.io import clip as module
from visionkit.io.clip import Clip, VideoWarning, sane_fps, video_container
from visionkit.io.opencv import cv2_remedy
from visionkit.io.video import Video, is_video
from visionkit.io.writer import VideoWriter


def write_avi(path, frames, rate=10):
    """Motion JPEG, which can be cut and damaged anywhere."""
    import cv2

    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), rate, (width, height))
    for frame in frames:
        writer.write(frame[..., ::-1])
    writer.release()
    return path


@pytest.fixture
def clip(tmp_path):
    with VideoWriter(tmp_path / "clip.mp4", 12.5) as writer:
        for number in range(8):
            writer.write(picture(number, (64, 96)))
    return tmp_path / "clip.mp4"


@pytest.fixture
def avi(tmp_path, rng):
    noise = rng.integers(0, 256, (20, 64, 96, 3)).astype(np.uint8)
    return write_avi(tmp_path / "clip.avi", noise)


@pytest.fixture
def ffmpeg(tmp_path):
    """Make a file by the program ffmpeg, which knows more kinds than OpenCV."""
    if not shutil.which("ffmpeg"):
        pytest.skip("no ffmpeg to make such a file with")

    def make(name, *arguments):
        command = ["ffmpeg", "-v", "error", "-y", *arguments, str(tmp_path / name)]
        if subprocess.run(command, check=False, capture_output=True).returncode:
            pytest.skip(f"this ffmpeg cannot make {name}")
        return tmp_path / name

    return make


def patched(path, chunk, offset, value):
    """An AVI with four bytes of a header chunk changed; the chunk's last copy is the video's."""
    data = bytearray(path.read_bytes())
    at = data.index(chunk) + 8 + offset
    data[at : at + 4] = struct.pack("<I", value)
    path.write_bytes(data)
    return path


def test_frames_come_back_in_order_and_in_rgb(clip):
    with Video(clip) as video:
        frames = list(video)
        assert video.time == pytest.approx(7 / 12.5)
    assert (video.live, video.single, video.dropped) == (False, False, 0)
    assert video.frames == len(frames) == 8
    assert video.fps == 12.5
    for number, seen in enumerate(frames):
        assert seen.shape == (64, 96, 3)
        assert np.abs(seen.astype(int) - picture(number, (64, 96))).mean() < 8


def test_no_frames(tmp_path):
    """V01."""
    import cv2

    path = tmp_path / "none.avi"
    cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (96, 64)).release()
    with Video(path) as video, pytest.raises(DataError, match=r"none\.avi: no frames"):
        list(video)


@pytest.mark.parametrize(
    ("content", "error", "words"),
    [
        (None, FileError, "No such file"),
        (b"", DataError, "0 bytes"),
        (b"hello, I am text", DataError, "not a video"),
        (b"\0\0\0\x08ftyp", DataError, "index \\(moov\\) missing"),
        (b"\0\0\0\x08ftyp\0\0\0\x08moov", DataError, "no pictures, only sound or data"),
        (b"\0\0\0\x08ftyp\0\0\0\0mdat" + b"x" * 99, DataError, "index \\(moov\\) missing"),
        (b"\0\0\0\x08ftyp\0\0\0\x01mdat" + b"\xff" * 8, DataError, "index \\(moov\\) missing"),
        (b"\x1aE\xdf\xa3" + b"x" * 99, DataError, "cannot be opened"),
        (b"ffconcat version 1.0\nfile secret.mp4\n", DataError, "not a video"),
        (b"#EXTM3U\nfile:///etc/passwd\n", DataError, "not a video"),
    ],
)
def test_missing_empty_and_foreign_files(tmp_path, content, error, words):
    """V02, V04, V24, V25: each has its own message."""
    path = tmp_path / "clip.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(error, match=words):
        Video(path)


@pytest.mark.parametrize("part", [0.3, 0.5, 0.95])
def test_a_video_cut_short_is_noticed(avi, part):
    """V03: OpenCV reads what is there and says nothing."""
    whole = avi.read_bytes()
    avi.write_bytes(whole[: int(part * len(whole))])
    with Video(avi) as video:
        with pytest.raises(DataError, match=r"ended after \d+ of 20 declared frames.*--tolerant"):
            list(video)
        assert 0 < video.frames < 20
    with (
        Video(avi, tolerant=True) as video,
        pytest.warns(VideoWarning, match="ended after"),
    ):
        assert 0 < len(list(video)) < 20


def test_a_whole_avi_is_read_to_its_end(avi):
    with Video(avi) as video:
        assert len(list(video)) == 20


def test_damage_in_the_middle_is_noticed(avi):
    """V05: chunks can no longer be found behind it."""
    data = bytearray(avi.read_bytes())
    middle = len(data) * 4 // 10
    data[middle : middle + len(data) // 3] = b"\xa5" * (len(data) // 3)
    avi.write_bytes(data)
    with Video(avi) as video, pytest.raises(DataError, match=r"ended after \d+ of 20 declared frames"):
        list(video)
    assert video.frames >= 5


def damaged(path):
    """Some bytes of the pictures of an MP4 changed."""
    data, random = bytearray(path.read_bytes()), np.random.default_rng(1)
    begin = data.index(b"mdat")
    end = data.rindex(b"moov") if data.rindex(b"moov") > begin else len(data)
    for at in random.integers(begin + 2000, end - 100, 40):
        data[at] ^= 0x5A
    other = path.with_name("damaged.mp4")
    other.write_bytes(data)
    return other


#: Prints what OpenCV's own listener hears, which C keeps back until it is told.
PRINTED = """
import ctypes, sys
import cv2
capture = cv2.VideoCapture(sys.argv[1], cv2.CAP_FFMPEG)
c = ctypes.CDLL(None)
c.puts(b"opened")
while capture.read()[0]:
    pass
capture.release()
c.fflush(None)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="OpenCV's FFmpeg is elsewhere, or out of reach")
def test_complaints_of_decoders_are_counted_and_told(ffmpeg, caplog):
    """V06: all frames come, some of them guessed; as many complaints are told as OpenCV prints."""
    source = ("-f", "lavfi", "-i", "testsrc2=s=320x240:r=25:d=4")
    whole = ffmpeg("whole.mp4", *source, "-c:v", "libx264", "-pix_fmt", "yuv420p")
    with Video(whole) as video:
        assert len(list(video)) == 100
    assert caplog.messages == []
    path = damaged(whole)
    done = subprocess.run(
        [sys.executable, "-c", PRINTED, str(path)],
        env={**os.environ, "OPENCV_FFMPEG_LOGLEVEL": "16"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    expected = done.stdout.partition("opened")[2].count("FFMPEG:16")
    assert expected > 10
    for _ in range(2):
        caplog.clear()
        with Video(path) as video:
            assert len(list(video)) == 100
            assert caplog.messages == []
        video.close()
        assert caplog.messages == [f"{path}: damaged: the decoder complained {expected} times, and guessed"]
    caplog.clear()
    with Video(whole) as video:
        assert len(list(video)) == 100
    assert caplog.messages == []


def test_an_mp4_without_its_index_is_refused(clip):
    """V04."""
    whole = clip.read_bytes()
    clip.write_bytes(whole[: whole.index(b"moov") - 4])
    with pytest.raises(DataError, match=r"index \(moov\) missing: the file is incomplete"):
        Video(clip)


@pytest.mark.parametrize("count", [-192153584101141.0, 0.0, -1.0, 9.2e18, math.nan, math.inf, 3.0])
def test_senseless_frame_counts_are_no_counts(clip, count, monkeypatch):
    """V07."""
    stored = Clip._property
    monkeypatch.setattr(
        Clip, "_property", lambda c, name: count if name == "FRAME_COUNT" else stored(c, name)
    )
    with Video(clip) as video:
        assert len(list(video)) == 8


@pytest.mark.parametrize("count", [0, 0xFFFFFFFF, 0x7FFFFFFF])
def test_senseless_frame_counts_in_a_file(avi, count):
    """V07: counts that could be, but are too high, are told; all frames are read before."""
    patched(patched(avi, b"avih", 16, count), b"strh", 32, count)
    with Video(avi, tolerant=True) as video:
        frames = iter(video)
        for _ in range(20):
            next(frames)


@pytest.mark.parametrize(
    ("scale", "rate", "fps"),
    [(10, 1, 0.1), (1, 600, 600), (1, 100_000, 25), (0, 0, None), (1, 0, None), (100, 1, 25)],
)
def test_rates(avi, scale, rate, fps):
    """V08: None is whatever FFmpeg makes of it, as long as it is a rate."""
    patched(patched(avi, b"strh", 20, scale), b"strh", 24, rate)
    with Video(avi) as video:
        assert video.fps == pytest.approx(fps) if fps else 0.1 <= video.fps <= 1000
        assert len(list(video)) == 20
        assert 0 <= video.time < math.inf


def test_sane_rates():
    assert [sane_fps(fps) for fps in (0.1, 29.97, 1000)] == [0.1, 29.97, 1000]
    assert {sane_fps(fps) for fps in (0, -1, 0.09, 1001, math.nan, math.inf, -math.inf)} == {25}


def test_time_is_when_a_frame_is_shown(ffmpeg):
    """V08: the first ten frames at 30 a second, then every seventh."""
    kept = "select='not(mod(n\\,7))+lt(n\\,10)'"
    source = ("-f", "lavfi", "-i", "testsrc=s=160x120:r=30:d=2")
    path = ffmpeg("vfr.mp4", *source, "-vf", kept, "-vsync", "vfr", "-pix_fmt", "yuv420p")
    with Video(path) as video:
        times = [video.time for _ in video]
    expected = [n / 30 for n in range(60) if n < 10 or n % 7 == 0]
    assert times == pytest.approx(expected, abs=1e-3)


def test_another_size_in_the_middle(ffmpeg):
    """V09: OpenCV scales to the first size; time does not run back."""
    for name, size in (("a.ts", "160x120"), ("b.ts", "320x240")):
        ffmpeg(name, "-f", "lavfi", "-i", f"testsrc=s={size}:r=10:d=1", "-c:v", "mpeg2video", "-f", "mpegts")
    joined = ffmpeg("a.ts", "-f", "lavfi", "-i", "testsrc=s=160x120:r=10:d=1", "-c:v", "mpeg2video")
    other = joined.with_name("b.ts")
    joined.write_bytes(joined.read_bytes() + other.read_bytes())
    with Video(joined) as video:
        seen = [(frame.shape, video.time) for frame in video]
    assert {shape for shape, _ in seen} == {(120, 160, 3)}
    assert len(seen) >= 18
    times = [time for _, time in seen]
    assert times == sorted(times)


SOURCE = ("-f", "lavfi", "-i", "testsrc=s=160x120:r=10:d=1")
KINDS = {
    "ten.mp4": (*SOURCE, "-pix_fmt", "yuv420p10le"),
    "full.mp4": (*SOURCE, "-pix_fmt", "yuv444p"),
    "grey.avi": (*SOURCE, "-pix_fmt", "gray", "-c:v", "ffv1"),
    "alpha.mov": (*SOURCE, "-vf", "format=rgba", "-c:v", "png"),
    "alpha.webm": (*SOURCE, "-vf", "format=yuva420p", "-c:v", "libvpx-vp9"),
    "plain.mkv": (*SOURCE, "-c:v", "ffv1"),
}


@pytest.mark.parametrize("name", KINDS)
def test_kinds_of_pixels(ffmpeg, name, caplog):
    """V10: 8-bit RGB comes out of all, and nearly the same one; no decoder complains."""
    with Video(ffmpeg("reference.mov", *SOURCE, "-c:v", "png")) as video:
        expected = list(video)
    with Video(ffmpeg(name, *KINDS[name])) as video:
        frames = list(video)
    assert len(frames) == len(expected) == 10
    assert caplog.messages == []
    for frame, wanted in zip(frames, expected, strict=True):
        assert frame.dtype == np.uint8
        if name == "grey.avi":
            wanted = (wanted @ np.array([0.299, 0.587, 0.114]))[..., None].repeat(3, axis=2)
            frame = frame[..., :1].repeat(3, axis=2)
        assert frame.shape == wanted.shape
        assert np.abs(frame.astype(float) - wanted).mean() < 16


@pytest.mark.parametrize("size", ["161x121", "1x1", "3x200"])
def test_odd_and_tiny_sizes(ffmpeg, size):
    """V10."""
    filters = f"testsrc=s=400x400:r=10:d=0.3,crop={size.replace('x', ':')},format=yuvj444p"
    with Video(ffmpeg("size.avi", "-f", "lavfi", "-i", filters, "-c:v", "mjpeg")) as video:
        shapes = [frame.shape for frame in video]
    width, height = map(int, size.split("x"))
    assert shapes == [(height, width, 3)] * 3


def test_a_huge_size(tmp_path):
    """V10."""
    frame = np.full((4320, 7680, 3), 200, np.uint8)
    with Video(write_avi(tmp_path / "8k.avi", [frame])) as video:
        (seen,) = video
    assert seen.shape == (4320, 7680, 3)
    assert 196 < seen.min() <= seen.max() < 204


@pytest.mark.parametrize(
    ("turn", "matrix"), [(90, (0, 1, -1, 0)), (180, (-1, 0, 0, -1)), (270, (0, -1, 1, 0))]
)
def test_rotation(clip, turn, matrix):
    """V10: the matrix of the track header (ISO 14496-12, 8.3.2) is obeyed, clockwise."""
    data = bytearray(clip.read_bytes())
    at = data.rindex(b"tkhd") + 4 + 40  # of version 0; an index of fragments may be left in front
    a, b, c, d = (value << 16 for value in matrix)
    assert data[at : at + 4] == struct.pack(">i", 1 << 16)
    data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    with Video(clip) as video:
        plain = list(video)
    clip.write_bytes(data)
    with Video(clip) as video:
        turned = list(video)
    for one, other in zip(plain, turned, strict=True):
        assert np.array_equal(np.rot90(one, -turn // 90), other)


def test_sound_alone(ffmpeg):
    """V10."""
    path = ffmpeg("sound.mp4", "-f", "lavfi", "-i", "sine=d=1", "-c:a", "aac")
    with pytest.raises(DataError, match="no pictures, only sound"):
        Video(path)


@pytest.mark.parametrize("name", ["concat:a.mp4|b.mp4", "subfile,,start,0,end,9,,:a.mp4", "frames-%03d.jpg"])
def test_names_that_mean_other_files_are_only_names(tmp_path, name, monkeypatch):
    """V24."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "frames-001.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(FileError):
        Video(name)


def test_a_video_of_an_odd_name_is_a_video(clip, monkeypatch):
    """V24: the name of a file that is there means that file."""
    monkeypatch.chdir(clip.parent)
    for name in ("concat:a|b.mp4", "frames-%03d.mp4", "a?b=c.mp4", "-.mp4"):
        shutil.copy(clip, clip.parent / name)
        with Video(name) as video:
            assert len(list(video)) == 8


def test_containers_and_names():
    assert is_video("a/B.MP4")
    assert not is_video("a.jpg")
    assert "libgl1" in cv2_remedy("libGL.so.1: cannot open shared object file")


def test_real_videos(real_data):
    folder = real_data / "photos" / "intel_sample_videos"
    path = folder / "car-detection.mp4"
    assert video_container(path) == "MP4"
    with Video(path) as video:
        assert next(iter(video)).shape == (432, 768, 3)
        assert video.fps == 12.5


@pytest.mark.parametrize(("count", "words"), [(1, "once"), (2, "2 times")])
def test_complaints_are_counted_in_words(clip, count, words, monkeypatch, caplog):
    heard = iter([7, 7 + count])
    monkeypatch.setattr(module, "complaints", lambda: next(heard))
    with Video(clip) as video:
        list(video)
    assert caplog.messages == [f"{clip}: damaged: the decoder complained {words}, and guessed"]
