"""Face landmarks from a table: every row or a reason, people on one side of the split only."""

import csv
import hashlib
import json

import numpy as np
import pytest
from PIL import Image

from visionkit.datasets.coco_keypoints import CocoKeypoints
from visionkit.datasets.convert import convert
from visionkit.datasets.faces import VAL_PEOPLE, FacesDataset, person
from visionkit.datasets.folder import open_folder
from visionkit.errors import DataError, FileError, UsageError
from visionkit.vision.skeleton import Skeleton
from visionkit.vision.skeletons import FACE_68

TRIO = Skeleton("trio", ("a", "b", "c"), ((0, 1),))
HEADER = ["image", "0", "1", "2", "3", "4", "5"]


@pytest.fixture
def table(tmp_path):
    """Writes rows below the header, with a picture for each, and gives the path."""

    def write(*rows, header=HEADER):
        (tmp_path / "images").mkdir(exist_ok=True)
        for name, *_ in rows:
            Image.new("RGB", (40, 30)).save(tmp_path / "images" / name)
        with (tmp_path / "keypoints.csv").open("w", newline="") as file:
            csv.writer(file).writerows([header, *rows])
        return tmp_path / "keypoints.csv"

    return write


def read(path, **options):
    return FacesDataset(path, path.parent / "images", skeleton=TRIO, **options)


GOOD = ["training_Ann_01.png", 3, 4, 20.5, 6, 11, 28]
OTHER = ["test_Wes_Craven_31.png", 1, 1, 30, 2, 5, 29]


def test_a_row_is_a_face(table):
    faces = read(table(GOOD, OTHER))
    assert (faces.names, faces.skeleton, faces.image_ids) == (("face",), TRIO, (1, 2))
    sample = faces[0]
    assert sample.image.shape == (30, 40, 3)
    assert sample.boxes.tolist() == [[3, 4, 20.5, 28]]
    assert sample.keypoints.tolist() == [[[3, 4, 2], [20.5, 6, 2], [11, 28, 2]]]
    assert sample.keypoints.dtype == np.float32
    assert len(faces.problems) == 0
    faces.require_points()


def test_names():
    assert person("training_Abdel_Aziz_Al-Hakim_01.jpg") == "Abdel_Aziz_Al-Hakim"
    assert person("test_Abdel_Aziz_Al-Hakim_40.jpg") == "Abdel_Aziz_Al-Hakim"
    assert person("Ann.png") == "Ann"
    assert person("folder/test_Ann_7.png") == "Ann"


def test_splits_follow_the_person_and_keep_the_numbers(table):
    path = table(GOOD, OTHER, ["test_Ann_02.png", *GOOD[1:]], ["training_Wes_Craven_01.png", *GOOD[1:]])
    train, val = read(path, split="train"), read(path, split="val")
    assert train.files == ("training_Ann_01.png", "test_Ann_02.png")
    assert val.files == ("test_Wes_Craven_31.png", "training_Wes_Craven_01.png")
    assert (train.image_ids, val.image_ids) == ((1, 3), (2, 4))
    with pytest.raises(UsageError, match="train and val"):
        read(path, split="test")


@pytest.mark.parametrize(
    ("row", "kind", "reason"),
    [
        (["x.png", 1, 2, 3], "keypoints-length", "3 numbers instead of 6"),
        (["x.png", *GOOD[1:], 9], "keypoints-length", "7 numbers instead of 6"),
        (["x.png", 1, 2, "three", 4, 5, 6], "bad-keypoints", "three"),
        (["x.png", 1, 2, "", 4, 5, 6], "bad-keypoints", "could not convert"),
        (["x.png", 1, 2, "nan", 4, 5, 6], "keypoint-range", "not a coordinate"),
        (["x.png", 1, 2, "1e300", 4, 5, 6], "keypoint-range", "not a coordinate"),
        (GOOD, "duplicate-picture", "same picture"),
    ],
)
def test_bad_rows_are_refused_or_left_out(table, row, kind, reason):
    path = table(GOOD, row, OTHER)
    with pytest.raises(DataError, match=rf"keypoints\.csv: line 3 .*{reason}"):
        read(path)
    faces = read(path, skip_bad=True)
    assert faces.files == (GOOD[0], OTHER[0])
    assert faces.problems.counts() == {kind: 1}


def test_faces_without_area_and_points_outside(table):
    path = table(GOOD, ["x.png", 5, 1, 5, 2, 5, 3], ["y.png", 1, 1, 45, 2, 5, 29])
    faces = read(path)
    assert faces.files == (GOOD[0], "y.png")
    assert faces.problems.counts() == {"zero-box": 1, "keypoint-outside": 1}
    assert faces[1].boxes.tolist() == [[1, 1, 40, 29]]
    assert faces[1].keypoints[0, 1].tolist() == [45, 2, 2]
    with pytest.raises(DataError, match="without area"):
        read(path, strict=True)


def test_missing_and_damaged_pictures(table):
    path = table(GOOD, OTHER)
    (path.parent / "images" / GOOD[0]).unlink()
    (path.parent / "images" / OTHER[0]).write_bytes(b"no picture")
    with pytest.raises(DataError, match="2 problems"):
        read(path)
    assert read(path, skip_bad=True).problems.counts() == {"picture-missing": 1, "picture": 1}
    outside = table(GOOD)
    outside.write_text(outside.read_text().replace("training", "../training"))
    with pytest.raises(DataError, match="line 2"):
        read(outside)


def test_tables_of_another_kind(table, tmp_path):
    with pytest.raises(DataError, match="first line must be image,0,1") as caught:
        read(table(GOOD, header=["file", *HEADER[1:]]))
    assert "x and y of 3 points" in str(caught.value)
    path = table(GOOD)
    path.write_bytes(b"")
    with pytest.raises(DataError, match="first line"):
        read(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match="UTF-8"):
        read(path)
    path.write_text('image,"' + "x" * 200_000)
    with pytest.raises(DataError, match="not a CSV file"):
        read(path)
    with pytest.raises(FileError):
        read(tmp_path / "none.csv")


def test_the_real_faces(real_data, tmp_path):
    root = real_data / "ytfaces68"
    train, val = (open_folder(root, split) for split in ("train", "val"))
    assert (len(train), len(val)) == (1190, 314)
    people = [{person(file) for file in part.files} for part in (train, val)]
    assert not people[0] & people[1]
    assert len(people[0] | people[1]) == 171
    names = sorted(people[0] | people[1], key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    assert people[1] == VAL_PEOPLE == set(names[:34])
    assert train.problems.counts() | val.problems.counts() == {"keypoint-outside": 1}
    rows = list(csv.reader((root / "keypoints.csv").read_text().splitlines()))
    record = val.records[5]
    row = rows[record.image_id]
    assert row[0] == record.file
    np.testing.assert_allclose(record.keypoints[0, :, :2].ravel(), np.array(row[1:], float), rtol=1e-6)


def test_faces_become_a_coco_file_with_the_same_points(real_data, tmp_path):
    val = open_folder(real_data / "ytfaces68", "val").part(range(4))
    folder = convert(val, "coco", tmp_path / "made", split="val")
    again = CocoKeypoints(folder / "val.json", folder / "images")
    assert again.skeleton.flips == FACE_68.flips
    assert again.skeleton.keypoints == FACE_68.keypoints
    assert set(again.skeleton.limbs) == set(FACE_68.limbs)
    assert len(again.problems) == 0
    for a, b in zip(val.records, again.records, strict=True):
        assert (a.keypoints == b.keypoints).all()
        np.testing.assert_allclose(a.boxes, b.boxes, rtol=1e-6)
    rows = json.loads((folder / "val.json").read_text())["annotations"]
    assert rows[0]["num_keypoints"] == 68


def test_mirrored_faces_are_faces(real_data):
    """The mean face of many is its own mirror image within a few hundredths; wrong flips are far off."""
    val = open_folder(real_data / "ytfaces68", "val")
    box = np.concatenate([record.boxes for record in val.records])
    points = np.concatenate([record.keypoints for record in val.records])[..., :2]
    mean = ((points - box[:, None, :2]) / (box[:, None, 2:] - box[:, None, :2])).mean(axis=0)
    mirrored = (mean * [-1, 1] + [1, 0])[list(FACE_68.flips)]
    assert np.abs(mirrored - mean).max() < 0.08
    assert np.abs((mean * [-1, 1] + [1, 0]) - mean).max() > 0.5
