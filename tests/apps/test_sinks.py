"""Where results go: files that stay or are replaced, tables, COCO's lists, and signals in the middle."""

import csv
import errno
import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from tests.apps.test_detect import clip, pictures, state  # noqa: F401  fixtures
from tests.apps.test_pose import networks  # noqa: F401  weights called many, whose network sees sticks
from tests.engine.sticks import paint, stick
from visionkit.apps import loop
from visionkit.errors import FileError
from visionkit.io import encoders, writer
from visionkit.io.video import Video
from visionkit.io.writer import VideoWriter

LOW = ("--confidence", "0.001")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_what_a_former_run_wrote_stays(visionkit, weights, pictures, clip, tmp_path):  # noqa: F811
    """V23: for pictures and videos alike."""
    command = ("detect", pictures / "a.png", clip, "--weights", weights, "--out", tmp_path / "out", *LOW)
    assert visionkit(*command).err == ""
    first = state(tmp_path / "out")
    again = visionkit(*command)
    assert again.code == 0
    assert again.err.count("exists and stays") == 1
    new = ["a-detected-2.jpg", "a-detected-2.json", "clip-detected-2.jsonl", "clip-detected-2.mp4"]
    assert names(tmp_path / "out") == sorted(new + [name.replace("-2", "") for name in new])
    assert {path: was for path, was in state(tmp_path / "out").items() if path in first} == first
    assert visionkit(*command).code == 0
    assert "clip-detected-3.mp4" in names(tmp_path / "out")


def test_overwrite_replaces(visionkit, weights, pictures, clip, tmp_path):  # noqa: F811
    command = ("detect", pictures / "a.png", clip, "--weights", weights, "--out", tmp_path / "out", *LOW)
    assert visionkit(*command).code == 0
    files = names(tmp_path / "out")
    for path in (tmp_path / "out").iterdir():
        path.write_text("old")
    assert visionkit(*command, "--overwrite").code == 0
    assert names(tmp_path / "out") == files
    assert not [path for path in (tmp_path / "out").iterdir() if path.read_bytes() == b"old"]


def test_one_file_of_a_pair_is_enough_to_make_room(visionkit, weights, pictures, tmp_path):  # noqa: F811
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a-detected.json").write_text("mine")
    assert visionkit("detect", pictures / "a.png", "--weights", weights, "--out", tmp_path / "out").code == 0
    assert names(tmp_path / "out") == ["a-detected-2.jpg", "a-detected-2.json", "a-detected.json"]
    assert (tmp_path / "out/a-detected.json").read_text() == "mine"


def test_openpose_files_stay_too(visionkit, tmp_path):
    Image.fromarray(paint((120, 160), [stick(20, 30, 120)], 4)).save(tmp_path / "a.png")
    command = ("pose", tmp_path / "a.png", "--weights", "many", "--write-json", tmp_path / "out")
    for _ in range(2):
        assert visionkit(*command).code == 0
    assert names(tmp_path / "out") == ["a-2_keypoints.json", "a_keypoints.json"]


@pytest.mark.parametrize("flag", ["--csv", "--coco"])
def test_single_files_are_not_replaced_unasked(visionkit, weights, pictures, tmp_path, flag):  # noqa: F811
    target = tmp_path / "results"
    target.write_text("mine")
    command = ("detect", pictures / "a.png", "--weights", weights, flag, target)
    ran = visionkit(*command)
    assert ran.code == 2
    assert "--overwrite" in ran.err
    assert target.read_text() == "mine"
    assert visionkit(*command, "--overwrite").code == 0
    assert target.read_text() != "mine"
    ran = visionkit("detect", target, "--weights", weights, flag, target, "--overwrite")
    assert ran.code == 2
    assert "overwrite a source" in ran.err


def test_a_table_of_all_sources(visionkit, weights, pictures, clip, tmp_path):  # noqa: F811
    ran = visionkit(
        "detect", pictures / "a.png", clip, "--weights", weights, "--json", "--csv", tmp_path / "x.csv", *LOW
    )
    assert ran.code == 0
    assert ran.err.splitlines()[-1].endswith(str(tmp_path / "x.csv"))
    expected = [
        (one["file"], str(one.get("frame", "")), name, [*box, sure])
        for one in map(json.loads, ran.out.splitlines())
        for box, sure, name in zip(one["xyxy"], one["confidence"], one["name"], strict=True)
    ]
    found = rows(tmp_path / "x.csv")
    assert len(expected) > 7
    assert [(row["file"], row["frame"], row["name"]) for row in found] == [one[:3] for one in expected]
    numbers = [[float(row[key]) for key in ("x1", "y1", "x2", "y2", "confidence")] for row in found]
    assert np.allclose(numbers, [one[3] for one in expected], atol=0.011)
    assert {row["file"] for row in found} == {str(pictures / "a.png"), str(clip)}


def test_a_table_without_finds_has_a_header(visionkit, weights, pictures, tmp_path):  # noqa: F811
    command = ("detect", pictures / "a.png", "--weights", weights, "--csv", tmp_path / "x.csv")
    assert visionkit(*command, "--confidence", "1").code == 0
    header = "file,frame,x1,y1,x2,y2,confidence,class_id,name,tracker_id\n"
    assert (tmp_path / "x.csv").read_text() == header


def test_a_table_of_poses(visionkit, tmp_path):
    Image.fromarray(paint((120, 160), [stick(20, 30, 120)], 4)).save(tmp_path / "a.png")
    command = ("pose", tmp_path / "a.png", "--weights", "many", "--csv", tmp_path / "x.csv", "--json")
    printed = json.loads(visionkit(*command).out)
    found = rows(tmp_path / "x.csv")
    assert [row["keypoint"] for row in found] == printed["keypoints"]
    assert [[float(row["x"]), float(row["y"])] for row in found] == printed["xy"][0]


def test_coco_results_can_be_evaluated(visionkit, weights, shapes, tmp_path):
    """As the evaluation itself finds the pictures: by their numbers."""
    annotations = json.loads((shapes / "val" / "val.json").read_text())
    folder = tmp_path / "in"
    folder.mkdir()
    for image in annotations["images"]:
        picture = Image.open(shapes / "val" / "images" / image["file_name"])
        picture.save(folder / f"{image['id']:012d}.png")
    command = ("detect", folder, "--weights", weights, "--coco", tmp_path / "x.json", *LOW)
    assert visionkit(*command).code == 0
    found = json.loads((tmp_path / "x.json").read_text())
    assert {one["image_id"] for one in found} <= {image["id"] for image in annotations["images"]}
    assert {one["category_id"] for one in found} <= {1, 2, 3}
    scored = visionkit(
        "eval",
        "--detections",
        tmp_path / "x.json",
        "--json-annotations",
        shapes / "val" / "val.json",
        "--json",
    )
    assert scored.code == 0, scored.err


def test_coco_results_of_frames_count_from_1(visionkit, weights, clip, tmp_path):  # noqa: F811
    ran = visionkit("detect", clip, "--weights", weights, "--json", "--coco", tmp_path / "x.json", *LOW)
    printed = [json.loads(line) for line in ran.out.splitlines()]
    found = json.loads((tmp_path / "x.json").read_text())
    assert [one["image_id"] for one in found] == [n for n, p in enumerate(printed, 1) for _ in p["xyxy"]]
    first, (x1, y1, x2, y2) = found[0], printed[0]["xyxy"][0]
    assert np.allclose(first["bbox"], [x1, y1, x2 - x1, y2 - y1], atol=0.02)
    assert set(first) == {"image_id", "category_id", "bbox", "score"}


@pytest.mark.parametrize("confidence", ["0.001", "1"])
def test_coco_results_are_whole_after_every_picture(visionkit, weights, pictures, tmp_path, confidence):  # noqa: F811
    """Nothing found, and a source that fails, are lists too."""
    target = tmp_path / "x.json"
    ran = visionkit("detect", pictures, "--weights", weights, "--coco", target, "--confidence", confidence)
    assert ran.code == 3
    found = json.loads(target.read_text())
    assert (found == []) == (confidence == "1")


def test_coco_results_of_poses(visionkit, tmp_path):
    Image.fromarray(paint((120, 160), [stick(20, 30, 120)], 4)).save(tmp_path / "42.png")
    command = ("pose", tmp_path / "42.png", "--weights", "many", "--coco", tmp_path / "x.json", "--json")
    printed = json.loads(visionkit(*command).out)
    (one,) = json.loads((tmp_path / "x.json").read_text())
    assert one["image_id"] == 42
    assert np.allclose(np.reshape(one["keypoints"], (-1, 3))[:, :2], printed["xy"][0], atol=0.01)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_files_that_play(weights, tmp_path, number):
    """V26: the video is closed and counted, tables and lists are whole."""
    long = tmp_path / "long.mp4"
    with VideoWriter(long, 25) as writer:
        for _ in range(20_000):
            writer.write(np.zeros((16, 16, 3), np.uint8))
    command = [sys.executable, "-m", "visionkit.apps.cli", "detect", str(long), "--weights", str(weights)]
    files = [
        "--out",
        str(tmp_path / "out"),
        "--coco",
        str(tmp_path / "x.json"),
        "--csv",
        str(tmp_path / "x.csv"),
    ]
    with subprocess.Popen([*command, *files], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        time.sleep(0.5)
        process.send_signal(number)
        process.communicate(timeout=60)
    assert process.returncode == 130
    assert names(tmp_path / "out") == ["long-detected.jsonl", "long-detected.mp4"]
    lines = (tmp_path / "out" / "long-detected.jsonl").read_text().splitlines()
    with Video(tmp_path / "out" / "long-detected.mp4") as video:
        assert sum(1 for _ in video) == len(lines) > 0
    assert isinstance(json.loads((tmp_path / "x.json").read_text()), list)
    assert (tmp_path / "x.csv").read_text().startswith("file,frame,")


def test_a_screen_that_does_not_answer_means_lines(visionkit, weights, clip, monkeypatch):  # noqa: F811
    """V26: Qt would end the process with a core dump."""
    monkeypatch.setenv("DISPLAY", ":4711")
    ran = visionkit("detect", clip, "--weights", weights)
    assert (ran.code, ran.err) == (0, "")
    assert "frame 0" in ran.out


def test_an_opencv_without_windows_is_told_of_once(visionkit, weights, clip, monkeypatch):  # noqa: F811
    """V26: the headless wheel on a machine with a screen."""

    def no_window(*args):
        raise FileError("this OpenCV cannot open windows")

    monkeypatch.setattr(loop, "has_display", lambda: True)
    monkeypatch.setattr(loop, "Window", no_window)
    ran = visionkit("detect", clip, "--weights", weights)
    assert (ran.code, ran.err) == (0, "visionkit: this OpenCV cannot open windows\n")
    assert "frame 0" in ran.out


def test_a_disk_that_is_full_ends_it_with_5(visionkit, weights, clip, tmp_path, monkeypatch):  # noqa: F811
    """V22: on the thread that writes, and the file has the frames before."""
    real, given = encoders.open_encoder, []

    def opened(path, fps, size):
        encoder = real(path, fps, size)
        write = encoder.write

        def full(frame):
            given.append(frame)
            if len(given) == 4:
                raise OSError(errno.ENOSPC, "No space left on device")
            write(frame)

        encoder.write = full
        return encoder

    monkeypatch.setattr(writer, "open_encoder", opened)
    ran = visionkit("detect", clip, "--weights", weights, "--out", tmp_path / "out")
    assert ran.code == 5
    assert "beyond 3 frames: No space left on device" in ran.err
    assert "clip-detected.mp4 holds the first 3 frames" in ran.err
    with Video(tmp_path / "out" / "clip-detected.mp4") as video:
        assert sum(1 for _ in video) == 3
