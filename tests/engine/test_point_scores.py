"""PCK, PCKh, NME and AUC: published figures, slow loops, references, and who is compared with whom."""

import copy
import json

import numpy as np
import pytest

from visionkit.engine.point_errors import auc, length_of, nme, object_errors, pck, point_errors
from visionkit.engine.point_scores import score_points
from visionkit.errors import DataError, UsageError
from visionkit.vision.skeletons import COCO_17, FACE_5, FACE_49, FACE_68, LSP_14

MPII = [
    "right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle", "pelvis", "thorax",
    "upper_neck", "head_top", "right_wrist", "right_elbow", "right_shoulder", "left_shoulder", "left_elbow",
    "left_wrist",
]  # fmt: skip


@pytest.fixture(scope="module")
def mpii(real_data):
    """Points (N, 16, 2), labelled (N, 16), size of the head (N,), and the predictions of two networks."""
    h5py = pytest.importorskip("h5py")
    folder = real_data / "eval_refs" / "mpii_pose_hg"
    with h5py.File(folder / "annot" / "valid.h5") as file:
        truth, size = file["part"][:], file["normalize"][:]
    found = {}
    for name in ("ours", "example"):
        with h5py.File(folder / "preds" / f"valid-{name}.h5") as file:
            found[name] = file["preds"][:]
    return truth, truth[..., 0] > 0, size, found


@pytest.mark.parametrize(("name", "published"), [("ours", 88.96), ("example", 85.02)])
def test_published_pckh(mpii, name, published):
    truth, labelled, size, found = mpii
    errors = point_errors(found[name], truth, labelled, size)
    assert round(100 * pck(errors, 0.5), 2) == published


@pytest.mark.parametrize(("name", "published"), [("ours", 88.96), ("example", 85.02)])
def test_published_pckh_from_json(mpii, name, published, tmp_path):
    """All 2,958 people as if they were on one picture: each prediction names its object."""
    truth, labelled, size, found = mpii
    points = np.concatenate([truth, 2.0 * labelled[..., None]], -1)
    document = {
        "images": [{"id": 1, "file_name": "all.jpg", "width": 2000, "height": 2000}],
        "categories": [{"id": 1, "name": "person", "keypoints": MPII}],
        "annotations": [
            {"id": 10 + k, "image_id": 1, "category_id": 1, "bbox": [0, 0, 9, 9], "head_size": float(size[k]),
             "keypoints": points[k].ravel().tolist()} for k in range(len(points))
        ],
    }  # fmt: skip
    sure = np.ones((*found[name].shape[:2], 1))
    entries = [
        {
            "image_id": 1,
            "category_id": 1,
            "annotation_id": 10 + k,
            "score": k / 1e4,
            "keypoints": row.ravel().tolist(),
        }
        for k, row in enumerate(np.concatenate([found[name], sure], -1))
    ]
    (tmp_path / "found.json").write_text(json.dumps(entries[::-1]))
    scores = score_points(document, tmp_path / "found.json", "pckh")
    assert round(100 * scores["PCKh"], 2) == published
    errors = point_errors(found[name], truth, labelled, size)
    assert scores["PCKh"] == pytest.approx(pck(errors, 0.5), abs=1e-12)
    assert scores["AUC"] == pytest.approx(auc(errors, 0.5), abs=1e-12)
    assert scores.points["head_top"] == pytest.approx(pck(errors[:, 9], 0.5), abs=1e-12)
    assert (scores.objects, scores.missing, scores.notes) == (2958, 0, ())


def random_points(rng, count=40, width=7):
    truth = rng.uniform(0, 100, (count, width, 2))
    found = truth + rng.normal(0, 6, truth.shape)
    labelled = rng.random((count, width)) < 0.7
    labelled[3] = False
    reference = rng.uniform(10, 40, count)
    reference[5] = np.nan
    return found, truth, labelled, reference


def test_against_slow_loops(rng):
    found, truth, labelled, reference = random_points(rng)
    present = rng.random(len(found)) < 0.8
    errors = point_errors(found, truth, labelled, reference, present)
    within, thresholds, means = [], np.linspace(0, 0.3, 20001), []
    for i in range(len(found)):
        own = []
        for k in range(found.shape[1]):
            if not labelled[i, k] or np.isnan(reference[i]):
                assert np.isnan(errors[i, k])
                continue
            dx, dy = found[i, k] - truth[i, k]
            away = (dx * dx + dy * dy) ** 0.5 / reference[i] if present[i] else np.inf
            assert errors[i, k] == pytest.approx(away, rel=1e-12)
            own.append(away)
        within += own
        means.append(np.mean(own) if own else np.nan)
    within = np.array(within)
    assert pck(errors, 0.2) == pytest.approx((within <= 0.2).mean(), abs=1e-15)
    shares = (within[:, None] <= thresholds).mean(0)
    assert auc(errors, 0.3) == pytest.approx(np.trapezoid(shares, thresholds) / 0.3, abs=1e-4)
    np.testing.assert_allclose(object_errors(errors), means, rtol=1e-12)
    assert nme(errors) == pytest.approx(np.mean([m for m in means if np.isfinite(m)]), rel=1e-12)
    assert 0.2 < pck(errors, 0.2) < 0.8


def test_the_threshold_itself_is_within():
    errors = point_errors([[[5.0, 0.0]]], [[[0.0, 0.0]]], [[True]], [10.0])
    assert (pck(errors, 0.5), pck(errors, 0.4999), auc(errors, 1.0), nme(errors)) == (1, 0, 0.5, 0.5)


def test_nothing_labelled_gives_no_number():
    errors = point_errors(np.zeros((2, 3, 2)), np.zeros((2, 3, 2)), np.zeros((2, 3), bool), 1.0)
    assert np.isnan([pck(errors, 1), auc(errors, 1), nme(errors), *object_errors(errors)]).all()


@pytest.mark.parametrize("which", ["found", "truth"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_points_that_are_not_finite_are_refused(rng, which, value):
    found, truth, labelled, reference = random_points(rng)
    labelled[4, 2], labelled[4, 3] = True, False
    arrays = {"found": found, "truth": truth}
    arrays[which][4, 2, 1] = value
    with pytest.raises(DataError, match=rf"{which}\[4, 2, 1\]"):
        point_errors(found, truth, labelled, reference)
    arrays[which][4, 2, 1] = 1
    truth[4, 3] = np.nan  # not labelled: nobody looks at it
    assert np.isnan(point_errors(found, truth, labelled, reference)[4, 3])


@pytest.mark.parametrize(
    ("name", "skeleton", "first", "second"),
    [
        ("torso", COCO_17, [5], [12]),
        ("torso", LSP_14, [9], [2]),
        ("head", LSP_14, [13], [12]),
        ("inter-ocular", FACE_68, [36], [45]),
        ("inter-ocular", FACE_49, [19], [28]),
        ("inter-pupil", FACE_68, range(36, 42), range(42, 48)),
        ("inter-pupil", FACE_49, range(19, 25), range(25, 31)),
        ("inter-pupil", FACE_5, [0], [1]),
        ("nose, left_hip", COCO_17, [0], [11]),
    ],
)
def test_lengths(rng, name, skeleton, first, second):
    points = rng.uniform(0, 100, (5, len(skeleton), 2))
    expected = [np.linalg.norm(row[list(first)].mean(0) - row[list(second)].mean(0)) for row in points]
    known = np.ones(points.shape[:2], bool)
    np.testing.assert_allclose(length_of(name, skeleton, points, known), expected, rtol=1e-12)
    known[2, next(iter(second))] = False
    lengths = length_of(name, skeleton, points, known)
    if name == "torso":
        other = [skeleton.flips[k] for k in (*first, *second)]
        assert lengths[2] == pytest.approx(np.linalg.norm(points[2, other[0]] - points[2, other[1]]))
        known[2] = False
        lengths = length_of(name, skeleton, points, known)
    assert np.isnan(lengths).tolist() == [False, False, True, False, False]


@pytest.mark.parametrize(
    ("name", "skeleton"), [("torso", FACE_5), ("inter-ocular", FACE_5), ("nose, x", COCO_17)]
)
def test_lengths_that_a_skeleton_lacks(name, skeleton):
    points = np.zeros((1, len(skeleton), 2))
    with pytest.raises(UsageError, match=f"no length '{name}'.*comma"):
        length_of(name, skeleton, points, np.ones(points.shape[:2], bool))


def document(rng, people=(1, 1, 2)):
    """People of 14 points on pictures of their own or together, and detections a little beside them."""
    truth = {
        "images": [
            {"id": k, "file_name": f"{k}.png", "width": 640, "height": 480} for k in range(len(people))
        ],
        "categories": [{"id": 3, "name": "athlete", "keypoints": list(LSP_14.keypoints)}],
        "annotations": [],
    }
    found = []
    for image, count in enumerate(people):
        for k in range(count):
            corner = np.array([40 + 250 * k, 60])
            xy = corner + rng.uniform(0, 100, (14, 2))
            row = {"image_id": image, "category_id": 3}
            points = np.column_stack([xy, np.full(14, 2)])
            truth["annotations"].append({
                **row, "id": 70 + len(found), "bbox": [*corner.tolist(), 100, 100], "iscrowd": 0,
                "keypoints": points.ravel().tolist(), "num_keypoints": 14,
            })  # fmt: skip
            near = np.column_stack([xy + rng.normal(0, 6, xy.shape), np.ones(14)])
            found.append({**row, "score": float(rng.random()), "keypoints": near.ravel().tolist()})
    return truth, found


def array(entries):
    return np.array([e["keypoints"] for e in entries]).reshape(len(entries), -1, 3)[..., :2]


@pytest.mark.parametrize("metric", ["pck", "pckh", "nme"])
def test_scores_of_a_document(rng, metric):
    truth, found = document(rng, people=(1, 2, 1, 1, 3))
    before = copy.deepcopy((truth, found))
    name = {"pck": "torso", "pckh": "head", "nme": "nose_box"}[metric]
    how = {"reference": "box"} if metric == "nme" else {}
    known = np.ones((len(found), 14), bool)
    points = array(truth["annotations"])
    length = 100.0 if metric == "nme" else length_of(name, LSP_14, points, known)
    errors = point_errors(array(found), points, known, length)
    scores = score_points(truth, [found[k] for k in rng.permutation(len(found))], metric, **how)
    if metric == "nme":
        means = object_errors(errors)
        expected = {"NME": means.mean(), "AUC": auc(means, 0.1), "FR": (means > 0.1).mean()}
    else:
        at = {"pck": 0.2, "pckh": 0.5}[metric]
        expected = {{"pck": "PCK", "pckh": "PCKh"}[metric]: pck(errors, at), "AUC": auc(errors, at)}
    assert scores.values == pytest.approx(expected, abs=1e-12)
    assert list(scores.points) == list(LSP_14.keypoints)
    assert (scores.objects, scores.missing, scores.notes) == (8, 0, ())
    assert (truth, found) == before
    assert json.loads(json.dumps(scores.to_dict()))["reference"] == scores.reference
    assert "right_knee" in scores.table()
    assert not any(map(np.isnan, expected.values()))


def test_missing_people_count_as_wrong(rng):
    truth, found = document(rng, people=(1, 1, 1, 1))
    whole = score_points(truth, found, reference="pixel", threshold=1e3)
    assert whole["PCK"] == 1
    part = score_points(truth, found[:3], reference="pixel", threshold=1e3)
    assert (part["PCK"], part.missing, part.objects) == (0.75, 1, 4)
    assert "1 objects have no detection" in part.notes[0]
    faces = score_points(truth, found[:3], "nme", reference="pixel", threshold=1e3)
    assert faces["FR"] == 0.25
    assert faces["NME"] == pytest.approx(
        score_points(truth, found, "nme", reference="pixel", image_ids=[0, 1, 2])["NME"]
    )


def test_unlabelled_points_do_not_count(rng):
    truth, found = document(rng, people=(1, 1))
    truth["annotations"][0]["keypoints"][2::3] = [0] * 7 + [2] * 7
    found[0]["keypoints"][:21] = [1e6] * 21
    assert score_points(truth, found, reference="pixel", threshold=1e3)["PCK"] == 1
    truth["annotations"][0]["keypoints"][2::3] = [0] * 14
    scores = score_points(truth, found, reference="pixel")
    assert scores.objects == 1
    assert "1 detections belong to no object" in scores.notes[0]
    assert score_points(truth, found, reference="pixel", image_ids=[0])["PCK"] is None


def test_more_detections_cannot_buy_a_better_score(rng):
    """Only as many as there are objects count, the best-scored; perfect ones that are less sure do not."""
    truth, found = document(rng, people=(2, 1))
    plain = score_points(truth, found)
    sure = [
        {**d, "score": 0.0, "keypoints": a["keypoints"]}
        for a, d in zip(truth["annotations"], found, strict=True)
    ]
    more = score_points(truth, sure + found)
    assert more.values == plain.values != score_points(truth, sure).values
    assert "3 detections belong to no object" in more.notes[-1]


def test_an_unlabelled_person_takes_a_detection_of_its_own(rng):
    truth, found = document(rng, people=(2,))
    truth["annotations"][0]["keypoints"][2::3] = [0] * 14
    found[0]["score"], found[1]["score"] = 0.9, 0.1
    assert score_points(truth, found, reference="pixel", threshold=60.0)["PCK"] == 1


def test_detections_that_name_their_object(rng):
    truth, found = document(rng, people=(2, 1))
    named = [{**d, "annotation_id": 70 + k} for k, d in enumerate(found)]
    assert score_points(truth, named).values == score_points(truth, found).values
    crossed = [{**found[0], "annotation_id": 71}, {**found[1], "annotation_id": 70}, named[2]]
    scores = score_points(truth, crossed, reference="pixel", threshold=60.0)
    assert scores["PCK"] < 0.6
    mixed = [{**found[1], "annotation_id": 71, "score": 0.0}, found[0], found[2]]
    assert score_points(truth, mixed).values == score_points(truth, found).values
    twice = [found[0], {**found[0], "annotation_id": 70, "score": 0.0}]
    assert score_points(truth, twice, reference="pixel", threshold=1e3, image_ids=[0]).missing == 0
    for wrong in (72, 7, "70", None, [70]):
        with pytest.raises(DataError, match=r"\[1\]\.annotation_id"):
            score_points(truth, [named[0], {**found[1], "annotation_id": wrong}, named[2]])


def test_size_of_the_head(rng):
    truth, found = document(rng, people=(1, 1, 1))
    known = np.ones((3, 14), bool)
    plain = point_errors(array(found), array(truth["annotations"]), known, 1.0)
    for a in truth["annotations"]:
        a["bbox_head"] = [10, 10, 12, 16]
    assert score_points(truth, found, "pckh")["PCKh"] == pytest.approx(pck(plain, 0.5 * 0.6 * 20))
    del truth["annotations"][1]["bbox_head"]
    truth["annotations"][0]["head_size"] = 30
    scores = score_points(truth, found, "pckh")
    expected = np.concatenate([plain[0] / 30, plain[2] / 12])
    assert scores["PCKh"] == pytest.approx(pck(expected, 0.5))
    assert "1 objects are left out" in scores.notes[0]
    for bad in ({"head_size": "large"}, {"bbox_head": [1, 2]}):
        truth["annotations"][1].update(bad)
        with pytest.raises(DataError, match=r"annotations\[1\].*size of the head"):
            score_points(truth, found, "pckh")
        truth["annotations"][1].pop(next(iter(bad)))


def test_bad_points_are_refused_with_their_entry(rng, tmp_path):
    truth, found = document(rng)
    found[1]["keypoints"][4] = float("nan")
    for metric in ("pck", "pckh", "nme"):
        with pytest.raises(DataError, match=r"\[1\]\.keypoints\[4\].*finite"):
            score_points(truth, found, metric, reference="box")
    (tmp_path / "found.json").write_text(json.dumps(found))
    with pytest.raises(DataError, match=r"found\.json.*NaN"):
        score_points(truth, tmp_path / "found.json")


def test_wrong_arguments(rng):
    truth, found = document(rng)
    with pytest.raises(UsageError, match="oks"):
        score_points(truth, found, "oks")
    for threshold in (0.0, -1.0, np.nan, np.inf):
        with pytest.raises(UsageError, match="threshold"):
            score_points(truth, found, threshold=threshold)
    with pytest.raises(UsageError, match="inter-ocular"):
        score_points(truth, found, "nme")
