"""RTSP streams and cameras in a process of its own, which is killed, stopped and crashed here."""

import io
import itertools
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests.io.rtsp import H264, RtspServer, h264, plays
from tests.io.streams import jpeg, number_of, picture, sends, then_silent
from visionkit.errors import SourceLostError
from visionkit.io import capture_child
from visionkit.io.capture import Captured
from visionkit.io.capture_child import HEAD
from visionkit.io.live import Live
from visionkit.io.video import Video

SIZE = (96, 128)


def endless(size=SIZE, pause=0.02):
    for number in itertools.cycle(range(16)):
        yield jpeg(number, size)
        yield pause


def live(server, **options):
    options = {"timeout": 4.0, "delay": 0.01, "reconnect": 30.0} | options
    return Live(partial(Captured, server.address, options["timeout"]), "cam", **options)


def child_of(source):
    return source._reader.feed._child


def test_rtsp_pictures_arrive():
    with RtspServer(plays(endless())) as server, Video(server.address) as video:
        assert video.live
        frames = list(islice(video, 5))
        child = child_of(video._source)
    assert child.returncode is not None
    for frame in frames:
        assert np.abs(frame.astype(int) - picture(number_of(frame), SIZE)).mean() < 5
    numbers = [number_of(frame) for frame in frames]
    assert numbers == sorted(numbers)
    assert len(set(numbers)) == 5


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (plays([], ("DESCRIBE", "401 Unauthorized")), "cannot be opened. method DESCRIBE failed: 401"),
        (plays([], ("DESCRIBE", "404 Not Found")), "cannot be opened. method DESCRIBE failed: 404"),
        (plays([], ("SETUP", "453 Not Enough Bandwidth")), "method SETUP failed: 453"),
        (sends(head=b"garbage" * 100), r"cannot be opened\. \w+|no picture for 2 seconds"),
        (then_silent(head=b""), "no picture for 2 seconds"),
        (plays(endless(), slow=0.6), "no picture for 2 seconds"),  # four answers, each of them in time
        (plays([]), "cannot be opened|no more pictures|no picture for 2 seconds"),
    ],
)
def test_what_cannot_be_opened_has_a_reason_and_no_password(act, words):
    """Torture V16, V19."""
    begin = time.monotonic()
    with RtspServer(act) as server, pytest.raises(SourceLostError, match=words) as caught:
        Video(server.address.replace("//", "//admin:s3cret@") + "?key=t0ken", timeout=2.0)
    assert time.monotonic() - begin < 10
    assert str(caught.value).startswith(f"rtsp://***@127.0.0.1:{server.port}/live?***: ")
    assert "s3cret" not in str(caught.value)
    assert "t0ken" not in str(caught.value)


def test_nobody_listens():
    with pytest.raises(SourceLostError, match="refused"):
        Video("rtsp://127.0.0.1:1/x")


def test_the_password_is_no_argument_of_the_process():
    """Everyone on a machine can read those."""
    with RtspServer(then_silent(head=b"")) as server:
        feed = Captured(server.address.replace("//", "//admin:s3cret@"), 5.0)
        arguments = " ".join(map(str, feed._child.args))
        threading.Timer(0.2, feed.close).start()
        with pytest.raises(SourceLostError, match="the process that reads it ended"):
            list(feed)
    assert "s3cret" not in arguments
    assert "capture_child.py" in arguments


@pytest.mark.parametrize("how", ["SIGSTOP", "SIGSEGV", "SIGKILL"])
@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_a_process_that_hangs_or_crashes_is_replaced(how):
    """Torture V18."""
    with RtspServer(plays(endless(SIZE)), plays(endless((48, 64)))) as server:
        source = live(server, timeout=2.5)
        frames = iter(source)
        assert next(frames).shape == (*SIZE, 3)
        first = child_of(source)
        first.send_signal(getattr(signal, how))
        begin = time.monotonic()
        while next(frames).shape != (48, 64, 3):
            assert time.monotonic() - begin < 20
        assert first.wait(5) is not None
        source.close()
        assert child_of(source).wait(5) is not None


def test_disconnections_and_another_size_after_one():
    """Torture V09, V14: the size of each connection is its own."""
    sizes = [(96, 128), (48, 64), (192, 160)]
    plans = [plays([*islice(endless(size), 20)]) for size in sizes]
    with RtspServer(*plans, plays(endless((16, 16)))) as server:
        source = live(server)
        seen = []
        for frame in source:
            seen.append(frame.shape[:2])
            if seen[-1] == (16, 16):
                break
        assert list(dict.fromkeys(seen)) == [*sizes, (16, 16)]
        source.close()


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="looks into /proc")
def test_the_process_ends_with_its_parent():
    code = (
        "import sys, time\nfrom visionkit.io.capture import Captured\n"
        f"feed = Captured({'rtsp://127.0.0.1:%d/x'!r} % int(sys.argv[1]), 60.0)\n"
        "print(feed._child.pid, flush=True)\nlist(feed)"
    )
    with RtspServer(then_silent(head=b"")) as server:
        parent = subprocess.Popen([sys.executable, "-c", code, str(server.port)], stdout=subprocess.PIPE)
        child = int(parent.stdout.readline())
        while not server.requests:
            time.sleep(0.01)  # until the child hangs in opening
        assert os.path.isdir(f"/proc/{child}")
        parent.kill()
        parent.communicate()
        for _ in range(500):
            try:
                state = Path(f"/proc/{child}/stat").read_text().split()[2]
            except OSError:
                return
            if state == "Z":  # nobody waits for it here
                return
            time.sleep(0.01)
    pytest.fail("the process outlives its parent")


class Camera:
    """An OpenCV that has one camera, which gives these frames."""

    CAP_V4L2, CAP_ANY, CAP_PROP_FPS, CAP_PROP_BUFFERSIZE = range(4)
    COLOR_GRAY2RGB, COLOR_BGR2RGB = "grey", "bgr"

    def __init__(self, *frames, fps=30.0):
        self._frames, self._fps = iter(frames), fps

    def VideoCapture(self, *_):
        return SimpleNamespace(
            isOpened=lambda: True, get=lambda _: self._fps, set=lambda *_: None,
            read=lambda: next(((True, frame) for frame in self._frames), (False, None)),
        )  # fmt: skip

    def cvtColor(self, frame, code):
        return np.repeat(frame[..., None], 3, axis=2) if code == "grey" else frame[..., ::-1].copy()


def messages(data):
    """(kind, a, b, pixels or text) of everything a child has sent."""
    stream, found = io.BytesIO(data), []
    while head := stream.read(HEAD.size):
        kind, a, b, _ = HEAD.unpack(head)
        found.append((kind, a, b, stream.read(3 * a * b if kind == b"f" else 0)))
    return found


def test_a_camera_warms_up_and_black_is_black_afterwards(monkeypatch):
    """Torture V13."""
    black, grey = np.zeros((2, 3, 3), np.uint8), np.full((2, 3), 7, np.uint8)
    red = black + np.array([0, 0, 200], np.uint8)
    for warm_up, expected in ((60.0, [red, red]), (-1.0, [black, grey, red, red])):
        camera = Camera(black, grey, red, red)
        monkeypatch.setitem(sys.modules, "cv2", camera)
        monkeypatch.setattr(capture_child, "_WARM_UP", warm_up)
        out = io.BytesIO()
        said = capture_child._send(0, 5000, out, SimpleNamespace(count=0, last=""))
        assert said == "no more pictures"
        begun, opened, *frames = messages(out.getvalue())
        assert begun == (b"r", 0, 0, b"")
        assert opened[:2] == (b"o", 30_000)
        shown = [f[..., ::-1] if f.ndim == 3 else np.repeat(f[..., None], 3, axis=2) for f in expected]
        assert [frame[3] for frame in frames] == [f.tobytes() for f in shown]
        assert {frame[:3] for frame in frames} == {(b"f", 2, 3)}


@pytest.mark.parametrize("fps", [0.0, -1.0, float("nan"), 1e9])
def test_senseless_rates_are_none(fps, monkeypatch):
    """Torture V08."""
    monkeypatch.setitem(sys.modules, "cv2", Camera(fps=fps))
    out = io.BytesIO()
    capture_child._send(0, 5000, out, SimpleNamespace(count=0, last=""))
    assert [message[:2] for message in messages(out.getvalue())] == [(b"r", 0), (b"o", 0)]


def test_complaints_are_counted():
    """Torture V06: in a process of its own, for it takes standard error away."""
    code = (
        "import os, sys, time; sys.path.insert(0, sys.argv[1])\n"
        "from capture_child import Complaints\n"
        "complaints = Complaints()\n"
        "os.write(2, b'[h264 @ 0x1] damaged\\n' * 41 + b'last one\\n')\n"
        "while complaints.count < 42: time.sleep(0.01)\n"
        "print(complaints.count, complaints.last)"
    )
    folder = os.path.dirname(capture_child.__file__)
    done = subprocess.run(
        [sys.executable, "-c", code, folder], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "42 last one\n"
    assert done.stderr == ""


def numbered(count, size=SIZE):
    """H.264 of pictures that tell their numbers, after one that is waited for."""
    if not shutil.which("ffmpeg"):
        pytest.skip("no ffmpeg to encode H.264 with")
    return h264([picture(number % 16, size) for number in range(count)])


def test_frames_are_not_held_back():
    """A decoder of as many threads as there are cores gives the first frame after that many others."""
    frames = numbered(14)
    paced = [item for frame in frames for item in (frame, 0.05)]
    with RtspServer(plays(paced, hold=True, sdp=H264)) as server:
        source = live(server, timeout=20.0)
        for frame in source:
            if number_of(frame) == 12:  # of 0 to 13; that a frame is whole is known when the next one begins
                break
        assert source.fps == 25.0
        source.close()


def test_another_size_within_a_connection():
    """Torture V09: OpenCV scales to the first size, and does not tell."""
    sizes = (SIZE, (192, 256), (48, 64))
    frames = [item for size in sizes for frame in numbered(8, size) for item in (frame, 0.05)]
    seen = []
    with RtspServer(plays(frames, sdp=H264)) as server:
        feed = Captured(server.address, 20.0)
        with pytest.raises(SourceLostError, match="no more pictures"):
            seen.extend(frame for frame in feed if frame is not None)
    assert {frame.shape[:2] for frame in seen} == {SIZE}
    assert [number_of(frame) for frame in seen][-8:-1] == [*range(7)]
    assert abs(int(seen[-2][-1, -1, 1]) - int(picture(0, (48, 64))[-1, -1, 1])) < 16  # the whole picture
