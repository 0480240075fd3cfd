"""`visionkit track` and `pose --track`: numbers in every output, events, and where sequences begin."""

import csv
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from tests.apps.test_detect import state
from tests.apps.test_pose import networks  # noqa: F401  weights called many, whose network sees sticks
from tests.engine.sticks import paint, stick
from visionkit.apps import following, track
from visionkit.io.image import read_image
from visionkit.io.video import Video
from visionkit.io.writer import VideoWriter
from visionkit.vision.results import Detections

SIZE = (120, 160)


class Bright:
    """A detector of one bright rectangle on a dark ground; its confidence is its brightness."""

    info = SimpleNamespace(category_ids=(7,))

    def __init__(self, confidence):
        self.confidence = confidence

    def __call__(self, picture):
        size = picture.shape[:2]
        bright = picture.max(axis=2) > 40
        if not bright.any():
            return Detections.empty(size, ("thing",))
        y, x = (np.flatnonzero(bright.any(axis=axis)) for axis in (1, 0))
        box = [[x[0], y[0], x[-1] + 1, y[-1] + 1]]
        found = Detections(box, [picture[bright].mean() / 255], [0], ("thing",), size)
        return found.above(self.confidence)


@pytest.fixture(autouse=True)
def detector(monkeypatch):
    """The detector that `track` opens, with the confidence it is to have."""
    monkeypatch.setattr(track, "open_detector", lambda args: Bright(args.confidence))


def frame(left, top=40, brightness=235):
    """A picture with a rectangle of 24 x 32, or with nothing where `left` is None."""
    picture = np.zeros((*SIZE, 3), np.uint8)
    if left is not None:
        picture[top : top + 32, left : left + 24] = brightness
    return picture


def clip(path, frames, fps=10.0):
    with VideoWriter(path, fps) as writer:
        for one in frames:
            writer.write(one)
    return path


@pytest.fixture
def walk(tmp_path):
    """Twelve frames: 8 pixels to the right in each, gone in frames 5 and 6. Feet at x = 22 + 8 t, y = 72."""
    return clip(tmp_path / "walk.mp4", [frame(None if t in (5, 6) else 10 + 8 * t) for t in range(12)])


def rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_video_gives_a_video_json_and_tables(visionkit, walk, tmp_path):
    before = state(walk.parent)
    out = tmp_path / "out"
    area = ("--line", "door=60,120,60,0", "--zone", "20,60,120,60,120,119,20,119")
    ran = visionkit("track", walk, "--out", out, *area)
    assert ran.code == 0
    assert ran.last == str(out)
    names = sorted(path.name for path in out.iterdir())
    assert names == ["walk-events.csv", "walk-tracked.jsonl", "walk-tracked.mp4", "walk-tracks.csv"]

    lines = [json.loads(text) for text in (out / "walk-tracked.jsonl").read_text().splitlines()]
    assert [one["frame"] for one in lines] == list(range(12))
    assert [one["tracker_id"] for one in lines] == [[] if t in (5, 6) else [1] for t in range(12)]
    assert [one["time"] for one in lines] == [t / 10 for t in range(12)]
    assert lines[-1]["counts"]["door"] == {"in": 1, "out": 0}
    assert [one["counts"]["zone 1"]["inside"] for one in lines] == [1] * 5 + [0] * 2 + [1] * 5

    seen = rows(out / "walk-tracks.csv")
    assert [int(row["frame"]) for row in seen] == [0, 1, 2, 3, 4, 7, 8, 9, 10, 11]
    assert {row["tracker_id"] for row in seen} == {"1"}
    assert {row["name"] for row in seen} == {"thing"}
    assert float(seen[3]["x1"]) == pytest.approx(34, abs=2)
    assert seen[3]["time"] == "0.300"

    # past x = 60 between frames 4 and 7, where it is seen next; counted where it held for two sightings
    events = rows(out / "walk-events.csv")
    assert [(row["frame"], row["time"], row["tracker_id"], row["where"], row["what"]) for row in events] == [
        ("1", "0.100", "1", "zone 1", "enter"), ("8", "0.800", "1", "door", "in"),
    ]  # fmt: skip
    assert f"{walk} frame 8: 1 in door" in ran.out.splitlines()
    with Video(out / "walk-tracked.mp4") as video:
        frames = list(video)
    assert len(frames) == 12
    assert state(walk.parent) | before == state(walk.parent)  # what was there is as it was


def test_lines_zones_and_numbers_are_drawn(visionkit, walk, tmp_path):
    plain, drawn = tmp_path / "plain", tmp_path / "drawn"
    assert visionkit("track", walk, "--out", plain).code == 0
    assert visionkit("track", walk, "--out", drawn, "--line", "a=140,119,140,0", "--hold", "1").code == 0
    assert not (plain / "walk-events.csv").exists()
    with Video(plain / "walk-tracked.mp4") as one, Video(drawn / "walk-tracked.mp4") as two:
        first, other = (np.stack(list(video)).astype(int) for video in (one, two))
    where = np.abs(first - other).max(axis=(0, 3)) > 80
    assert where[10:60, 139:142].any(axis=1).all()  # the line
    assert not where[20:60, :100].any()
    assert (first[3, 40:72, 34:58].max(axis=2) > 150).any()


def test_json_is_alone_on_standard_output(visionkit, walk):
    ran = visionkit("track", walk, "--json", "--line", "60,120,60,0", "--hold", "1")
    assert ran.code == 0
    lines = [json.loads(text) for text in ran.out.splitlines()]
    assert len(lines) == 12
    events = [event for one in lines for event in one["events"]]
    assert events == [{"frame": 7, "time": 0.7, "tracker_id": 1, "where": "line 1", "what": "in"}]
    assert lines[7]["xyxy"][0] == pytest.approx([66, 40, 90, 72], abs=2)


def test_without_areas_there_are_no_events(visionkit, walk):
    one = json.loads(visionkit("track", walk, "--json").out.splitlines()[0])
    assert "events" not in one
    assert "counts" not in one
    assert one["tracker_id"] == [1]


def test_pictures_are_one_sequence_and_a_bad_one_is_a_skipped_frame(visionkit, tmp_path):
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for t in range(6):
        Image.fromarray(frame(10 + 9 * t)).save(folder / f"{t}.png")
    (folder / "3.png").write_bytes(b"no picture at all")
    ran = visionkit("track", folder, "--out", out, "--line", "52,120,52,0", "--hold", "1")
    assert ran.code == 3
    seen = rows(out / "pictures-tracks.csv")
    assert [(row["frame"], row["tracker_id"]) for row in seen] == [(str(t), "1") for t in (0, 1, 2, 4, 5)]
    assert [row["frame"] for row in rows(out / "pictures-events.csv")] == ["4"]
    assert json.loads((out / "4-tracked.json").read_text())["tracker_id"] == [1]
    assert read_image(out / "4-tracked.jpg").shape == (*SIZE, 3)


def test_every_video_begins_anew_and_so_do_pictures_after_it(visionkit, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("a", "b"):
        clip(folder / f"{name}.mp4", [frame(None), *[frame(20 + t) for t in range(4)]])
    for t in range(3):
        Image.fromarray(frame(20)).save(folder / f"c{t}.png")
    out = tmp_path / "out"
    ran = visionkit("track", folder, "--out", out, "--zone", "0,0,160,0,160,120,0,120", "--hold", "1")
    assert ran.code == 0
    for name in ("a", "b"):
        assert {row["tracker_id"] for row in rows(out / f"{name}-tracks.csv")} == {"1"}
        assert [row["what"] for row in rows(out / f"{name}-events.csv")] == ["enter"]
        last = json.loads((out / f"{name}-tracked.jsonl").read_text().splitlines()[-1])
        assert last["counts"]["zone 1"] == {"enter": 1, "leave": 0, "inside": 1}
    assert [row["tracker_id"] for row in rows(out / "pictures-tracks.csv")] == ["1"] * 3


def test_the_tracker_is_told_how_many_frames_passed(visionkit, tmp_path, monkeypatch):
    """Chosen frames of a video, and pictures of which one cannot be read."""
    passed = []

    class Told(following.Tracker):
        def update(self, found, frames=1):
            passed.append(frames)
            return super().update(found, frames)

    monkeypatch.setattr(following, "Tracker", Told)
    path = clip(tmp_path / "a.mp4", [frame(4 + 3 * t) for t in range(20)])
    ran = visionkit("track", path, "--json", "--frame-first", "3", "--frame-step", "5")
    assert [json.loads(text)["frame"] for text in ran.out.splitlines()] == [3, 8, 13, 18]
    assert passed == [1, 5, 5, 5]
    passed.clear()
    for t in range(5):
        Image.fromarray(frame(20)).save(tmp_path / f"{t}.png")
    (tmp_path / "2.png").write_bytes(b"no picture")
    visionkit("track", *(tmp_path / f"{t}.png" for t in range(5)), "--json")
    assert passed == [1, 1, 2, 1]


def test_unsure_ones_go_on_with_tracks(visionkit, tmp_path):
    """Bright for three frames, then a quarter as bright: less sure than 0.4, more than 0.1."""
    path = clip(tmp_path / "a.mp4", [frame(20 + 2 * t, brightness=235 if t < 3 else 65) for t in range(8)])

    def numbers(*flags):
        return [
            json.loads(t)["tracker_id"] for t in visionkit("track", path, "--json", *flags).out.splitlines()
        ]

    assert numbers() == [[1]] * 8
    assert numbers("--low", "0.35") == [[1]] * 3 + [[]] * 5
    assert numbers("--confidence", "0.95") == [[]] * 8
    assert numbers("--confidence", "0.05") == [[1]] * 8


def test_patience(visionkit, walk):
    """Gone for two frames."""
    for patience, last in ((2, 1), (1, 2)):
        ran = visionkit("track", walk, "--json", "--patience", patience)
        assert json.loads(ran.out.splitlines()[-1])["tracker_id"] == [last]


def test_the_anchor(visionkit, tmp_path):
    """The rectangle sinks 4 pixels a frame: its feet pass y = 90 long before its middle."""
    path = clip(tmp_path / "a.mp4", [frame(20, 30 + 4 * t) for t in range(12)])
    flags = ("--json", "--line", "0,90,160,90", "--hold", "1")
    frames = []
    for anchor in ((), ("--anchor", "feet"), ("--anchor", "centre")):
        lines = visionkit("track", path, *flags, *anchor).out.splitlines()
        frames.append([event["frame"] for text in lines for event in json.loads(text)["events"]])
    assert frames == [[7], [7], [11]]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--line", "1,2,3"), "of 2 points"),
        (("--line", "1,2,3,4,5,6"), "of 2 points"),
        (("--line", "a=1,2,3,x"), "not 'a=1,2,3,x'"),
        (("--line", "1,2,3,nan"), "of 2 points"),
        (("--zone", "1,2,3,4"), "of 3 or more points"),
        (("--zone", ""), "of 3 or more points"),
        (("--line", "5,5,5,5"), "line 1: a line needs two different ends"),
        (("--line", "a=0,0,9,9", "--zone", "a=0,0,9,9,9,0"), "different names"),
        (("--anchor", "head"), "feet"),
        (("--hold", "0"), "whole number 1"),
        (("--low", "2"), "0 to 1"),
    ],
)
def test_wrong_usage(visionkit, walk, flags, words):
    ran = visionkit("track", walk, *flags)
    assert ran.code == 2
    assert words in ran.err


def sticks(tmp_path):
    """A clip of two sticks that move towards each other, and past."""
    pictures = [
        paint((120, 160), [stick(10 + 6 * t, 30, 100), stick(70 - 6 * t, 90, 80)], 4) for t in range(6)
    ]
    return clip(tmp_path / "sticks.mp4", pictures)


def test_people_are_followed_by_their_points(visionkit, tmp_path):
    out, written = tmp_path / "out", tmp_path / "openpose"
    flags = ("--weights", "many", "--track", "--out", out, "--write-json", written)
    assert visionkit("pose", sticks(tmp_path), *flags, "--zone", "all=0,0,160,0,160,120,0,120").code == 0
    names = sorted(path.name for path in out.iterdir())
    assert names == ["sticks-events.csv", "sticks-pose.jsonl", "sticks-pose.mp4", "sticks-tracks.csv"]
    by_height = {}
    for path in sorted(written.iterdir()):
        for person in json.loads(path.read_text())["people"]:
            by_height.setdefault(person["pose_keypoints_2d"][1] > 60, set()).update(person["person_id"])
    assert sorted(map(sorted, by_height.values())) == [[1], [2]]
    assert len(list(written.iterdir())) == 6
    lines = [json.loads(text) for text in (out / "sticks-pose.jsonl").read_text().splitlines()]
    assert [sorted(one["tracker_id"]) for one in lines] == [[1, 2]] * 6
    seen = rows(out / "sticks-tracks.csv")
    assert {row["keypoint"] for row in seen} == {"nose", "neck", "mid_hip"}
    assert len(seen) == 6 * 2 * 3


@pytest.mark.parametrize(
    "flags", [("--line", "1,2,3,4"), ("--patience", "3"), ("--low", "0.2"), ("--hold", "1")]
)
def test_what_says_nothing_without_track(visionkit, tmp_path, flags):
    ran = visionkit("pose", tmp_path, "--weights", "many", *flags)
    assert ran.code == 2
    assert f"{flags[0]} goes with --track" in ran.err


@pytest.mark.slow
def test_one_number_for_everybody_who_walks_through_the_room(visionkit, real_data, tmp_path, monkeypatch):
    """Six people come to a table one after the other and leave to the right: six numbers, six crossings."""
    monkeypatch.undo()
    video = real_data / "photos" / "intel_sample_videos" / "one-by-one-person-detection.mp4"
    areas = ("--line", "door=560,0,560,432", "--zone", "table=330,250,500,250,500,431,330,431")
    assert visionkit("track", video, "--out", tmp_path / "out", *areas).code == 0
    folder: Path = tmp_path / "out"
    stays: dict[str, list[int]] = {}
    for row in rows(folder / "one-by-one-person-detection-tracks.csv"):
        stays.setdefault(row["tracker_id"], []).append(int(row["frame"]))
    assert list(stays) == ["1", "2", "3", "4", "5", "6"]
    for frames in stays.values():
        assert frames == list(range(frames[0], frames[-1] + 1))  # not lost once
    events = rows(folder / "one-by-one-person-detection-events.csv")
    what = [(row["tracker_id"], row["where"], row["what"]) for row in events]
    assert what == [
        (n, *one) for n in stays for one in (("table", "enter"), ("table", "leave"), ("door", "out"))
    ]
