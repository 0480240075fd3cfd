"""`visionkit pose`: skeletons in pictures and videos, OpenPose's files and flags, and what goes wrong."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.apps.test_detect import state
from tests.engine.sticks import STICK, Boxes, Seeing, info, paint, stick
from tests.models import openpose_net
from visionkit.apps import pose as verb
from visionkit.io.image import read_image
from visionkit.models import zoo
from visionkit.vision.skeletons import BODY_25

STICKS = {"a": [stick(20, 30, 120), stick(40, 90, 100)], "c": [stick(15, 100, 60)]}
SIZES = {"a": (120, 160), "c": (200, 90)}


@pytest.fixture(autouse=True)
def networks(monkeypatch):
    """Weights called many and one, whose networks see sticks; all others are opened as ever."""
    known = {"many": (Seeing(), info()), "one": (Seeing(False), info("one"))}
    real, real_task = zoo.open_weights, zoo.task
    monkeypatch.setattr(zoo, "open_weights", lambda weights: known.get(str(weights)) or real(weights))
    monkeypatch.setattr(
        zoo,
        "find",
        lambda weights, find=zoo.find: Path("made-up.safetensors") if weights in known else find(weights),
    )
    monkeypatch.setattr(
        zoo, "task", lambda model, weights: "pose" if weights in known else real_task(model, weights)
    )


@pytest.fixture
def pictures(tmp_path):
    """A folder of two pictures with sticks and one damaged one."""
    folder = tmp_path / "in"
    folder.mkdir()
    for name, sticks in STICKS.items():
        Image.fromarray(paint(SIZES[name], sticks, 4)).save(folder / f"{name}.png")
    (folder / "b.jpg").write_bytes(b"no picture at all")
    return folder


@pytest.fixture
def clip(tmp_path):
    """A video of five frames, in which a stick moves to the right and is gone at last."""
    from visionkit.io.writer import VideoWriter

    path = tmp_path / "clip.mp4"
    with VideoWriter(path, 10.0) as writer:
        for number in range(5):
            writer.write(paint((120, 160), [stick(20 + 10 * number, 40, 80)] if number < 4 else [], 4))
    return path


def near(xy, sticks, within=1.0):
    """Whether poses are sticks, in any order."""
    gaps = np.abs(np.asarray(xy)[:, None] - np.asarray(sticks)[None]).max(axis=(2, 3))
    return gaps.shape[0] == gaps.shape[1] and gaps.min(axis=0).max() < within


def test_json_is_one_object_a_picture(visionkit, pictures):
    ran = visionkit("pose", pictures / "a.png", pictures / "c.png", "--weights", "many", "--json")
    assert ran.code == 0
    for name, text in zip("ac", ran.out.splitlines(), strict=True):
        one = json.loads(text)
        assert one["file"] == str(pictures / f"{name}.png")
        assert one["image_size"] == list(SIZES[name])
        assert one["skeleton"] == "stick"
        assert one["keypoints"] == list(STICK.keypoints)
        assert near(one["xy"], STICKS[name])
        assert len(one["confidence"]) == len(one["keypoint_confidence"]) == len(STICKS[name])


def test_a_line_a_picture(visionkit, pictures):
    ran = visionkit("pose", pictures / "a.png", "--weights", "many")
    assert re.fullmatch(r".*a\.png: 2 poses \(3 points 0\.\d\d, 3 points 0\.\d\d\)\n", ran.out)
    assert (
        "nothing found" in visionkit("pose", pictures / "a.png", "--weights", "many", "--confidence", "1").out
    )


def test_pictures_json_and_openpose_files(visionkit, pictures, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (pictures / "b.jpg").unlink()
    before = state(pictures)
    ran = visionkit("pose", pictures, "--weights", "many", "--out", "drawn", "--write-json", "written/here")
    assert ran.code == 0
    assert ran.out.splitlines()[-2:] == [str(tmp_path / "drawn"), str(tmp_path / "written/here")]
    names = sorted(path.name for path in (tmp_path / "drawn").iterdir())
    assert names == ["a-pose.jpg", "a-pose.json", "c-pose.jpg", "c-pose.json"]
    assert near(json.loads((tmp_path / "drawn/a-pose.json").read_text())["xy"], STICKS["a"])
    files = sorted((tmp_path / "written/here").iterdir())
    assert [path.name for path in files] == ["a_keypoints.json", "c_keypoints.json"]
    frame = json.loads(files[0].read_text())
    assert frame["version"] == 1.3
    assert [person["person_id"] for person in frame["people"]] == [[-1], [-1]]
    points = np.array([person["pose_keypoints_2d"] for person in frame["people"]]).reshape(2, 3, 3)
    assert near(points[..., :2], STICKS["a"])
    assert frame["people"][0]["face_keypoints_2d"] == []
    assert state(pictures) == before


def test_what_is_drawn_lies_on_the_sticks(visionkit, pictures, tmp_path):
    ran = visionkit("pose", pictures / "c.png", "--weights", "many", "--out", tmp_path / "out", "--show-maps")
    assert ran.code == 0
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["c-pose-fields.jpg", "c-pose-heat.jpg", "c-pose.jpg", "c-pose.json"]
    given = read_image(pictures / "c.png").astype(int)
    drawn = read_image(tmp_path / "out/c-pose.jpg").astype(int)
    assert drawn.shape == given.shape
    changed = np.argwhere(np.abs(drawn - given).max(axis=2) > 60)
    assert len(changed) > 60
    assert (changed.min(axis=0) > [90, 5]).all()
    assert (changed.max(axis=0) < [110, 85]).all()
    heat = read_image(tmp_path / "out/c-pose-heat.jpg").astype(int)
    fields = read_image(tmp_path / "out/c-pose-fields.jpg").astype(int)
    for k, (x, y) in enumerate(STICKS["c"][0].round().astype(int)):
        assert np.abs(heat[y, x] - STICK.colours[k]).max() < 60  # the point's own colour
    assert np.abs(heat[20, 45] - 57).max() < 5  # elsewhere the picture, dimmed
    assert fields[100, 45, 0] > 200  # to the right is red
    assert np.abs(fields[20, 45] - 57).max() < 5


@pytest.mark.parametrize("way", ["folder", "glob", "list", "names"])
def test_one_bad_picture_does_not_stop_the_others(visionkit, pictures, tmp_path, way):
    listed = tmp_path / "list.txt"
    listed.write_text("".join(f"{path}\n" for path in sorted(pictures.iterdir())))
    names = sorted(pictures.iterdir())
    sources = {"folder": [pictures], "glob": [f"{pictures}/*"], "list": [listed], "names": names}[way]
    before = state(pictures)
    ran = visionkit("pose", *sources, "--weights", "many", "--json", "--write-json", tmp_path / "out")
    assert ran.code == 3
    assert [Path(json.loads(line)["file"]).name for line in ran.out.splitlines()] == ["a.png", "c.png"]
    assert "b.jpg" in ran.err
    assert "2 of 3 sources done, 1 failed" in ran.err
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a_keypoints.json", "c_keypoints.json"]
    assert state(pictures) == before


def test_a_single_failure_keeps_its_own_code(visionkit, pictures, tmp_path):
    folders = ("--out", tmp_path / "out", "--write-json", tmp_path / "json")
    assert visionkit("pose", pictures / "b.jpg", "--weights", "many", *folders).code == 3
    assert visionkit("pose", pictures / "none.jpg", "--weights", "many", *folders).code == 5
    assert visionkit("pose", pictures / "a.png", "--weights", pictures / "b.jpg", *folders).code == 4
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "json").exists()
    (tmp_path / "file").write_text("in the way")
    ran = visionkit("pose", pictures / "a.png", "--weights", "many", "--write-json", tmp_path / "file")
    assert ran.code == 5


def test_frames_of_a_video(visionkit, clip, tmp_path):
    ran = visionkit(
        "pose", clip, "--weights", "many", "--json", "--out", tmp_path / "out", "--show-maps",
        "--write-json", tmp_path / "json",
    )  # fmt: skip
    assert ran.code == 0
    frames = [json.loads(line) for line in ran.out.splitlines()]
    assert [one["frame"] for one in frames] == list(range(5))
    for number, one in enumerate(frames[:4]):
        assert near(one["xy"], [stick(20 + 10 * number, 40, 80)], 3)
    assert frames[4]["xy"] == []
    assert (tmp_path / "out/clip-pose.jsonl").read_text() == ran.out
    videos = {path.name for path in (tmp_path / "out").glob("*.mp4")}
    assert videos == {"clip-pose.mp4", "clip-pose-heat.mp4", "clip-pose-fields.mp4"}
    files = sorted(path.name for path in (tmp_path / "json").iterdir())
    assert files == [f"clip_{number:012d}_keypoints.json" for number in range(5)]
    assert json.loads((tmp_path / "json" / files[4]).read_text())["people"] == []


def test_a_part_of_the_frames(visionkit, clip, tmp_path):
    chosen = ("--frame-first", 1, "--frame-last", 3, "--frame-step", 2)
    theirs = ("--frame_first", 1, "--frame_last", 3, "--frame_step", 2)
    for flags in (chosen, theirs):
        ran = visionkit("pose", clip, "--weights", "many", "--json", *flags)
        assert [json.loads(line)["frame"] for line in ran.out.splitlines()] == [1, 3]
    ran = visionkit("pose", clip, "--weights", "many", "--json", "--frame_first", 3, "--frame_last", -1)
    assert [json.loads(line)["frame"] for line in ran.out.splitlines()] == [3, 4]
    ran = visionkit("pose", clip, "--weights", "many", "--frame-first", 9, "--out", tmp_path / "out")
    assert ran.code == 3
    assert "frame 9" in ran.err
    assert not list(tmp_path.glob("out/*"))


def test_one_person_behind_a_detector(visionkit, pictures, monkeypatch):
    sticks = [stick(20, 30, 60), stick(320, 170, 60)]  # neither is in the crop of the other
    boxes = [[308, 158, 392, 182], [8, 18, 92, 42]]
    path = pictures / "far.png"
    Image.fromarray(paint((200, 400), sticks, 4)).save(path)
    monkeypatch.setattr(verb, "load_detector", lambda weights, **options: Boxes(boxes, [0.9, 0.8]))
    ran = visionkit("pose", path, "--weights", "one", "--json", "--out", pictures / "out", "--show-maps")
    assert ran.code == 0
    assert near(json.loads(ran.out)["xy"], sticks)
    heat = read_image(pictures / "out/far-pose-heat.jpg").astype(int)
    for points in np.round(sticks).astype(int):
        for k, (x, y) in enumerate(points):
            assert np.abs(heat[y, x] - STICK.colours[k]).max() < 60
    ran = visionkit("pose", path, "--weights", "one", "--json", "--max-people", 1)
    assert near(json.loads(ran.out)["xy"], sticks[1:])
    monkeypatch.setattr(verb, "load_detector", lambda weights, **options: Boxes([], []))
    ran = visionkit("pose", path, "--weights", "one", "--out", pictures / "none", "--show-maps")
    assert "nothing found" in ran.out
    heat = read_image(pictures / "none/far-pose-heat.jpg").astype(int)
    assert heat.max() < 255 / 2 + 9  # the picture, dimmed


def test_one_person_who_fills_the_picture(visionkit, pictures, tmp_path):
    flags = ("--weights", "one", "--detector", "none", "--json", "--out", tmp_path / "out", "--show-maps")
    ran = visionkit("pose", pictures / "c.png", *flags)
    assert near(json.loads(ran.out)["xy"], STICKS["c"])
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["c-pose-heat.jpg", "c-pose.jpg", "c-pose.json"]


def test_detectors_that_do_not_fit(visionkit, pictures, weights):
    for flags, word in (
        (("many", "--detector", weights), "by itself"),
        (("one", "--detector", weights), "stick"),  # it finds discs and squares
        (("one", "--detector", "one"), "not a detector"),
        ((weights,), "visionkit detect"),
    ):
        ran = visionkit("pose", pictures / "a.png", "--weights", *flags)
        assert ran.code == 2
        assert word in ran.err


def test_points_of_another_skeleton(visionkit, pictures, tmp_path):
    for flags in (("--skeleton", "body-25"), ("--model_pose", "BODY_25")):
        ran = visionkit(
            "pose", pictures / "c.png", "--weights", "many", "--json", "--write-json", tmp_path, *flags
        )
        one = json.loads(ran.out)
        assert one["keypoints"] == list(BODY_25.keypoints)
        (person,) = json.loads((tmp_path / "c_keypoints.json").read_text())["people"]
        points = np.array(person["pose_keypoints_2d"]).reshape(25, 3)
        assert near(points[None, [0, 1, 8], :2], STICKS["c"])
        assert (np.delete(points, [0, 1, 8], axis=0) == 0).all()
    assert visionkit("pose", pictures / "c.png", "--weights", "many", "--skeleton", "x").code == 2
    assert visionkit("pose", pictures / "c.png", "--weights", "many", "--model_pose", "HAND").code == 2


def test_openpose_flags_do_the_same(visionkit, pictures, tmp_path):
    """Theirs give the width first; --image_dir and the like name the source."""
    ours = visionkit("pose", pictures / "a.png", "--weights", "many", "--net-resolution", "128x256",
                     "--max-people", 1, "--keypoint-confidence", 0.2, "--json")  # fmt: skip
    theirs = visionkit("pose", pictures / "a.png", "--weights", "many", "--net_resolution", "256x128",
                       "--number_people_max", 1, "--render_threshold", 0.2, "--display", 0,
                       "--json")  # fmt: skip
    assert ours.code == theirs.code == 0
    assert ours.out == theirs.out
    assert len(json.loads(ours.out)["xy"]) == 1
    (pictures / "b.jpg").unlink()
    ours = visionkit("pose", pictures, "--weights", "many", "--json")
    theirs = visionkit(
        "pose", "--image_dir", pictures, "--weights", "many", "--number_people_max", -1, "--json",
        "--write_json", tmp_path / "json", "--write_images", tmp_path / "drawn",
    )  # fmt: skip
    assert ours.out == theirs.out
    assert len(list((tmp_path / "json").iterdir())) == 2
    assert len(list((tmp_path / "drawn").glob("*.jpg"))) == 2


def test_a_network_of_openpose_itself(visionkit, tmp_path):
    description, weights, picture = tmp_path / "n.prototxt", tmp_path / "n.caffemodel", tmp_path / "a.png"
    description.write_text(openpose_net.DESCRIPTION)
    weights.write_bytes(openpose_net.weights())
    sticks = [stick(60, 80, 200), stick(150, 300, 300)]
    Image.fromarray(paint((400, 500), sticks, 12)).save(picture)
    low = ("--json", "--confidence", "0.1")  # 3 of its 15 points are there
    ours = visionkit("pose", picture, "--prototxt", description, "--weights", weights, *low)
    theirs = visionkit("pose", picture, "--prototxt_path", description, "--caffemodel_path", weights, *low)
    assert ours.code == 0
    assert ours.out == theirs.out
    assert json.loads(ours.out)["skeleton"] == "mpi-15"
    assert near(np.array(json.loads(ours.out)["xy"])[:, [0, 1, 14]], sticks, 1.5)
    for flags in (
        ("--weights", weights),
        ("--prototxt", picture, "--weights", weights),
        ("--prototxt", weights),
    ):
        assert visionkit("pose", picture, *flags).code in (2, 4)


def test_resolutions(visionkit, pictures, monkeypatch):
    asked = []

    def watched(weights, size=None, **options):
        asked.append(size)
        return zoo_load(weights, size=size, **options)

    zoo_load = zoo.load
    monkeypatch.setattr(zoo, "load", watched)
    cases = [
        (("--net-resolution", "128"), 128), (("--net-resolution", "96x128"), (96, 128)),
        (("--net-resolution", "-1x128"), (-1, 128)), (("--net-resolution=128x-1",), (128, -1)),
        (("--net_resolution", "-1x368"), (384, -1)), (("--net_resolution", "656x368"), (384, 672)),
        (("--net_resolution=-1x128",), (128, -1)),
    ]  # fmt: skip
    for flags, expected in cases:
        assert visionkit("pose", pictures / "c.png", "--weights", "many", *flags).code == 0
        assert asked.pop() == expected
    for flags in (
        ("--net-resolution", "100"), ("--net-resolution", "-1"), ("--net-resolution", "-1x-1"),
        ("--net-resolution", "0x32"), ("--net-resolution", "32x32x32"), ("--net-resolution",),
        ("--net_resolution", "128"), ("--net_resolution", "130x128"), ("--net-resolution", "9216"),
        ("--net-resolution", "64", "--net_resolution", "64x64"),
    ):  # fmt: skip
        assert visionkit("pose", pictures / "c.png", "--weights", "many", *flags).code == 2, flags


@pytest.mark.parametrize(
    "flags",
    [
        ("--max-people", "0"), ("--max-people", "-1"), ("--confidence", "2"), ("--keypoint-confidence", "0"),
        ("--show-maps",), ("--image_dir", ""), ("--camera", "0"), ("--frame-step", "0"), ("--hand",),
        ("--image_dir", "x", "--video", "y"), ("--weights", "many"), ("--display", "9"),
    ],
)  # fmt: skip
def test_wrong_usage(visionkit, pictures, flags):
    assert visionkit("pose", pictures / "a.png", "--weights", "many", *flags).code == 2


def test_equal_names_are_numbered_and_sources_never_overwritten(visionkit, pictures, tmp_path):
    (pictures / "b.jpg").unlink()
    shutil.copy(pictures / "a.png", pictures / "a.bmp")
    Image.open(pictures / "a.png").save(pictures / "a.bmp")
    out = tmp_path / "out"
    assert visionkit("pose", pictures, "--weights", "many", "--out", out, "--write-json", out).code == 0
    names = {path.name for path in out.iterdir()}
    assert {"a-pose.jpg", "a-pose-2.jpg", "a_keypoints.json", "a-2_keypoints.json"} <= names
    Image.open(pictures / "c.png").save(pictures / "c-pose-heat.jpg")
    before = state(pictures)
    ran = visionkit("pose", pictures, "--weights", "many", "--out", pictures, "--show-maps")
    assert ran.code == 2
    assert "overwrite a source" in ran.err
    after = state(pictures)
    assert {name: after[name] for name in before} == before


def test_help_shows_both_names(visionkit):
    out = visionkit("pose", "--help").out
    assert "--net-resolution" in out
    assert "--net_resolution WxH" in out
    code = "import sys; from visionkit.apps.cli import main; main(['pose', '--help']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    loaded = {name.split(".")[0] for name in done.stdout.splitlines()[-1].split()}
    assert not loaded & {"numpy", "numba", "PIL", "cv2"}
