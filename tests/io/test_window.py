"""The window: real keys of xdotool on a screen of Xvfb, and what happens where there is no screen."""

import ctypes
import os
import queue
import select
import shutil
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageGrab

from visionkit.errors import FileError
from visionkit.io import window as windows
from visionkit.io.window import KEYS, Status, Threshold, Window, has_display, overlay

# Each frame is a shade of red that says its number; every step prints number and threshold. Keys are told
# when they have been heard: of several that come while nobody listens, OpenCV keeps the last.
SHOW = """
    import logging, sys, time
    import numpy as np
    from visionkit.io.window import Status, Threshold, Window

    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    hear = Window._press

    def tell(self, key, frame):
        hear(self, key, frame)
        print("heard", key, flush=True)

    Window._press = tell
    threshold, STATUS = Threshold(0.4), Status(29.9, 31.2, 7)
    with Window("a window under test", threshold, sys.argv[1]) as window:
        number = 0
        while window.show(np.full((240, 320, 3), (number * 8 % 256, 0, 200), np.uint8), STATUS):
            number += 1
            print("frame", number, threshold.value, flush=True)
            time.sleep(0.02)
    print("closed", flush=True)
"""


class Message(ctypes.Structure):
    """XClientMessageEvent of Xlib, in the room of an XEvent."""

    _fields_ = (
        ("type", ctypes.c_int), ("serial", ctypes.c_ulong), ("send_event", ctypes.c_int),
        ("display", ctypes.c_void_p), ("window", ctypes.c_ulong), ("message_type", ctypes.c_ulong),
        ("format", ctypes.c_int), ("data", ctypes.c_long * 5), ("rest", ctypes.c_long * 24),
    )  # fmt: skip


def press_the_cross(screen, window):
    """Ask a window to close, as window managers do when its cross is pressed (ICCCM 4.2.8.1)."""
    try:
        x11 = ctypes.CDLL("libX11.so.6")
    except OSError:
        pytest.skip("libX11 is not installed")
    x11.XOpenDisplay.restype, x11.XInternAtom.restype = ctypes.c_void_p, ctypes.c_ulong
    display = ctypes.c_void_p(x11.XOpenDisplay(screen.encode()))

    def atom(name):
        return x11.XInternAtom(display, name, 0)

    words = (ctypes.c_long * 5)(atom(b"WM_DELETE_WINDOW"))
    message = Message(33, 0, 1, display, window, atom(b"WM_PROTOCOLS"), 32, words)
    assert x11.XSendEvent(display, ctypes.c_ulong(window), 0, ctypes.c_long(0), ctypes.byref(message))
    x11.XCloseDisplay(display)


@pytest.fixture(scope="module")
def screen():
    """The name of a screen that nobody sees."""
    if sys.platform != "linux" or not all(map(shutil.which, ("Xvfb", "xdotool"))):
        pytest.skip("Xvfb and xdotool are not installed")
    read, write = os.pipe()
    command = ["Xvfb", "-displayfd", str(write), "-screen", "0", "800x600x24", "-nolisten", "tcp"]
    with subprocess.Popen(command, pass_fds=[write], stderr=subprocess.DEVNULL) as server:
        os.close(write)
        assert select.select([read], [], [], 30)[0]
        yield ":" + os.read(read, 16).decode().strip()
        os.close(read)
        server.terminate()


class Shown:
    """A process with a window, on a screen."""

    def __init__(self, screen, folder):
        self.screen = screen
        self.env = {**os.environ, "DISPLAY": screen}
        command = [sys.executable, "-c", textwrap.dedent(SHOW), str(folder)]
        self.process = subprocess.Popen(command, env=self.env, stdout=subprocess.PIPE, text=True)
        self.lines, self.frames = queue.Queue(), []
        threading.Thread(target=self._read, daemon=True).start()
        self.wait_for("frame 3")
        self.window = self.tool("search", "--name", "a window under test").split()[-1]
        self.tool("windowfocus", "--sync", self.window)

    def _read(self):
        for line in self.process.stdout:
            self.lines.put(line)

    def tool(self, *words):
        done = subprocess.run(["xdotool", *words], env=self.env, check=True, capture_output=True, text=True)
        return done.stdout

    def send(self, key):
        self.tool("key", "--window", self.window, key)

    def press(self, key):
        self.send(key)
        self.wait_for("heard")

    def wait_for(self, beginning):
        """The words of the next line that begins so."""
        while not (line := self.lines.get(timeout=60)).startswith(beginning):
            if line.startswith("frame"):
                self.frames.append(int(line.split()[1]))
        return line.split()

    def write(self):
        """Have a picture written: where it is. All frames before are in `frames` by then."""
        self.frames = []
        self.send("w")
        path = Path(self.wait_for("wrote")[1])
        self.wait_for("heard")
        return path

    def pause(self):
        """The number of the frame that is shown now."""
        self.press("space")
        self.write()
        return self.number()

    def number(self):
        """That of the frame in a picture written now."""
        red = np.asarray(Image.open(self.write())).astype(int)[..., 0]
        return round(red.mean() / 8)

    def threshold_becomes(self, value):
        return any(self.wait_for("frame")[2] == value for _ in range(200))

    def end(self, key):
        self.send(key)
        self.wait_for("closed")
        return self.process.wait(20)

    def picture(self):
        return np.asarray(ImageGrab.grab(xdisplay=self.screen).convert("RGB")).astype(int)


@pytest.fixture
def shown(screen, tmp_path):
    one = Shown(screen, tmp_path)
    yield one
    one.process.kill()
    one.process.wait()
    one.process.stdout.close()


@pytest.mark.parametrize("key", ["q", "Escape"])
def test_quit(shown, key):
    assert shown.end(key) == 0


@pytest.mark.parametrize("paused", [False, True])
def test_the_cross_closes(shown, paused):
    """Qt forgets all windows with the last one, and asking for it would be an error."""
    if paused:
        shown.pause()
    press_the_cross(shown.screen, int(shown.window))
    shown.wait_for("closed")
    assert shown.process.wait(20) == 0


def test_pause_one_step_and_on(shown):
    number = shown.pause()
    for step in (1, 2):
        shown.press("s")
        assert shown.number() == (number + step) % 32
        assert len(shown.frames) == 1
        shown.write()
        assert shown.frames == []
    shown.press("space")
    for _ in range(5):
        shown.wait_for("frame")
    assert shown.end("q") == 0


def test_a_step_out_of_the_run_pauses(shown):
    shown.press("s")
    shown.write()
    for _ in range(5):
        shown.write()
        assert shown.frames == []
    assert shown.end("q") == 0  # keys are heard in a pause


def test_the_threshold_goes_up_and_down(shown):
    shown.press("plus")
    assert shown.threshold_becomes("0.45")
    shown.press("equal")
    assert shown.threshold_becomes("0.5")
    shown.press("minus")
    assert shown.threshold_becomes("0.45")
    assert shown.end("q") == 0


def test_pictures_are_written_without_the_overlay(shown, tmp_path):
    (tmp_path / "visionkit-2.jpg").write_bytes(b"another's")
    assert [shown.write().name for _ in range(2)] == ["visionkit-1.jpg", "visionkit-3.jpg"]
    assert (tmp_path / "visionkit-2.jpg").read_bytes() == b"another's"
    pixels = np.asarray(Image.open(tmp_path / "visionkit-3.jpg")).astype(int)
    assert pixels.shape == (240, 320, 3)
    assert np.ptp(pixels, axis=(0, 1)).max() < 4
    assert np.abs(pixels[..., 1:] - [0, 200]).max() < 4
    assert shown.end("q") == 0


def test_a_folder_that_cannot_be_written_stops_nothing(shown, tmp_path):
    tmp_path.rename(tmp_path.with_name("elsewhere"))
    shown.send("w")
    assert "No such file" in " ".join(shown.wait_for(str(tmp_path)))
    assert shown.end("q") == 0


def test_the_screen_shows_frame_status_and_keys(shown):
    shown.pause()
    plain = shown.picture()
    assert np.abs(plain[200:220, 100:300, 1:] - [0, 200]).max() <= 2  # red is eight times the number
    assert (plain[:20, :100].max(axis=2) < 20).mean() > 0.5  # the ground of the letters
    assert (plain[:20, :200].min(axis=2) > 200).sum() > 50  # the letters
    shown.press("h")
    shown.write()
    longer = shown.picture()
    dark = [(one[:160, :60].max(axis=2) < 20).sum() for one in (plain, longer)]
    assert dark[1] > 3 * dark[0]
    assert shown.end("q") == 0


def test_overlay_leaves_the_frame_alone():
    frame = np.full((240, 320, 3), 90, np.uint8)
    drawn = overlay(frame, ["29.9 frames/s", *KEYS])
    assert (frame == 90).all()
    assert (drawn[200:] == 90).all()
    assert (drawn[:60, :40] != 90).any()


def test_a_status_in_words():
    assert str(Status(29.97, 31.4, 2)) == "30.0 frames/s, 31 ms, 2 dropped"


def test_a_threshold_stays_between_0_and_1():
    threshold = Threshold(0.9)
    for expected in (0.95, 1.0, 1.0):
        threshold.change(1)
        assert threshold.value == expected
    threshold.change(-30)
    assert threshold.value == 0


def test_a_screen_that_does_not_answer_is_none(monkeypatch):
    """V26: Qt would end the whole process."""
    if sys.platform != "linux":
        pytest.skip("only on Linux a screen may be missing")
    for name in (":4711", "nonsense", ""):
        monkeypatch.setenv("DISPLAY", name)
        assert not has_display()


def test_a_screen_that_answers(screen, monkeypatch):
    monkeypatch.setenv("DISPLAY", screen)
    assert has_display()


def test_opencv_without_windows(monkeypatch):
    """V26: the headless wheel."""

    class Headless:
        WINDOW_NORMAL = WINDOW_KEEPRATIO = WINDOW_GUI_NORMAL = 0
        error = RuntimeError

        def namedWindow(self, *args):
            raise self.error("The function is not implemented")

    monkeypatch.setattr(windows, "import_cv2", Headless)
    with pytest.raises(FileError, match="cannot open windows"):
        Window("x", Threshold(0.4))
