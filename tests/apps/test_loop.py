"""The loop over frames: its threads must not show, whatever goes wrong, and a camera gets none."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from argparse import Namespace

import numpy as np
import pytest

from visionkit.apps import loop
from visionkit.apps.results import Look
from visionkit.errors import FileError, SourceLostError
from visionkit.io.video import Video
from visionkit.io.window import Threshold
from visionkit.io.writer import VideoWriter
from visionkit.vision.results import Detections

FRAMES = 30
ARGS = Namespace(
    json=True, no_window=True, frame_first=0, frame_last=None, frame_step=1,
    reconnect=0.0, stale=0.0, tolerant=False,
)  # fmt: skip


@pytest.fixture
def clip(tmp_path):
    """Frames that get brighter."""
    with VideoWriter(tmp_path / "clip.mp4", 10.0) as writer:
        for number in range(FRAMES):
            writer.write(np.full((64, 96, 3), 8 * number, np.uint8))
    return tmp_path / "clip.mp4"


class Taking:
    """A sink that notes what it takes, on which thread, and what it was told of the end."""

    def __init__(self, path, stop_at=None):
        self.path, self.written, self.stop_at = path, path, stop_at
        self.taken, self.threads, self.closed_with = [], set(), []

    def moving(self, video, step):
        return self

    def __enter__(self):
        return self.take

    def __exit__(self, kind, error, trace):
        self.closed_with.append((kind, len(self.taken)))

    def take(self, number, seen):
        self.threads.add(threading.current_thread())
        time.sleep(0.002)  # slower than the rest
        if number == self.stop_at:
            raise FileError("only 0 of 1 frames could be written", file=self.path, remedy="is the disk full?")
        self.taken.append((number, seen.facts["mean"]))


def look(shot):
    found = Detections.empty(shot.picture.shape[:2])
    return Look(found, {}, {"mean": float(shot.picture.mean())})


def test_sinks_get_every_frame_in_order_on_one_thread_behind(clip, tmp_path, capsys):
    with Video(clip) as video:
        expected = [(number, float(frame.mean())) for number, frame in enumerate(video)]
    sinks = [Taking(tmp_path), Taking(tmp_path)]
    before = threading.active_count()
    assert loop.over([str(clip)], look, sinks, ARGS, Threshold(0.4)) == 0
    for sink in sinks:
        assert sink.taken == expected
        assert sink.closed_with == [(None, FRAMES)]
    assert sinks[0].threads == sinks[1].threads != {threading.current_thread()}
    assert len(sinks[0].threads) == 1
    assert threading.active_count() == before
    printed = [json.loads(text) for text in capsys.readouterr().out.splitlines()]
    assert [(one["frame"], one["mean"]) for one in printed] == expected


@pytest.mark.parametrize("stop_at", [0, 7, FRAMES - 1])
def test_an_error_of_a_sink_reaches_the_user_and_ends_the_video(clip, tmp_path, stop_at):
    first, failing = Taking(tmp_path), Taking(tmp_path, stop_at)
    before = threading.active_count()
    with pytest.raises(FileError, match="only 0 of 1 frames"):
        loop.over([str(clip)], look, [first, failing], ARGS, Threshold(0.4))
    assert [number for number, _ in failing.taken] == list(range(stop_at))
    assert [number for number, _ in first.taken] == list(range(stop_at + 1))
    assert failing.closed_with == [(FileError, stop_at)]
    assert threading.active_count() == before


def test_one_failing_video_of_several_does_not_stop_the_others(clip, tmp_path, capsys):
    other = tmp_path / "other.mp4"
    other.write_bytes(clip.read_bytes())
    sink = Taking(tmp_path, stop_at=3)
    moving = sink.moving

    def healed(video, step):
        if video.name == str(other):
            sink.stop_at = None
        return moving(video, step)

    sink.moving = healed
    assert loop.over([str(clip), str(other)], look, [sink], ARGS, Threshold(0.4)) == 3
    assert [number for number, _ in sink.taken] == [*range(3), *range(FRAMES)]
    assert "1 of 2 sources done, 1 failed" in capsys.readouterr().err
    assert len(sink.threads) == 1


def test_an_error_of_the_network_closes_the_files_with_all_frames_before_it(clip, tmp_path):
    sink = Taking(tmp_path)

    def failing(shot):
        if shot.frame == 9:
            raise KeyboardInterrupt
        return look(shot)

    with pytest.raises(KeyboardInterrupt):
        loop.over([str(clip)], failing, [sink], ARGS, Threshold(0.4))
    assert [number for number, _ in sink.taken] == list(range(9))
    assert sink.closed_with == [(KeyboardInterrupt, 9)]


def test_a_video_cut_short_is_written_as_far_as_it_goes(visionkit, weights, tmp_path):
    """V03."""
    import cv2

    path = tmp_path / "cut.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (96, 64))
    rng = np.random.default_rng(0)
    for _ in range(20):
        writer.write(rng.integers(0, 256, (64, 96, 3), np.uint8))
    writer.release()
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    ran = visionkit("detect", path, "--weights", weights, "--out", tmp_path / "out", "--json")
    assert ran.code == 3
    assert "of 20 declared frames" in ran.err
    count = len(ran.out.splitlines())
    assert 0 < count < 20
    assert len((tmp_path / "out" / "cut-detected.jsonl").read_text().splitlines()) == count
    with Video(tmp_path / "out" / "cut-detected.mp4") as video:
        assert len(list(video)) == count


def test_ctrl_c_leaves_what_was_written_whole(weights, tmp_path):
    """V26."""
    clip, out = tmp_path / "long.mp4", tmp_path / "out"
    with VideoWriter(clip, 10.0) as writer:
        for number in range(3000):
            writer.write(np.full((64, 96, 3), number % 250, np.uint8))
    command = [sys.executable, "-m", "visionkit.apps.cli", "detect", str(clip), "--weights", str(weights)]
    flags = ["--json", "--out", str(out)]
    with subprocess.Popen(
        [*command, *flags], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:  # fmt: skip
        for _ in range(20):
            assert process.stdout.readline()
        os.kill(process.pid, signal.SIGINT)
        printed = 20 + len(process.stdout.read().splitlines())
        assert process.wait() == 130
        assert "interrupted" in process.stderr.read()
    assert printed < 3000
    assert sorted(path.name for path in out.iterdir()) == ["long-detected.jsonl", "long-detected.mp4"]
    lines = [json.loads(line) for line in (out / "long-detected.jsonl").read_text().splitlines()]
    assert [one["frame"] for one in lines] == list(range(len(lines)))
    assert printed - 1 <= len(lines) <= printed
    with Video(out / "long-detected.mp4") as video:
        assert len(list(video)) == len(lines)


class Camera(Video):
    """A live source: sixty frames, as bright as their numbers; before every third, two were dropped."""

    name, live, fps, single = "camera 0", True, 30.0, False
    time = arrived = 0.0
    dropped = 0

    def __init__(self):
        self.asked, self.closed = [], False

    def __iter__(self):
        for number in range(60):
            self.asked.append(number)
            self.dropped += 2 * (number % 3 == 2)
            self.arrived, self.time = time.monotonic() - 0.25, number / 10
            yield np.full((64, 96, 3), 4 * number, np.uint8)
        raise SourceLostError("gone for good", file=self.name)

    def while_waiting(self, call):
        pass

    def close(self):
        self.closed = True


@pytest.fixture
def camera(monkeypatch):
    camera = Camera()
    monkeypatch.setattr(loop, "open_source", lambda source, args: camera)
    return camera


def test_of_a_camera_nothing_is_read_ahead_and_nothing_waits(camera, tmp_path):
    sink = Taking(tmp_path)

    def looking(shot):
        at = len(camera.asked) - 1
        assert shot.picture[0, 0, 0] == 4 * at  # the newest that was asked for
        assert [number for number, _ in sink.taken] == numbers[:at]  # all before it are out
        assert (shot.frame, shot.time) == (numbers[at], at / 10)
        return look(shot)

    numbers = [at + 2 * ((at + 1) // 3) for at in range(60)]  # those dropped count
    with pytest.raises(SourceLostError, match="gone for good"):
        loop.over(["0"], looking, [sink], ARGS, Threshold(0.4))
    assert [number for number, _ in sink.taken] == numbers
    assert sink.threads == {threading.current_thread()}
    assert sink.closed_with == [(SourceLostError, 60)]
    assert camera.closed


def test_once_a_second_the_line_of_a_camera_says_how_fast_how_late_how_many_dropped(camera, capsys):
    def looking(shot):
        time.sleep(0.05)
        return look(shot)

    args = Namespace(**vars(ARGS) | {"json": False})
    begun = time.monotonic()
    with pytest.raises(SourceLostError):
        loop.over(["0"], looking, [], args, Threshold(0.4))
    taken = time.monotonic() - begun
    first, *lines = capsys.readouterr().out.splitlines()
    assert first == "camera 0 frame 0: nothing found"
    assert 2 <= len(lines) <= taken
    for text in lines:
        told = re.fullmatch(
            r"camera 0 frame (\d+) \((\d+\.\d) frames/s, (\d+) ms, (\d+) dropped\): nothing found", text
        )
        assert told, text
        frame, dropped = int(told[1]), int(told[4])
        at = frame - dropped
        assert dropped == 2 * ((at + 1) // 3)
        assert 60 / taken / 10 < float(told[2]) <= 20
        assert 250 + 50 <= int(told[3]) < 250 + 1000 * taken


class Screen:
    """A window that notes what it shows, and is quit at the `last` frame."""

    def __init__(self, shown, last):
        self.shown, self.last = shown, last

    def __enter__(self):
        return self

    def __exit__(self, *reason):
        self.shown.append("closed")

    def show(self, frame, status):
        self.shown.append((int(frame[0, 0, 0]), status))
        return len(self.shown) < self.last


def bare(shot):
    """A look that finds nothing and leaves the picture as it is."""
    return Look(Detections.empty(shot.picture.shape[:2]), {"": lambda: shot.picture})


def test_who_quits_a_window_sees_no_other_video(clip, tmp_path, monkeypatch, capsys):
    """What failed before is still told, and counted among what was opened."""
    sources = [str(tmp_path / "missing.mp4"), str(clip), str(tmp_path / "never.mp4")]
    opened, shown = [], []
    open_source = loop.open_source

    def opening(source, args):
        opened.append(source)
        return open_source(source, args)

    monkeypatch.setattr(loop, "open_source", opening)
    monkeypatch.setattr(loop, "_window", lambda name, threshold: Screen(shown, 4))
    args = Namespace(**vars(ARGS) | {"json": False, "no_window": False})
    assert loop.over(sources, bare, [], args, Threshold(0.4)) == 3
    assert opened == sources[:2]
    assert shown[-1] == "closed"
    assert len(shown) == 5
    assert "1 of 3 sources done, 1 failed" in capsys.readouterr().err


def test_a_window_is_told_how_fast_how_late_how_many_dropped(camera, clip, monkeypatch):
    shown = []

    def looking(shot):
        time.sleep(0.05)
        return bare(shot)

    monkeypatch.setattr(loop, "_window", lambda name, threshold: Screen(shown, 40))
    args = Namespace(**vars(ARGS) | {"json": False, "no_window": False})
    assert loop.over(["0"], looking, [], args, Threshold(0.4)) == 0
    assert shown.pop() == "closed"
    assert [brightness for brightness, _ in shown] == [4 * number for number in range(40)]
    assert shown[0][1] is None
    for number, (_, status) in enumerate(shown[25:], 25):
        assert status.dropped == 2 * ((number + 1) // 3)
        assert 0 < status.rate <= 20
        assert 250 + 50 <= status.latency < 60_000
