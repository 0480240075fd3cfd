"""Sources opened and closed again and again: memory, descriptors, threads and processes stay as they are."""

import gc
import os
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from visionkit.errors import VisionKitError
from visionkit.io.video import Video
from visionkit.io.writer import VideoWriter

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="looks into /proc")

# in a process of their own: one client after the other gets two pictures, and silence
SERVERS = {
    "http": """
import socket
from tests.io.streams import MULTIPART, jpeg, part
def serve(client):
    client.recv(4096)
    client.sendall(MULTIPART + part(jpeg(1)) + part(jpeg(2)))
    client.recv(1)
""",
    "rtsp": """
import itertools, socket
from tests.io.rtsp import plays
from tests.io.streams import jpeg
pictures = [item for number in range(16) for item in (jpeg(number), 0.02)]
def serve(client):
    plays(itertools.cycle(pictures))(client, client.recv(4096))
""",
}
LISTEN = """
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
while True:
    client, _ = server.accept()
    try:
        serve(client)
    except OSError:
        pass
    client.close()
"""


@contextmanager
def serving(kind):
    """The address of a server."""
    command = [sys.executable, "-c", SERVERS[kind] + LISTEN]
    root = Path(__file__).parent.parent.parent
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=root) as process:
        try:
            yield f"{kind}://127.0.0.1:{int(process.stdout.readline())}/live"
        finally:
            process.kill()


class Holdings:
    """What this process holds."""

    def __init__(self):
        gc.collect()
        self.descriptors = len(os.listdir("/proc/self/fd"))
        self.threads = threading.active_count()
        self.system_threads = len(os.listdir("/proc/self/task"))
        self.children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        self.memory = pages * os.sysconf("SC_PAGE_SIZE") / 1e6  # MB

    def __repr__(self):
        return f"{vars(self)}"


def cycle(source, count, frames=1):
    """Open, read a few frames and close, so many times."""
    for _ in range(count):
        with Video(source, timeout=30.0) as video:
            for _, frame in zip(range(frames), video, strict=False):
                assert frame.shape[2] == 3


def fails(source, count):
    """Try to open so many times."""
    for _ in range(count):
        with pytest.raises(VisionKitError):
            Video(source)


def held_constant(run, first, more, megabytes):
    """What is held after the first runs and after more."""
    run(first)
    before = Holdings()
    run(more)
    end = time.monotonic() + 10
    while (after := Holdings()).threads > before.threads and time.monotonic() < end:
        time.sleep(0.05)  # the last thread may be on its way out
    assert after.threads == before.threads
    assert after.descriptors == before.descriptors
    assert after.children == before.children
    assert after.system_threads <= before.system_threads
    assert after.memory - before.memory <= megabytes, (before, after)
    return before, after


@pytest.fixture
def clip(tmp_path):
    with VideoWriter(tmp_path / "clip.mp4", 10) as writer:
        for number in range(3):
            writer.write(np.full((48, 64, 3), 40 * number, np.uint8))
    return tmp_path / "clip.mp4"


def run_file(clip, first, more, megabytes):
    return held_constant(lambda count: cycle(clip, count), first, more, megabytes)


def run_stream(kind, first, more, megabytes):
    with serving(kind) as address:
        return held_constant(lambda count: cycle(address, count), first, more, megabytes)


def test_files(clip):
    run_file(clip, 30, 100, 5)


def test_streams():
    run_stream("http", 30, 100, 5)


def test_rtsp():
    run_stream("rtsp", 2, 3, 20)


@pytest.mark.parametrize("source", ["http://127.0.0.1:1/x", "99", __file__, "screen:1"])
def test_what_cannot_be_opened(source):
    held_constant(lambda count: fails(source, count), 30, 100, 5)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["file", "http", "rtsp"])
def test_ten_thousand(kind, clip):
    """Torture V21 and the issue's bar: at most 2 MB after the first thousand."""
    if kind == "file":
        ends = run_file(clip, 1000, 9000, 2)
    else:
        ends = run_stream(kind, *((1000, 9000, 2) if kind == "http" else (20, 180, 2)))
    print(kind, *ends, sep="\n")
