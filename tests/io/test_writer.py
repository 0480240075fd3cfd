"""Written videos: both encoders, sizes and rates, full disks, interruptions, and what others make of it."""

import json
import shutil
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from tests.browser import seek
from visionkit.errors import DataError, FileError
from visionkit.io import encoders
from visionkit.io.video import Video
from visionkit.io.writer import VideoWriter

RED, GREEN = (200, 40, 90), (30, 180, 60)


@pytest.fixture(params=["h264", "vp9"])
def encoder(request, monkeypatch):
    """Each encoder in turn."""
    if request.param == "h264" and encoders.import_av() is None:
        pytest.skip("PyAV is not installed")
    if request.param == "vp9":
        monkeypatch.setattr(encoders, "import_av", lambda: None)
    return request.param


def plain(colour, size=(120, 160)):
    return np.broadcast_to(np.array(colour, np.uint8), (*size, 3)).copy()


def write(path, frames, fps=25):
    with VideoWriter(path, fps) as writer:
        for frame in frames:
            writer.write(frame)


def probe(path):
    """What ffprobe says of the one stream, frames counted by decoding them."""
    if not shutil.which("ffprobe"):
        pytest.skip("ffprobe is not installed")
    command = ["ffprobe", "-v", "error", "-count_frames", "-show_streams", "-of", "json", str(path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stderr == ""
    (stream,) = json.loads(done.stdout)["streams"]
    return stream


@pytest.mark.parametrize(
    ("fps", "rate"), [(12.5, "25/2"), (25, "25/1"), (30, "30/1"), (1000, "1000/1"), (0.1, "1/10")]
)
def test_count_codec_and_rate(tmp_path, encoder, fps, rate):
    write(tmp_path / "x.mp4", (plain((30 * n, 0, 0)) for n in range(7)), fps)
    found = probe(tmp_path / "x.mp4")
    assert found["codec_name"] == encoder
    assert found["pix_fmt"] == "yuv420p"
    assert found["nb_frames"] == found["nb_read_frames"] == "7"
    assert found["r_frame_rate"] == found["avg_frame_rate"] == rate


def test_a_rate_of_ntsc_stays_exact(tmp_path):
    if encoders.import_av() is None:
        pytest.skip("PyAV is not installed")
    write(tmp_path / "x.mp4", [plain(RED)], 30000 / 1001)
    assert probe(tmp_path / "x.mp4")["r_frame_rate"] == "30000/1001"


@pytest.mark.parametrize(
    ("size", "kept"), [((1, 1), (2, 2)), ((1, 40), (2, 40)), ((3, 5), (2, 4)), ((121, 161), (120, 160))]
)
def test_odd_and_tiny_sizes(tmp_path, encoder, size, kept):
    """V10."""
    write(tmp_path / "x.mp4", [plain(RED, size)] * 3)
    with Video(tmp_path / "x.mp4") as video:
        frames = list(video)
    assert [frame.shape for frame in frames] == [(*kept, 3)] * 3
    assert np.abs(frames[0].mean(axis=(0, 1)) - RED).max() < 12


def test_the_last_frame_is_there_and_is_the_last(tmp_path, encoder):
    """Encoders look ahead: what they still hold belongs into the file."""
    write(tmp_path / "x.mp4", [plain(RED)] * 89 + [plain(GREEN)])
    with Video(tmp_path / "x.mp4") as video:
        *others, last = video
    assert len(others) == 89
    assert np.abs(last.mean(axis=(0, 1)) - GREEN).max() < 12
    assert np.abs(others[-1].mean(axis=(0, 1)) - RED).max() < 12


def test_nothing_written_leaves_nothing(tmp_path, encoder):
    write(tmp_path / "x.mp4", [])
    assert list(tmp_path.iterdir()) == []


def test_another_size_is_refused(tmp_path, encoder):
    with pytest.raises(DataError, match="size changes within the video"):
        write(tmp_path / "x.mp4", [plain(RED), plain(RED, (60, 80))])


def test_a_folder_that_is_not_there(tmp_path, encoder):
    with pytest.raises(FileError, match=r"gone/x\.mp4: cannot write the video beyond 0 frames"):
        write(tmp_path / "gone" / "x.mp4", [plain(RED)])


@pytest.mark.parametrize("error", [KeyboardInterrupt(), DataError("the source broke off")])
def test_what_was_finished_is_kept(tmp_path, encoder, error):
    """V26: whatever stops the writing."""

    def frames():
        yield from [plain(RED)] * 42
        raise error

    with pytest.raises(type(error)) as caught:
        write(tmp_path / "x.mp4", frames())
    assert [path.name for path in tmp_path.iterdir()] == ["x.mp4"]
    assert probe(tmp_path / "x.mp4")["nb_read_frames"] == "42"
    assert f"{tmp_path / 'x.mp4'} holds the first 42 frames" in caught.value.__notes__


def test_frames_that_got_lost_are_an_error(tmp_path, encoder):
    """OpenCV's writer says nothing of frames it drops; the count does."""
    writer = VideoWriter(tmp_path / "x.mp4", 25)
    for _ in range(6):
        writer.write(plain(RED))
    writer.frames += 1
    with pytest.raises(FileError, match="only 6 of 7 frames could be written"):
        writer.__exit__(None, None, None)


NOISE = """
    import resource, sys
    import numpy as np
    from visionkit.errors import FileError
    from visionkit.io.writer import VideoWriter

    resource.setrlimit(resource.RLIMIT_FSIZE, (1_500_000, 1_500_000))
    noise = np.random.default_rng(0).integers(0, 256, (600, 800, 3), np.uint8)
    try:
        with VideoWriter(sys.argv[1], 25) as writer:
            for n in range(400):
                writer.write(np.roll(noise, 7 * n, 1)[:240, :320])
    except FileError as error:
        print(error, *getattr(error, "__notes__", []))
        sys.exit(error.exit_code)
"""


def test_a_file_that_cannot_grow_plays_to_its_last_fragment(tmp_path):
    """V22, with the limit on a file's size in place of a full disk."""
    if encoders.import_av() is None:
        pytest.skip("PyAV is not installed")
    if sys.platform != "linux":
        pytest.skip("limits on the size of files are Linux's here")
    command = [sys.executable, "-c", textwrap.dedent(NOISE), str(tmp_path / "x.mp4")]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 5, done.stderr
    found = probe(tmp_path / "x.mp4")
    kept = int(found["nb_read_frames"])
    assert kept % 50 == 0  # fragments of two seconds
    assert 50 <= kept < 400
    assert f"holds the first {kept} frames" in done.stdout or f"only {kept} of 400" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["x.mp4"]
    assert seek(tmp_path / "x.mp4", kept / 25 - 0.1).duration == pytest.approx(kept / 25, abs=0.05)


def test_opencv_stops_while_there_is_room_for_the_index(tmp_path, monkeypatch):
    """V22: with a full disk it would go on and leave a file that nobody can open."""
    monkeypatch.setattr(encoders, "import_av", lambda: None)
    free = iter(range(4_000_010, 0, -1))
    usage = type("Usage", (), {"free": property(lambda self: next(free))})
    monkeypatch.setattr(encoders.shutil, "disk_usage", lambda path: usage())
    with pytest.raises(FileError, match="beyond 11 frames: No space left on device") as caught:
        write(tmp_path / "x.mp4", [plain(RED)] * 50)
    assert "holds the first 11 frames" in caught.value.__notes__[0]
    assert probe(tmp_path / "x.mp4")["nb_read_frames"] == "11"


def test_a_browser_plays_it_in_the_right_colours(tmp_path, encoder):
    write(tmp_path / "x.mp4", [plain(RED)] * 25 + [plain(GREEN)] * 25, 12.5)
    for time, colour in ((0.5, RED), (3.5, GREEN)):
        shown = seek(tmp_path / "x.mp4", time)
        assert shown.duration == pytest.approx(4.0, abs=0.02)
        assert shown.size == (160, 120)
        assert np.abs(np.subtract(shown.colour, colour)).max() < 8
