"""Every J row of the torture list, as a table; inputs stay untouched."""

import hashlib
import json
import os
import random

import numpy as np
import pytest
from PIL import Image

from tests.datasets import torture_points
from tests.datasets.torture_coco import CASES, OK, Case, document
from visionkit.data import strict_json
from visionkit.datasets.coco import CocoDataset, repair, write_coco
from visionkit.datasets.coco_shapes import compressed_counts
from visionkit.datasets.split import merge, split
from visionkit.errors import DataError, FileError, UsageError, VisionKitError


@pytest.fixture
def place(tmp_path):
    """A folder with the pictures of `document`, and one outside that a link leads to."""
    images = tmp_path / "set" / "images"
    images.mkdir(parents=True)
    Image.new("RGB", (64, 48), "red").save(images / "a.png")
    Image.new("RGB", (48, 64), "blue").save(images / "b.png")
    Image.new("RGB", (64, 48), "green").save(tmp_path / "secret.png")
    (images / "out.png").symlink_to(tmp_path / "secret.png")
    return tmp_path / "set"


def state(folder):
    """Content, mode and modification time of every file."""
    return {
        path: (path.stat().st_mode, path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).digest())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize(
    "case", [*CASES, *torture_points.CASES], ids=lambda case: f"{case.row}-{case.name}".replace(" ", "_")
)
def test_row(case: Case, place):
    (place / "x.json").write_bytes(case.build())
    before = state(place)
    if case.code != OK:
        with pytest.raises(VisionKitError) as caught:
            CocoDataset(place / "x.json", place / "images", **case.options)
        text = str(caught.value)
        assert caught.value.exit_code == case.code
        assert [part for part in ("x.json", *case.parts) if part not in text] == []
        assert len(text) < 2000
        assert all(c.isprintable() or c == "\n" for c in text)
    else:
        dataset = CocoDataset(place / "x.json", place / "images", **case.options)
        assert dataset.problems.counts() == case.kinds
        assert sum(len(record.boxes) for record in dataset.records) == case.boxes
        for index in range(len(dataset)):
            sample = dataset[index]
            height, width = sample.size
            assert (sample.boxes >= 0).all()
            assert (sample.boxes <= [width, height, width, height]).all()
    assert state(place) == before


def test_errors_are_collected_and_reported_in_full(place):
    doc = document()
    doc["annotations"] = [dict(doc["annotations"][0], id=i, bbox=[1, 1, -1, 1]) for i in range(30)]
    doc["annotations"].append(dict(doc["annotations"][0], id=99, image_id=7))
    write_coco(place / "x.json", doc)
    with pytest.raises(DataError) as caught:
        CocoDataset(place / "x.json", place / "images")
    text = str(caught.value)
    assert "31 problems (30 negative-box, 1 unknown-image)" in text
    assert "annotations[19] (id 19).bbox" in text
    assert "annotations[20]" not in text
    assert "and 11 more" in text
    dataset = CocoDataset(place / "x.json", place / "images", skip_bad=True)
    dataset.problems.report(place / "report.json")
    report = json.loads((place / "report.json").read_text())
    assert report["counts"] == {"negative-box": 30, "unknown-image": 1}
    assert len(report["problems"]) == 31
    assert report["problems"][30]["place"] == "annotations[30] (id 99).image_id"


def test_no_boxes_cannot_train(place):
    doc = document() | {"annotations": []}
    write_coco(place / "x.json", doc)
    dataset = CocoDataset(place / "x.json", place / "images")
    with pytest.raises(DataError, match="no boxes"):
        dataset.require_boxes()


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_exif_orientation_by_the_size_the_annotations_give(place, orientation):
    """J45 and the policy of the specification, 3.5."""
    pixels = np.zeros((48, 64, 3), np.uint8)
    pixels[:24, :32] = 255
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(pixels).save(place / "images" / "a.png", exif=exif)
    doc = document()
    turned = np.rot90(pixels, {3: 2, 6: -1, 8: 1}[orientation])
    doc["images"][0] |= {"height": turned.shape[0], "width": turned.shape[1]}
    write_coco(place / "x.json", doc)
    assert (CocoDataset(place / "x.json", place / "images")[0].image == turned).all()
    if orientation > 4:
        write_coco(place / "y.json", document())
        assert (CocoDataset(place / "y.json", place / "images")[0].image == pixels).all()
        doc["images"][0]["width"] = 50
        write_coco(place / "z.json", doc)
        with pytest.raises(DataError, match=f"48x64 \\(EXIF orientation {orientation}\\)"):
            CocoDataset(place / "z.json", place / "images")


def test_unreadable_files_are_input_errors(place):
    """J55."""
    os.mkfifo(place / "pipe")
    (place / "loop").symlink_to(place / "loop")
    for name in ("images", "pipe", "loop", "missing.json", "nul\0"):
        with pytest.raises(FileError):
            CocoDataset(place / name)
    with pytest.raises(FileError):
        CocoDataset("/dev/zero")


def test_size_limit(place):
    """J54."""
    write_coco(place / "x.json", document())
    with pytest.raises(FileError, match="limit of 100"):
        strict_json.read_json(place / "x.json", limit=100)


def test_a_file_that_changes_while_it_is_read(place, monkeypatch):
    """J56."""
    path = place / "x.json"
    write_coco(path, document())
    real = strict_json.read_bytes

    def read(*args, **kwargs):
        data = real(*args, **kwargs)
        path.write_bytes(data + b" ")
        return data

    monkeypatch.setattr(strict_json, "read_bytes", read)
    assert CocoDataset(path, place / "images").problems.counts() == {"changed": 1}


def test_repair_renumbers_into_a_new_file(place):
    """J06."""
    doc = document()
    doc["annotations"][1]["id"] = 11
    write_coco(place / "x.json", doc)
    before = state(place)
    assert repair(place / "x.json", place / "y.json") == 2
    assert state(place)[place / "x.json"] == before[place / "x.json"]
    assert [r["id"] for r in CocoDataset(place / "y.json").to_coco()["annotations"]] == [1, 2]
    with pytest.raises(FileError, match="exists already"):
        repair(place / "x.json", place / "y.json")


def larger(count=12, seed=3):
    """A document of many pictures with extra keys."""
    rng = random.Random(seed)
    doc = {"info": {"year": 2014}, "images": [], "annotations": [], "categories": document()["categories"]}
    for i in range(count):
        doc["images"].append({"id": 100 + i, "file_name": f"{i}.png", "width": 90, "height": 70, "by": "me"})
        for _ in range(rng.randrange(4)):
            box = [rng.uniform(0, 40), rng.uniform(0, 30), rng.uniform(1, 40), rng.uniform(1, 30)]
            row = {"id": 1000 + len(doc["annotations"]), "image_id": 100 + i, "bbox": box}
            row |= {"category_id": rng.choice([1, 5]), "area": box[2] * box[3], "iscrowd": rng.randrange(2)}
            doc["annotations"].append(row | {"keypoints": [3, 4, 2], "num_keypoints": 1})
    return doc


def test_load_save_load_is_the_identity(tmp_path):
    write_coco(tmp_path / "a.json", larger())
    one = CocoDataset(tmp_path / "a.json")
    assert one.to_coco() == larger()
    write_coco(tmp_path / "b.json", one.to_coco())
    assert (tmp_path / "b.json").read_bytes() == (tmp_path / "a.json").read_bytes()
    assert CocoDataset(tmp_path / "b.json").hash() == one.hash()


def test_order_of_rows_does_not_matter(tmp_path):
    write_coco(tmp_path / "a.json", larger())
    one = CocoDataset(tmp_path / "a.json")
    by_id = {record.image_id: record for record in one.records}
    shuffled = larger()
    for kind in ("images", "annotations", "categories"):
        random.Random(0).shuffle(shuffled[kind])
    write_coco(tmp_path / "b.json", shuffled)
    two = CocoDataset(tmp_path / "b.json")
    assert (two.names, two.category_ids) == (one.names, one.category_ids) == (("cat", "dog"), (1, 5))
    for record in two.records:
        same = by_id[record.image_id]
        order, other = np.lexsort(record.boxes.T), np.lexsort(same.boxes.T)
        assert (record.boxes[order] == same.boxes[other]).all()
        assert (record.class_id[order] == same.class_id[other]).all()


def test_merge_of_split_is_the_whole():
    whole = larger(40)
    parts = split(whole, {"train": 0.7, "val": 0.2, "test": 0.1}, seed=5)
    assert [len(part["images"]) for part in parts.values()] == [28, 8, 4]
    assert merge(parts.values()) == whole
    assert parts == split(whole, {"train": 0.7, "val": 0.2, "test": 0.1}, seed=5)
    assert parts != split(whole, {"train": 0.7, "val": 0.2, "test": 0.1}, seed=6)
    turned = whole | {"images": whole["images"][::-1]}
    names = {row["file_name"] for row in split(turned, {"a": 0.5, "b": 0.5})["a"]["images"]}
    assert names == {row["file_name"] for row in split(whole, {"a": 0.5, "b": 0.5})["a"]["images"]}


def test_split_and_merge_refuse_nonsense():
    for parts in ({"a": 0.5}, {"a": 1.5, "b": -0.5}, {"a": 0.999, "b": 0.001}):
        with pytest.raises(UsageError):
            split(larger(), parts)
    with pytest.raises(DataError, match="twice"):
        merge([larger(), larger()])
    with pytest.raises(DataError, match="categories"):
        merge([larger(), larger() | {"categories": []}])


def test_compressed_run_lengths_agree_with_pycocotools():
    mask = pytest.importorskip("pycocotools.mask")
    rng = np.random.default_rng(0)
    for density in (0.01, 0.3, 0.9):
        picture = np.asfortranarray(rng.random((37, 53)) < density, np.uint8)
        coded = mask.encode(picture)
        counts = compressed_counts(coded["counts"].decode())
        assert sum(counts) == picture.size
        values = np.repeat(np.arange(len(counts)) % 2, counts)
        assert (values == picture.flatten(order="F")).all()
