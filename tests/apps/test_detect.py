"""`visionkit detect` on everything a SOURCE can be."""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from visionkit.apps.sources import demo_picture

LOW = ("--confidence", "0.001")


@pytest.fixture
def pictures(shapes, tmp_path):
    """A folder of two good pictures and one damaged one."""
    folder = tmp_path / "in"
    folder.mkdir()
    good = sorted((shapes / "val" / "images").iterdir())[:2]
    shutil.copy(good[0], folder / "a.png")
    (folder / "b.jpg").write_bytes(b"no picture at all")
    shutil.copy(good[1], folder / "c.png")
    return folder


def state(folder: Path) -> dict[str, tuple[str, int]]:
    """Content and time of every file: inputs must not change."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(p): (hashlib.sha256(p.read_bytes()).hexdigest(), p.stat().st_mtime_ns) for p in files}


def test_json_is_one_object_a_picture(visionkit, weights, pictures):
    ran = visionkit("detect", pictures / "a.png", pictures / "c.png", "--weights", weights, "--json", *LOW)
    assert ran.code == 0
    one, two = (json.loads(line) for line in ran.out.splitlines())
    assert one["file"] == str(pictures / "a.png")
    assert two["file"] == str(pictures / "c.png")
    assert one["image_size"] == [64, 64]
    assert len(one["xyxy"]) > 0
    assert {len(one[key]) for key in ("xyxy", "confidence", "class_id", "name")} == {len(one["xyxy"])}
    assert set(one["name"]) <= {"disc", "square", "triangle"}
    boxes = np.array(one["xyxy"])
    assert boxes.shape[1] == 4
    assert boxes.min() >= 0
    assert boxes.max() <= 64
    assert one["confidence"] == sorted(one["confidence"], reverse=True)


def test_json_agrees_with_the_library(visionkit, weights, pictures):
    import visionkit as vk

    found = vk.load(weights, confidence=0.001)(pictures / "a.png")
    printed = json.loads(visionkit("detect", pictures / "a.png", "--weights", weights, "--json", *LOW).out)
    assert np.allclose(printed["xyxy"], found.xyxy, atol=0.006)
    assert printed["class_id"] == found.class_id.tolist()


def test_nothing_found_is_empty_lists(visionkit, weights, pictures):
    ran = visionkit("detect", pictures / "a.png", "--weights", weights, "--json", "--confidence", "1")
    assert ran.code == 0
    assert json.loads(ran.out)["xyxy"] == []
    assert "nothing found" in visionkit("detect", pictures / "a.png", "--weights", weights).out


@pytest.mark.parametrize("way", ["folder", "glob", "list", "names"])
def test_one_bad_picture_does_not_stop_the_others(visionkit, weights, pictures, tmp_path, way):
    listed = tmp_path / "list.txt"
    listed.write_text("".join(f"{path}\n" for path in sorted(pictures.iterdir())))
    names = sorted(pictures.iterdir())
    sources = {"folder": [pictures], "glob": [f"{pictures}/*"], "list": [listed], "names": names}[way]
    before = state(pictures)
    ran = visionkit("detect", *sources, "--weights", weights, "--json")
    assert ran.code == 3
    assert [Path(json.loads(line)["file"]).name for line in ran.out.splitlines()] == ["a.png", "c.png"]
    assert "b.jpg" in ran.err
    assert "2 of 3 sources done, 1 failed" in ran.err
    assert state(pictures) == before


def test_a_single_failure_keeps_its_own_code(visionkit, weights, pictures):
    assert visionkit("detect", pictures / "b.jpg", "--weights", weights).code == 3
    assert visionkit("detect", pictures / "none.jpg", "--weights", weights).code == 5
    assert visionkit("detect", f"{pictures}/*.bmp", "--weights", weights).code == 5
    (pictures / "empty").mkdir()
    assert visionkit("detect", pictures / "empty", "--weights", weights).code == 3
    assert visionkit("detect", pictures / "a.png", "--weights", pictures / "b.jpg").code == 4


def test_out_holds_pictures_and_json(visionkit, weights, pictures, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ran = visionkit("detect", pictures / "a.png", "--weights", weights, "--out", "made/here", *LOW)
    assert ran.code == 0
    folder = tmp_path / "made" / "here"
    assert ran.last == str(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["a-detected.jpg", "a-detected.json"]
    record = json.loads((folder / "a-detected.json").read_text())
    assert record["image_size"] == [64, 64]
    assert len(record["xyxy"]) > 0
    with Image.open(folder / "a-detected.jpg") as drawn, Image.open(pictures / "a.png") as source:
        assert drawn.size == source.size
        assert np.abs(np.asarray(drawn, int) - np.asarray(source, int)).max() > 60


def test_out_is_not_made_for_nothing(visionkit, weights, pictures, tmp_path):
    ran = visionkit("detect", pictures / "b.jpg", "--weights", weights, "--out", tmp_path / "out")
    assert ran.code == 3
    assert not (tmp_path / "out").exists()


def test_equal_names_are_numbered(visionkit, weights, pictures, tmp_path):
    shutil.copy(pictures / "a.png", pictures / "a.bmp")
    Image.open(pictures / "a.png").save(pictures / "a.bmp")
    sources = (pictures / "a.png", pictures / "a.bmp")
    assert visionkit("detect", *sources, "--weights", weights, "--out", tmp_path / "out").code == 0
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"a-detected.jpg", "a-detected-2.jpg"} <= names


def test_a_source_is_never_overwritten(visionkit, weights, pictures):
    Image.open(pictures / "a.png").save(pictures / "x-detected.jpg")
    shutil.copy(pictures / "a.png", pictures / "x.png")
    before = state(pictures)
    sources = (pictures / "x.png", pictures / "x-detected.jpg")
    ran = visionkit("detect", *sources, "--weights", weights, "--out", pictures)
    assert ran.code == 2
    assert "overwrite a source" in ran.err
    assert state(pictures) == before


def test_the_demonstration_needs_no_source(visionkit, weights):
    plain, named = (visionkit("detect", *flag, "--weights", weights, "--json") for flag in ([], ["--demo"]))
    assert plain.code == named.code == 0
    assert plain.out == named.out
    assert json.loads(plain.out)["file"] == str(demo_picture())
    assert json.loads(plain.out)["image_size"] == [600, 512]
    assert visionkit("detect", "x.jpg", "--demo", "--weights", weights).code == 2


def test_names_that_are_no_text_are_escaped(weights, pictures):
    """A file name of bytes that are not UTF-8 goes through as it is."""
    odd = pictures / "odd-\udcff.png"
    shutil.copy(pictures / "a.png", odd)
    (pictures / "b.jpg").unlink()
    command = [sys.executable, "-m", "visionkit.apps.cli", "detect", str(pictures), "--weights", str(weights)]
    flags = ("--json", "--out", str(pictures / "out"))
    done = subprocess.run([*command, *flags], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "odd-\\udcff.png" in done.stdout


@pytest.mark.parametrize(
    ("source", "code", "word"),
    [
        ("-1", 2, "0 or more"),
        ("4000", 6, "camera 4000 not found"),
        ("99999999999", 2, "0 or more"),
        ("ftp://host/clip.mp4", 2, "rtsp"),
        ("file:///etc/passwd", 2, "http"),
        ("concat:a.mp4|b.mp4", 5, "concat"),
        ("missing.mp4", 5, "missing.mp4"),
    ],
)
def test_what_must_never_reach_opencv(visionkit, weights, source, code, word):
    ran = visionkit("detect", source, "--weights", weights)
    assert ran.code == code
    assert word in ran.err


def test_a_camera_stands_alone(visionkit, weights, pictures):
    assert visionkit("detect", "0", pictures / "a.png", "--weights", weights).code == 2


def test_video_frames_are_written_and_counted(visionkit, weights, clip, tmp_path):
    ran = visionkit("detect", clip, "--weights", weights, "--out", tmp_path / "out", "--json", *LOW)
    assert ran.code == 0
    frames = [json.loads(line) for line in ran.out.splitlines()]
    assert [one["frame"] for one in frames] == list(range(6))
    folder = tmp_path / "out"
    assert (folder / "clip-detected.jsonl").read_text() == ran.out
    assert (folder / "clip-detected.mp4").stat().st_size > 1000
    assert ran.err.splitlines()[-1].endswith(f" {folder}")


def test_still_pictures_never_load_opencv(weights, pictures):
    code = (
        "import sys; from visionkit.apps.cli import main; "
        f"code = main(['detect', {str(pictures / 'a.png')!r}, '--weights', {str(weights)!r}]); "
        "sys.exit(code or 50 * ('cv2' in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).returncode == 0


@pytest.fixture
def clip(tmp_path):
    """A video of six frames."""
    from visionkit.io.writer import VideoWriter

    path = tmp_path / "clip.mp4"
    with VideoWriter(path, 10.0) as writer:
        for number in range(6):
            writer.write(np.full((64, 96, 3), 40 * number, np.uint8))
    return path
