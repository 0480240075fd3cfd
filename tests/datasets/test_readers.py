"""VOC, YOLO, MNIST, generated shapes, converters and statistics."""

import gzip
import os
import struct

import numpy as np
import pytest
from PIL import Image

from visionkit.datasets.coco import CocoDataset, write_coco
from visionkit.datasets.convert import convert
from visionkit.datasets.folder import open_folder
from visionkit.datasets.mnist import Mnist, read_idx
from visionkit.datasets.shapes import ShapesDataset
from visionkit.datasets.stats import statistics, table
from visionkit.datasets.voc import VocDataset
from visionkit.datasets.yolo_txt import YoloDataset, read_names
from visionkit.errors import DataError, FileError, UnknownNameError, UsageError

DATA = os.environ.get("VISIONKIT_TEST_DATA", "")
needs_data = pytest.mark.skipif(not os.path.isdir(DATA), reason="VISIONKIT_TEST_DATA names no folder")

VOC = """<annotation><filename>{name}</filename><size><width>64</width><height>48</height></size>{objects}
</annotation>"""
OBJECT = """<object><name>{name}</name><difficult>{difficult}</difficult><bndbox>
<xmin>{0}</xmin><ymin>{1}</ymin><xmax>{2}</xmax><ymax>{3}</ymax></bndbox></object>"""


def voc(folder, *objects, xml=None):
    for part in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (folder / part).mkdir(parents=True)
    Image.new("RGB", (64, 48)).save(folder / "JPEGImages" / "a.jpg")
    text = VOC.format(name="a.jpg", objects="".join(objects)) if xml is None else xml
    (folder / "Annotations" / "a.xml").write_text(text)
    (folder / "ImageSets" / "Main" / "train.txt").write_text("a 1\n\n")
    return folder


def an_object(*corners, name="cat", difficult=0):
    return OBJECT.format(*corners, name=name, difficult=difficult)


def test_voc_corners_count_from_one_and_include_the_last_pixel(tmp_path):
    root = voc(tmp_path, an_object(1, 1, 64, 48), an_object(3, 4, 10, 9.5, name="ant", difficult=1))
    found = VocDataset(root)
    assert (found.names, found.category_ids, found.image_ids, found.files) == (
        ("ant", "cat"),
        (1, 2),
        (1,),
        ("a.jpg",),
    )
    sample = found[0]
    assert sample.boxes.tolist() == [[0, 0, 64, 48], [2, 3, 10, 9.5]]
    assert sample.class_id.tolist() == [1, 0]
    assert sample.ignore.tolist() == [False, True]
    assert VocDataset(root, origin=0).records[0].boxes[1].tolist() == [3, 4, 10, 9.5]


@pytest.mark.parametrize(
    ("corners", "message"),
    [
        (("x", 1, 2, 3), "four numbers"),
        (("nan", 1, 2, 3), "not coordinates"),
        (("1e400", 1, 2, 3), "not coordinates"),
        ((9, 1, 2, 3), "xmax < xmin"),
        (("", 1, 2, 3), "four numbers"),
    ],
)
def test_voc_boxes_that_are_none(tmp_path, corners, message):
    root = voc(tmp_path, an_object(*corners), an_object(1, 1, 9, 9))
    with pytest.raises(DataError, match=rf"a\.xml\) object\[0\].*{message}"):
        VocDataset(root)
    assert len(VocDataset(root, skip_bad=True).records[0].boxes) == 1


def test_voc_boxes_that_are_dropped(tmp_path):
    root = voc(tmp_path, an_object(5, 5, 5, 9), an_object(70, 1, 80, 9), an_object(1, 1, 9, 9))
    assert VocDataset(root).problems.counts() == {"zero-box": 1, "box-outside": 1}
    with pytest.raises(DataError, match="2 problems"):
        VocDataset(root, strict=True)


@pytest.mark.parametrize(
    ("xml", "message"),
    [
        ("", "empty"),
        ("<annotation>", "not XML"),
        ("<!DOCTYPE a [<!ENTITY x 'xxxx'>]><annotation>&x;</annotation>", "document type"),
        ("<annotation><filename>../../x.jpg</filename></annotation>", "outside"),
        ("<annotation><filename>b.jpg</filename></annotation>", "b.jpg|open"),
    ],
)
def test_voc_files_that_are_none(tmp_path, xml, message):
    with pytest.raises(DataError, match=message):
        VocDataset(voc(tmp_path, xml=xml))


def test_voc_missing_parts(tmp_path):
    root = voc(tmp_path / "set")
    with pytest.raises(FileError):
        VocDataset(root, "val")
    (root / "ImageSets" / "Main" / "train.txt").write_text("a\nb\n")
    with pytest.raises(DataError, match=r"b\.xml.*cannot open"):
        VocDataset(root)
    with pytest.raises(DataError, match="not among the classes"):
        VocDataset(voc(tmp_path / "other", an_object(1, 1, 9, 9)), names=["dog"])


@needs_data
def test_bccd():
    """The two degenerate boxes of the published files are found and dropped."""
    train, val = (VocDataset(f"{DATA}/bccd", split) for split in ("train", "val"))
    assert (len(train), len(val), train.names) == (205, 87, ("Platelets", "RBC", "WBC"))
    assert train.problems.counts() == val.problems.counts() == {"zero-box": 1}
    assert sum(len(r.boxes) for d in (train, val) for r in d.records) == 292 + 3339 + 301 + 11 - 2


@needs_data
@pytest.mark.parametrize(
    ("name", "pictures", "boxes"),
    [("coco_person/val", 300, None), ("coco80/all", 516, None), ("animal_pose/val", 200, None)],
)
def test_real_coco_sets_are_sound(name, pictures, boxes):
    folder, split = name.split("/")
    found = CocoDataset(f"{DATA}/{folder}/{split}.json", f"{DATA}/{folder}/images")
    assert len(found) == pictures
    assert not found.problems.of("error")
    assert not found.problems.of("dropped")
    assert len(found[0]) == len(found.records[0].boxes)


def yolo(folder, text, names="cat\ndog\n"):
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True)
    Image.new("RGB", (64, 48)).save(folder / "images" / "a.png")
    if text is not None:
        (folder / "labels" / "a.txt").write_text(text)
    (folder / "classes.txt").write_text(names)
    return folder


def test_yolo_fractions(tmp_path):
    found = open_folder(yolo(tmp_path, "1 0.5 0.5 0.25 0.5\n\n0 0.125 0.25 0.25 0.5\n"))
    assert isinstance(found, YoloDataset)
    assert (found.names, found.category_ids) == (("cat", "dog"), (0, 1))
    assert found[0].boxes.tolist() == [[24, 12, 40, 36], [0, 0, 16, 24]]
    assert found[0].class_id.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 0.5 0.5 0.25", "4 words instead of 5"),
        ("0 0.5 0.5 0.25 0.5 0.9", "6 words"),
        ("0 a 0.5 0.25 0.5", "five numbers"),
        ("2 0.5 0.5 0.25 0.5", "number of a class"),
        ("0.5 0.5 0.5 0.25 0.5", "number of a class"),
        ("-1 0.5 0.5 0.25 0.5", "number of a class"),
        ("0 nan 0.5 0.25 0.5", "not a box"),
        ("0 0.5 0.5 -0.25 0.5", "negative"),
        ("0 32 24 16 24", "fractions"),
    ],
)
def test_yolo_lines_that_are_none(tmp_path, line, message):
    root = yolo(tmp_path, f"0 0.5 0.5 0.1 0.1\n{line}\n")
    with pytest.raises(DataError, match=rf"\(a\.png\) line 2.*{message}"):
        open_folder(root)
    assert len(open_folder(root, skip_bad=True).records[0].boxes) == 1


def test_yolo_what_is_counted(tmp_path):
    root = yolo(tmp_path, None)
    (root / "labels" / "b.txt").write_text("")
    assert open_folder(root).problems.counts() == {"no-label-file": 1, "label-without-picture": 1}
    (root / "labels" / "a.txt").write_text("0 0.5 0.5 0 0.1\n")
    assert open_folder(root).problems.counts() == {"zero-box": 1, "label-without-picture": 1}


@pytest.mark.parametrize(
    "text",
    [
        "names: [cat, 'big dog']\n",
        "nc: 2\nnames:\n  - cat\n  - big dog\n",
        "names:\n  0: cat\n  1: 'big dog'\nnc: 2\n",
    ],
)
def test_names_of_a_yaml(tmp_path, text):
    (tmp_path / "data.yaml").write_text(text)
    assert read_names(tmp_path / "data.yaml") == ["cat", "big dog"]


@pytest.mark.parametrize(
    "text", ["", "names:\n", "names: !!python/object:os.system\n", "names:\n  1: cat\n", "nc: 3\n"]
)
def test_yaml_without_names(tmp_path, text):
    (tmp_path / "data.yaml").write_text(text)
    with pytest.raises(DataError):
        read_names(tmp_path / "data.yaml")


@pytest.mark.parametrize("to", ["coco", "voc", "yolo"])
def test_conversion_there_and_back(tmp_path, to):
    shapes = ShapesDataset(5)
    found = open_folder(convert(shapes, to, tmp_path / "one"))
    again = open_folder(convert(found, "coco", tmp_path / "two"))
    for other in (found, again):
        assert other.names == shapes.names
        for index, record in enumerate(shapes.records):
            assert np.abs(other.records[index].boxes - record.boxes).max() < 1e-4
            assert (other.records[index].class_id == record.class_id).all()
            assert (other[index].image == shapes[index].image).all()
    with pytest.raises(FileError, match="not empty"):
        convert(shapes, to, tmp_path / "one")


def test_conversion_of_crowds_odd_names_and_turned_pictures(tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    for folder in ("x", "y"):
        (tmp_path / "set" / folder).mkdir(parents=True)
        Image.fromarray(pixels).save(tmp_path / "set" / folder / "a.png", exif=exif)
    rows = [{"id": k, "file_name": f"{f}/a.png", "width": 64, "height": 48} for k, f in ((7, "x"), (9, "y"))]
    boxes = [
        {"id": k, "image_id": 7, "category_id": 3, "bbox": [4, 4, 70, 9], "area": 630, "iscrowd": k}
        for k in (0, 1)
    ]
    document = {"images": rows, "annotations": boxes, "categories": [{"id": 3, "name": "<b>&\nc"}]}
    write_coco(tmp_path / "x.json", document)
    dataset = CocoDataset(tmp_path / "x.json", tmp_path / "set")
    for to, crowds in (("coco", [False, True]), ("voc", [False, True]), ("yolo", [False])):
        found = open_folder(convert(dataset, to, tmp_path / to))
        assert found.files == ("a.png", "9-a.png") or found.files == ("9-a.png", "a.png")
        index = found.files.index("a.png")
        assert found.records[index].crowd.tolist() == crowds
        assert np.abs(found[index].boxes - [4, 4, 64, 13]).max() < 1e-5
        assert (found[index].image == pixels).all()
    with pytest.raises(UnknownNameError, match="coco, voc, yolo"):
        convert(dataset, "pickle", tmp_path / "p")


def test_shapes_are_the_same_every_time_and_boxes_are_exact():
    one, two = ShapesDataset(6, seed=4), ShapesDataset(6, seed=4)
    assert one.hash() == two.hash() != ShapesDataset(6, seed=5).hash()
    assert all((one[i].image == two[i].image).all() for i in range(6))
    assert (ShapesDataset(3, seed=4)[2].image == one[2].image).all()
    for index in range(6):
        sample = one[index]
        (left, top, right, bottom), image = sample.boxes[-1].astype(int), sample.image
        colour = image[bottom - 1, (left + right) // 2]  # the last shape lies on top and reaches its base
        rows, columns = np.nonzero((image == colour).all(axis=2))
        assert (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) == (left, top, right, bottom)
    for wrong in ((0, (160, 160)), (1, (16, 160))):
        with pytest.raises(UsageError):
            ShapesDataset(*wrong)


def test_statistics():
    shapes = ShapesDataset(9)
    found = statistics(shapes)
    every = np.concatenate([r.boxes for r in shapes.records])
    assert found["images"] == 9
    assert found["boxes"] == len(every) == sum(row["boxes"] for row in found["classes"])
    assert found["box_width"][3] == np.median(every[:, 2] - every[:, 0])
    assert sum(found["areas"].values()) == len(every)
    text = table(found)
    assert "triangle" in text
    assert f"{len(every)} boxes" in text


def test_statistics_of_nothing_and_of_hostile_names(tmp_path):
    category = {"id": 1, "name": "\x1b[31mred\n" + "x" * 99}
    write_coco(tmp_path / "x.json", {"images": [{"id": 1, "file_name": "a", "width": 9, "height": 9}],
                                     "annotations": [], "categories": [category]})  # fmt: skip
    text = table(statistics(CocoDataset(tmp_path / "x.json")))
    assert "\x1b" not in text
    assert "n/a" in text


@needs_data
def test_mnist():
    """The first labels of the test set, and counts and a sum that anybody can check."""
    test, train = Mnist.read(f"{DATA}/mnist", "test"), Mnist.read(f"{DATA}/mnist")
    assert (test.images.shape, train.images.shape) == ((10_000, 28, 28, 1), (60_000, 28, 28, 1))
    assert test.labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert np.bincount(train.labels).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert abs(train.images.mean() / 255 - 0.1307) < 1e-4
    with pytest.raises(UsageError):
        Mnist.read(DATA, "val")
    with pytest.raises(FileError):
        Mnist.read(DATA)


def test_idx_files_that_are_none(tmp_path):
    good = b"\0\0\x08\x02" + struct.pack(">II", 2, 3) + bytes(range(6))
    path = tmp_path / "x"
    for data in (good, gzip.compress(good)):
        path.write_bytes(data)
        assert read_idx(path).tolist() == [[0, 1, 2], [3, 4, 5]]
    bomb = gzip.compress(good + bytes(10_000_000))
    huge = b"\0\0\x08\x02" + struct.pack(">II", 2**31, 2**31)
    for data in (
        b"",
        good[:9],
        good[:-1],
        good + b"x",
        b"\0\0\x0d\x01" + good[4:],
        huge,
        gzip.compress(good)[:20],
        bomb,
    ):
        path.write_bytes(data)
        with pytest.raises(DataError):
            read_idx(path)


def test_open_folder_says_what_it_looks_for(tmp_path):
    with pytest.raises(FileError, match="no such folder"):
        open_folder(tmp_path / "none")
    with pytest.raises(FileError, match="VOC has Annotations"):
        open_folder(tmp_path)
