"""Cameras, streams, pipes and damaged files on the command line: what is printed, and how it ends."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import AbstractContextManager

import numpy as np
import pytest
from PIL import Image

from tests.io.streams import Server, answers, jpeg, part, picture, sends, then_silent
from visionkit.apps import loop
from visionkit.apps.sources import expand
from visionkit.errors import UsageError
from visionkit.io import cameras
from visionkit.io.image import write_image
from visionkit.io.video import Video

LOW = ("--confidence", "0.001")


@pytest.fixture
def piped(monkeypatch, tmp_path):
    """Put bytes on standard input."""

    def put(content):
        path = tmp_path / "stdin"
        path.write_bytes(content)
        monkeypatch.setattr(sys, "stdin", path.open())

    yield put
    sys.stdin.close()


@pytest.fixture
def avi(tmp_path, rng):
    """Motion JPEG of ten frames of noise, which can be cut anywhere."""
    import cv2

    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 64))
    for _ in range(10):
        writer.write(rng.integers(0, 256, (64, 64, 3), np.uint8))
    writer.release()
    return path


def test_a_stream_ends_with_code_6_and_a_reason(visionkit, weights, tmp_path):
    """What came before the end is in the files."""
    acts = [sends(*map(part, map(jpeg, range(5))), pause=0.2), answers("404 Not Found")]
    with Server(*acts) as server:
        address = server.address.replace("//", "//admin:s3cret@")
        flags = ("--weights", weights, "--reconnect", "0.5", "--out", tmp_path / "out", "--json", *LOW)
        ran = visionkit("detect", address, *flags)
    assert ran.code == 6
    frames = [json.loads(text) for text in ran.out.splitlines()]
    assert 1 <= len(frames) <= 5
    shown = f"http://***@127.0.0.1:{server.port}/live"
    assert {frame["file"] for frame in frames} == {shown}
    assert "the server ended the stream; trying again in 0.5 s" in ran.err
    assert "lost for good: no picture in 0.5 seconds; the last reason: HTTP 404" in ran.err
    assert "s3cret" not in ran.out + ran.err
    (log,) = (tmp_path / "out").glob("*.jsonl")
    assert len(log.read_text().splitlines()) == len(frames)
    assert "s3cret" not in log.read_text() + log.name


def test_a_stream_comes_back(visionkit, weights):
    """Frames from both connections; the last one is enough."""
    acts = [sends(part(jpeg(1)), pause=0.3), then_silent(part(jpeg(2, (96, 128))))]
    with Server(*acts) as server:
        flags = ("--weights", weights, "--json", "--frame-last", "1")
        ran = visionkit("detect", server.address, *flags)
    assert ran.code == 0
    assert [json.loads(text)["image_size"] for text in ran.out.splitlines()] == [[48, 64], [96, 128]]
    assert "back after 1 seconds" in ran.err


def test_another_size_begins_other_files(visionkit, weights, tmp_path):
    """Torture V09: each video has frames of one size, and a line for each."""
    acts = [sends(part(jpeg(1)), pause=0.5), sends(*[part(jpeg(n, (96, 128))) for n in (2, 3)], pause=0.5)]
    with Server(*acts, answers("503 Busy")) as server:
        flags = ("--weights", weights, "--out", tmp_path / "out", "--reconnect", "3")
        assert visionkit("detect", server.address, *flags).code == 6
    for name, size in (("live-detected", (48, 64, 3)), ("live-detected-2", (96, 128, 3))):
        lines = (tmp_path / "out" / f"{name}.jsonl").read_text().splitlines()
        assert {tuple(json.loads(text)["image_size"]) for text in lines} == {size[:2]}
        with Video(tmp_path / "out" / f"{name}.mp4") as video:
            assert [frame.shape for frame in video] == [size] * len(lines)


def test_a_stale_stream_is_lost(visionkit, weights):
    same = [part(jpeg(1))] * 60
    with Server(sends(*same, pause=0.05)) as server:
        flags = ("--weights", weights, "--stale", "0.5", "--reconnect", "0")
        ran = visionkit("detect", server.address, *flags)
    assert ran.code == 6
    assert "the same picture for 0.5 seconds" in ran.err


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("state", ["stalled", "down"])
def test_ctrl_c_works_while_a_stream_is_away(weights, state):
    """Torture V17."""
    later = then_silent(part(jpeg(1))) if state == "stalled" else answers("503 Busy")
    with Server(sends(part(jpeg(1)), pause=0.1), later) as server:
        command = [sys.executable, "-m", "visionkit.apps.cli", "detect", server.address]
        flags = ["--weights", str(weights), "--json", "--no-window"]
        running = subprocess.Popen([*command, *flags], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        running.stdout.readline()
        time.sleep(1.5)
        begin = time.monotonic()
        running.send_signal(signal.SIGINT)
        running.communicate(timeout=30)
    assert running.returncode == 130
    assert time.monotonic() - begin < 5


@pytest.mark.parametrize("state", ["stalled", "down"])
def test_a_window_lives_while_a_stream_is_away(visionkit, weights, monkeypatch, state):
    """Torture V17: the last picture is shown again and again, and q ends it."""
    shown = []

    class Window(AbstractContextManager):
        def show(self, frame, *_):
            shown.append(frame.copy())
            return len(shown) < 6

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(loop, "_window", lambda *_: Window())
    later = then_silent(part(jpeg(1))) if state == "stalled" else answers("503 Busy")
    begin = time.monotonic()
    with Server(sends(part(jpeg(1)), pause=0.1), later) as server:
        ran = visionkit("detect", server.address, "--weights", weights)
    assert ran.code == 0
    assert time.monotonic() - begin < 20
    assert len(shown) == 6
    assert np.array_equal(shown[-1], shown[-2])


def test_one_picture_on_standard_input(visionkit, weights, piped, tmp_path):
    write_image(tmp_path / "a.png", picture(3))
    piped((tmp_path / "a.png").read_bytes())
    ran = visionkit("detect", "-", "--weights", weights, "--json", "--out", tmp_path / "out", *LOW)
    assert ran.code == 0
    named = json.loads(ran.out)
    assert named["file"] == "stdin"
    assert "frame" not in named
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "stdin-detected.jpg",
        "stdin-detected.json",
    ]
    direct = json.loads(visionkit("detect", tmp_path / "a.png", "--weights", weights, "--json", *LOW).out)
    assert named["xyxy"] == direct["xyxy"]


def test_a_stream_on_standard_input(visionkit, weights, piped, tmp_path):
    piped(b"".join(jpeg(number, (64, 64)) for number in range(5)))
    ran = visionkit("detect", "-", "--weights", weights, "--json", "--out", tmp_path / "out")
    assert ran.code == 0
    assert [json.loads(text)["frame"] for text in ran.out.splitlines()] == list(range(5))
    assert (tmp_path / "out" / "stdin-detected.mp4").is_file()


def test_nothing_on_standard_input(visionkit, weights, piped):
    piped(b"")
    ran = visionkit("detect", "-", "--weights", weights)
    assert ran.code == 3
    assert "stdin: no whole picture" in ran.err


@pytest.mark.filterwarnings("default")
def test_a_damaged_video_and_what_tolerant_makes_of_it(visionkit, weights, avi, tmp_path):
    """Torture V03."""
    avi.write_bytes(avi.read_bytes()[: avi.stat().st_size * 6 // 10])
    for flags, code in (((), 3), (("--tolerant",), 0)):
        out = tmp_path / f"out{code}"
        ran = visionkit("detect", avi, "--weights", weights, "--json", "--out", out, *flags)
        assert ran.code == code
        count = len(ran.out.splitlines())
        assert 3 <= count <= 7
        assert f"ended after {count} of 10 declared frames" in ran.err
        assert ("warning: " in ran.err) == (code == 0)
        assert (out / "clip-detected.mp4").stat().st_size > 0


@pytest.mark.filterwarnings("default")
def test_a_picture_cut_short_and_what_tolerant_makes_of_it(visionkit, weights, tmp_path):
    whole = jpeg(1, (200, 200))
    (tmp_path / "a.jpg").write_bytes(whole[: len(whole) // 2])
    assert visionkit("detect", tmp_path / "a.jpg", "--weights", weights).code == 3
    ran = visionkit("detect", tmp_path / "a.jpg", "--weights", weights, "--tolerant")
    assert ran.code == 0
    assert "warning: " in ran.err


@pytest.mark.parametrize(
    ("source", "code", "words"),
    [
        ("99", 6, "camera 99 not found; found: "),
        ("/dev/video4001", 6, "camera /dev/video4001 not found"),
        ("screen:0,0", 2, "screen:X,Y,WxH"),
        ("http://127.0.0.1:1/", 6, "refused"),
        ("rtsp://u:s3cret@127.0.0.1:1/", 6, "rtsp://***@127.0.0.1:1/: it cannot be opened"),
        ("ftp://u:s3cret@host/x", 2, "ftp://***@host/x"),
    ],
)
def test_what_is_not_there(visionkit, weights, source, code, words):
    begin = time.monotonic()
    ran = visionkit("detect", source, "--weights", weights)
    assert ran.code == code
    assert words in ran.err
    assert "s3cret" not in ran.err
    assert time.monotonic() - begin < 10


def test_live_sources_stand_alone(tmp_path):
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "a.png")
    for source in ("0", "/dev/video0", "screen", "http://host/", "rtsp://host/", "-"):
        assert expand([source, source]) == [source]
    with pytest.raises(UsageError, match="only http"):
        expand(["file:///etc/passwd"])


def test_doctor_lists_cameras_and_opens_none(visionkit, tmp_path, monkeypatch):
    monkeypatch.setattr(cameras, "_LISTED", tmp_path)
    monkeypatch.setattr(cameras, "_DEVICES", tmp_path)
    assert visionkit("doctor", "--cameras").out.startswith(("no cameras", "names are known"))
    (tmp_path / "video3").mkdir()
    (tmp_path / "video3" / "name").write_text("HD Cam\n")
    (tmp_path / "video3" / "index").write_text("0\n")
    ran = visionkit("doctor", "--cameras")
    assert ran.code == 0
    assert ran.out == f"3    HD Cam, {tmp_path}/video3\n"
    listed = json.loads(visionkit("doctor", "--cameras", "--json").out)
    assert listed == [{"number": 3, "name": "HD Cam", "path": f"{tmp_path}/video3"}]
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert "you may not use it" in visionkit("doctor", "--cameras").out


def test_times_of_a_variable_rate_are_those_of_the_file(visionkit, weights, tmp_path):
    """Torture V08: ten frames at 30 a second, then every seventh; `track` goes by these times."""
    if not shutil.which("ffmpeg"):
        pytest.skip("no ffmpeg to make such a file with")
    path = tmp_path / "vfr.mp4"
    kept = "select=not(mod(n\\,7))+lt(n\\,10)"
    flags = f"-v error -f lavfi -i testsrc=s=64x64:r=30:d=1 -vf {kept} -vsync vfr -pix_fmt yuv420p"
    subprocess.run(["ffmpeg", *flags.split(), str(path)], check=True)
    ran = visionkit("track", path, "--weights", weights, "--json")
    assert ran.code == 0
    expected = [round(n / 30, 3) for n in range(30) if n < 10 or n % 7 == 0]
    assert [json.loads(text)["time"] for text in ran.out.splitlines()] == pytest.approx(expected, abs=0.0015)
