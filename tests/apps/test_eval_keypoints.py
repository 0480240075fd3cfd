"""`visionkit eval --keypoints`: the numbers, the exit codes, and what is refused."""

import json

import pytest

NAMES = ["left_shoulder", "right_shoulder", "left_hip", "right_hip", "head_top", "neck"]
POINTS = [(30, 20), (10, 20), (28, 60), (12, 60), (20, 2), (20, 14)]


@pytest.fixture
def files(tmp_path):
    """Ground truth of three pictures, a person each, and detections of which one lies 4 pixels aside."""
    truth = {
        "images": [{"id": k, "file_name": f"{k}.png", "width": 100, "height": 100} for k in (3, 5, 8)],
        "categories": [{"id": 7, "name": "person", "keypoints": NAMES, "sigmas": [0.05] * 6}],
        "annotations": [],
    }
    found = []
    for number, image in enumerate((3, 5, 8)):
        row = {"image_id": image, "category_id": 7}
        points = [value for x, y in POINTS for value in (x + 30, y + 10, 2)]
        truth["annotations"].append({
            **row, "id": number, "bbox": [38, 10, 26, 62], "area": 1600, "iscrowd": 0, "num_keypoints": 6,
            "keypoints": points,
        })  # fmt: skip
        moved = [value + 4 * (image == 8 and k % 3 == 0) for k, value in enumerate(points)]
        found.append({**row, "keypoints": moved, "score": 0.9 - number / 10})
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    (tmp_path / "found.json").write_text(json.dumps(found))
    return tmp_path / "truth.json", tmp_path / "found.json"


@pytest.fixture
def score(visionkit, files):
    """`score("--json", ...)` on these files."""
    truth, found = files
    return lambda *flags: visionkit("eval", "--keypoints", found, "--json-annotations", truth, *flags)


def test_ap_of_a_file(score, tmp_path):
    ran = score("--json", "--report", tmp_path / "report", "--min-ap", "0.7")
    assert ran.code == 0, ran.err
    scores = json.loads(ran.out)
    # 4 pixels of sqrt(1600) at a sigma of .05 are an OKS of .607: the third person counts at .50, .55 and .60
    assert scores["AP50"] == pytest.approx(1)
    assert scores["AR"] == pytest.approx((3 * 1 + 7 * 2 / 3) / 10)
    assert list(scores)[:10] == ["AP", "AP50", "AP75", "APm", "APl", "AR", "AR50", "AR75", "ARm", "ARl"]
    assert scores["APl"] is None
    names = {path.name for path in (tmp_path / "report").iterdir()}
    assert names == {"scores.json", "detections.json", "precision_recall.png"}
    assert json.loads((tmp_path / "report" / "detections.json").read_text())[2]["image_id"] == 8
    shown = score("--metric", "oks")
    assert shown.out.split()[:3] == ["AP", "AP50", "AP75"]
    assert "n/a" in shown.out
    low = score("--min-ap", "0.99")
    assert low.code == 1
    assert "below --min-ap" in low.err


def test_distances_of_a_file(score):
    torso = (18**2 + 40**2) ** 0.5
    pck = json.loads(score("--metric", "pck", "--json", "--threshold", "0.05").out)
    assert pck["PCK"] == pytest.approx(2 / 3)
    assert pck["reference"] == "torso"
    assert json.loads(score("--metric", "pck", "--json").out)["PCK"] == 1
    pckh = json.loads(score("--metric", "pckh", "--json").out)
    assert pckh["PCKh"] == 1
    assert pckh["AUC"] == pytest.approx((2 + 1 - 4 / 12 / 0.5) / 3)
    nme = json.loads(score("--metric", "nme", "--reference", "left_shoulder,right_hip", "--json").out)
    assert nme["NME"] == pytest.approx(4 / torso / 3)
    assert set(nme["points"]) == set(NAMES)
    table = score("--metric", "nme", "--reference", "box")
    assert table.code == 0
    assert "0.1 of box, 3 objects" in table.out


def test_points_that_are_not_finite(visionkit, files):
    truth, found = files
    entries = json.loads(found.read_text())
    entries[1]["keypoints"][4] = "BAD"
    for bad, why in (("NaN", "not JSON"), ("1e999", "finite")):
        found.write_text(json.dumps(entries).replace('"BAD"', bad))
        for metric in ("oks", "pck", "pckh", "nme"):
            how = ("--keypoints", found, "--json-annotations", truth, "--metric", metric)
            ran = visionkit("eval", *how)
            assert ran.code == 3
            assert "found.json" in ran.err
            assert "[1].keypoints[4]" in ran.err
            assert why in ran.err


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (("--detections", "x.json"), "one of --weights, --detections and --keypoints"),
        (("--metric", "pck", "--min-ap", "0.5"), "--min-ap needs AP"),
        (("--metric", "nme", "--report", "r"), "--report needs AP"),
        (("--threshold", "0.5"), "--threshold needs --metric"),
        (("--reference", "box"), "--reference needs --metric"),
        (("--metric", "nme"), "no length 'inter-ocular'"),
        (("--metric", "pk"), "did you mean pck?"),
        (("--metric", "pck", "--threshold", "0"), "--threshold"),
    ],
)
def test_flags_that_do_not_go_together(score, flags, text):
    ran = score(*flags)
    assert ran.code == 2
    assert text in ran.err


def test_a_metric_without_keypoints(visionkit, files):
    ran = visionkit("eval", "--detections", files[1], "--json-annotations", files[0], "--metric", "pck")
    assert ran.code == 2
    assert "--metric needs --keypoints" in ran.err


def test_the_official_pair(visionkit, real_data):
    folder = real_data / "eval_refs" / "keypoints_dataset"
    files = ("--keypoints", folder / "dt_dataset.json", "--json-annotations", folder / "gt_dataset.json")
    ran = visionkit("eval", *files, "--json", "--min-ap", "0.5")
    assert ran.code == 0
    assert json.loads(ran.out)["AP"] == pytest.approx(0.5048844884488449, abs=1e-10)


def test_a_file_of_boxes_has_no_points(visionkit, shapes, files):
    ran = visionkit("eval", "--keypoints", files[1], "--json-annotations", shapes / "val" / "val.json")
    assert ran.code == 3
    assert "no category and no annotation has keypoints" in ran.err
