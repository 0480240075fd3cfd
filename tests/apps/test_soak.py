"""A hundred thousand frames: memory, descriptors and threads stay where they were (torture V21).

VISIONKIT_SOAK_FRAMES sets another number of frames.
"""

import os
import subprocess
import sys
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import pytest

from visionkit.io.video import Video
from visionkit.io.writer import VideoWriter
from visionkit.vision.letterbox import resize_bilinear

pytestmark = pytest.mark.slow

CLIP, EVERY = 200, 1000  # frames of each video, and from one look to the next
FRAMES = int(os.environ.get("VISIONKIT_SOAK_FRAMES", "100000"))
MEGABYTES = 2.0


class State(NamedTuple):
    """What a process has, between two frames."""

    megabytes: float
    descriptors: int
    threads: int

    @classmethod
    def of(cls, pid: int) -> "State":
        proc = Path("/proc", str(pid))
        lines = (proc / "status").read_text().splitlines()
        kilobytes = next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))
        return cls(kilobytes / 1024, len(list((proc / "fd").iterdir())), len(list((proc / "task").iterdir())))


@pytest.fixture(scope="module")
def videos(real_data, tmp_path_factory):
    """A folder of many names of one video of 90 x 160, in which people come and sit down."""
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("no /proc to look into")
    folder = tmp_path_factory.mktemp("videos")
    source = real_data / "photos" / "intel_sample_videos" / "one-by-one-person-detection.mp4"
    first = folder / "0000.mp4"
    with Video(source) as video, VideoWriter(first, video.fps) as writer:
        for frame in islice(video, 0, 4 * CLIP, 4):
            writer.write(resize_bilinear(frame, (90, 160)))
    for number in range(1, FRAMES // CLIP):
        os.link(first, folder / f"{number:04d}.mp4")
    return folder


@pytest.mark.parametrize(
    ("verb", "out", "frames"),
    [
        ("detect", False, FRAMES),
        ("pose", False, FRAMES),
        ("detect", True, FRAMES // 10),
        ("pose", True, FRAMES // 10),
    ],
)
def test_nothing_grows(videos, tmp_path, verb, out, frames):
    """Decoded, looked at and printed; the last two are drawn and written, too."""
    for surplus in sorted(videos.iterdir())[frames // CLIP :]:
        surplus.unlink()
    command = [sys.executable, "-m", "visionkit.apps.cli", verb, str(videos)]
    size = "--net-resolution" if verb == "pose" else "--size"
    flags = [size, "160x160", "--json", *(["--out", str(tmp_path / "out")] if out else [])]
    states, found = [], 0
    with subprocess.Popen([*command, *flags], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        for count, line in enumerate(process.stdout):
            found += '"confidence": []' not in line
            if count % EVERY == CLIP // 2:  # in the middle of a video, where all threads are at work
                states.append(State.of(process.pid))
                print(f"{verb} {count:6d} ({found} with something): {states[-1]}", flush=True)
    assert process.returncode == 0
    assert count + 1 == frames
    assert found > frames / 10
    before, *later = states[1:]  # after the first 1000 frames
    assert max(state.megabytes for state in later) <= before.megabytes + MEGABYTES
    assert {state.descriptors for state in later} == {before.descriptors}
    assert {state.threads for state in later} == {before.threads}
