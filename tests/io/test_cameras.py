"""Cameras by number, file and name, in a made-up /sys and /dev; none is opened."""

import os
import time

import pytest

from visionkit.errors import SourceLostError, UsageError
from visionkit.io import cameras as module
from visionkit.io.cameras import Camera, camera_number, cameras, is_camera
from visionkit.io.video import Video


@pytest.fixture
def listed(tmp_path, monkeypatch):
    """Two cameras, the first with a second device for metadata, and a device without a name."""
    sys, dev = tmp_path / "sys", tmp_path / "dev"
    monkeypatch.setattr(module, "_LISTED", sys)
    monkeypatch.setattr(module, "_DEVICES", dev)
    monkeypatch.setattr(module.sys, "platform", "linux")
    dev.mkdir()
    for number, index, name in ((0, 0, "HD Cam"), (1, 1, "HD Cam"), (2, 0, "Grabber: 7"), (10, 0, None)):
        folder = sys / f"video{number}"
        folder.mkdir(parents=True)
        (folder / "index").write_text(f"{index}\n")
        if name:
            (folder / "name").write_text(f"{name}\n")
        (dev / f"video{number}").touch()
    return dev


def test_the_list(listed):
    assert cameras() == [
        Camera(0, "HD Cam", listed / "video0"),
        Camera(2, "Grabber: 7", listed / "video2"),
        Camera(10, "", listed / "video10"),
    ]


def test_no_list_is_no_camera(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_LISTED", tmp_path / "none")
    assert cameras() == []
    assert not is_camera("")


def test_what_means_a_camera(listed):
    meant = ("0", "17", "-1", "/dev/video2", "/dev/v4l/by-id/usb-x", "HD Cam", "Grabber: 7")
    assert all(map(is_camera, meant))
    assert not any(map(is_camera, ("", "a.jpg", "0x", "video2", "/dev/sda", "1.5", "hd", "./0")))


@pytest.mark.parametrize(
    ("source", "number"),
    [("2", 2), ("1", 1), ("010", 10), ("Grabber: 7", 2), ("HD Cam", 0), ("/dev/video2", 2)],
)
def test_numbers(listed, source, number):
    assert camera_number(source) == number


def test_links_to_devices(listed, tmp_path):
    (tmp_path / "by-id").symlink_to("/dev/video2")
    assert camera_number(str(tmp_path / "by-id")) == 2


@pytest.mark.parametrize("source", ["99", "/dev/video99", "/dev/v4l/by-id/usb-none", "2147483647"])
def test_one_that_is_missing_is_told_with_those_that_are_there(listed, source):
    """Torture V11."""
    with pytest.raises(SourceLostError) as caught:
        camera_number(source)
    assert str(caught.value) == f"camera {source} not found; found: 0 (HD Cam), 2 (Grabber: 7), 10 ()"
    assert caught.value.exit_code == 6


@pytest.mark.parametrize("source", ["-1", "-2", "2147483648", "9" * 400])
def test_numbers_that_would_crash_opencv_never_reach_it(source):
    """Torture V11."""
    with pytest.raises(UsageError, match="0 or more"):
        camera_number(source)
    with pytest.raises(UsageError, match="0 or more"):
        Video(source)


def test_no_permission_is_told(listed, monkeypatch):
    """Torture V13."""
    monkeypatch.setattr(os, "access", lambda path, mode: path != listed / "video2")
    with pytest.raises(SourceLostError, match=r"camera 2 .*permission denied\. .*group \(video\)"):
        camera_number("2")
    assert camera_number("0") == 0


def test_a_missing_camera_is_quick_and_quiet(capfd):
    begin = time.monotonic()
    with pytest.raises(SourceLostError, match=r"^camera 4001 not found; found: "):
        Video(4001)
    assert time.monotonic() - begin < 2
    assert capfd.readouterr() == ("", "")


def test_a_device_that_gives_nothing_is_told(listed):
    """A plain file, which is what this /dev holds, and a real number that OpenCV cannot open."""
    (listed / "video4001").touch()
    with pytest.raises(SourceLostError, match=r"^camera 4001: it cannot be opened\. .*"):
        Video(4001)
