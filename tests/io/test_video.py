"""Videos: what is read, what is refused, what is noticed; rows V01-V24 of the torture list."""

import socket
import threading
import time

import numpy as np
import pytest

from visionkit.errors import DataError, FileError, SourceLostError, UsageError
from visionkit.io.clip import video_container
from visionkit.io.opencv import cv2_remedy
from visionkit.io.video import Video, is_video
from visionkit.io.writer import VideoWriter


def frame(number: int) -> np.ndarray:
    """Red grows with the number, blue falls: channel order and frame order can both be seen."""
    return np.broadcast_to(np.array([20 * number, 0, 200 - 20 * number], np.uint8), (64, 96, 3)).copy()


@pytest.fixture
def clip(tmp_path):
    with VideoWriter(tmp_path / "clip.mp4", 12.5) as writer:
        for number in range(8):
            writer.write(frame(number))
    return tmp_path / "clip.mp4"


@pytest.fixture
def avi(tmp_path):
    """Motion JPEG, which can be cut anywhere."""
    import cv2

    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (96, 64))
    rng = np.random.default_rng(0)
    for _ in range(20):
        writer.write(rng.integers(0, 256, (64, 96, 3), np.uint8))
    writer.release()
    return path


def test_frames_come_back_in_order_and_in_rgb(clip):
    with Video(clip) as video:
        frames = list(video)
    assert video.frames == len(frames) == 8
    assert video.fps == 12.5
    for number, seen in enumerate(frames):
        assert seen.shape == (64, 96, 3)
        assert np.abs(seen.mean(axis=(0, 1)) - [20 * number, 0, 200 - 20 * number]).max() < 12


def test_odd_sides_lose_a_row_or_column(tmp_path):
    with VideoWriter(tmp_path / "odd.mp4", 10) as writer:
        writer.write(np.zeros((65, 97, 3), np.uint8))
    with Video(tmp_path / "odd.mp4") as video:
        assert next(iter(video)).shape == (64, 96, 3)


def test_no_stray_file_is_left(clip, tmp_path):
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]


def test_a_video_cut_short_is_noticed(avi):
    """V03: OpenCV reads what is there and says nothing."""
    whole = avi.read_bytes()
    avi.write_bytes(whole[: len(whole) // 2])
    with Video(avi) as video:
        with pytest.raises(DataError, match=r"ended after \d+ of 20 declared frames"):
            list(video)
        assert 0 < video.frames < 20


def test_a_whole_avi_is_read_to_its_end(avi):
    with Video(avi) as video:
        assert len(list(video)) == 20


def test_an_mp4_without_its_index_is_refused(clip):
    """V04."""
    whole = clip.read_bytes()
    clip.write_bytes(whole[: whole.index(b"moov") - 4])
    with pytest.raises(DataError, match="incomplete"):
        Video(clip)


@pytest.mark.parametrize(
    ("content", "error", "words"),
    [
        (None, FileError, "No such file"),
        (b"", DataError, "0 bytes"),
        (b"hello, I am text", DataError, "not a video"),
        (b"ffconcat version 1.0\nfile secret.mp4\n", DataError, "not a video"),
        (b"#EXTM3U\nfile:///etc/passwd\n", DataError, "not a video"),
    ],
)
def test_missing_empty_and_foreign_files(tmp_path, content, error, words):
    """V02, V24, V25."""
    path = tmp_path / "clip.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(error, match=words):
        Video(path)


@pytest.mark.parametrize("name", ["concat:a.mp4|b.mp4", "subfile,,start,0,end,9,,:a.mp4", "frames-%03d.jpg"])
def test_names_that_mean_other_files_are_only_names(tmp_path, name, monkeypatch):
    """V24."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "frames-001.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(FileError):
        Video(name)


def test_camera_numbers():
    """V11: a negative number would crash OpenCV."""
    for index in (-1, -2, 2**31):
        with pytest.raises(UsageError, match="0 or more"):
            Video(index)
    with pytest.raises(SourceLostError, match="camera 4001 not found"):
        Video(4001)


def test_a_silent_server_is_given_up():
    """V16: without a limit OpenCV waits for 30 seconds."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        held = []
        threading.Thread(target=lambda: held.append(server.accept()), daemon=True).start()
        begin = time.monotonic()
        with pytest.raises(SourceLostError) as caught:
            Video(f"http://user:secret@127.0.0.1:{server.getsockname()[1]}/live")
        assert time.monotonic() - begin < 15
        assert "secret" not in str(caught.value)
        for connection, _ in held:
            connection.close()


def test_a_changing_size_is_refused(tmp_path):
    with VideoWriter(tmp_path / "x.mp4", 10) as writer:
        writer.write(np.zeros((64, 64, 3), np.uint8))
        with pytest.raises(DataError, match="size changes"):
            writer.write(np.zeros((64, 32, 3), np.uint8))


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
