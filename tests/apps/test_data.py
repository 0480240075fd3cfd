"""`visionkit data`: check, stats, convert, split, anchors, show."""

import json

import numpy as np
import pytest


@pytest.fixture
def flags(shapes):
    """The flags of the training pictures."""
    return ("--json-annotations", shapes / "train" / "train.json", "--images", shapes / "train" / "images")


@pytest.fixture
def damaged(shapes, tmp_path):
    """An annotation file with 21 boxes of negative width, and one of no width."""
    document = json.loads((shapes / "train" / "train.json").read_text())
    for row in document["annotations"][:21]:
        row["bbox"][2] = -1
    document["annotations"][21]["bbox"][2] = 0
    path = tmp_path / "damaged.json"
    path.write_text(json.dumps(document))
    return path


def test_a_sound_set_is_ok(visionkit, flags):
    ran = visionkit("data", "check", *flags)
    assert ran.code == 0
    assert "16 images" in ran.out
    assert ran.last == "ok"


def test_a_damaged_set_is_refused_with_every_finding(visionkit, damaged, shapes, tmp_path):
    images = ("--images", shapes / "train" / "images")
    given = ("--json-annotations", damaged, *images)
    ran = visionkit("data", "check", *given, "--problems", tmp_path / "p.json")
    assert ran.code == 3
    assert "21 negative-box (error)" in ran.out
    assert "and 1 more" in ran.out
    assert ran.last == "refused"
    report = json.loads((tmp_path / "p.json").read_text())
    assert report["counts"] == {"negative-box": 21, "zero-box": 1}
    facts = json.loads(visionkit("data", "check", *given, "--json").out)
    assert facts["ok"] is False
    assert len(facts["problems"]) == 22


def test_skip_bad_leaves_out_and_counts(visionkit, damaged, shapes):
    images = ("--images", shapes / "train" / "images")
    ran = visionkit("data", "check", "--json-annotations", damaged, *images, "--skip-bad")
    assert ran.code == 0
    assert "21 negative-box (dropped)" in ran.out


def test_missing_pictures_are_found(visionkit, flags, tmp_path):
    (tmp_path / "empty").mkdir()
    ran = visionkit("data", "check", *flags[:2], "--images", tmp_path / "empty")
    assert ran.code == 3
    assert "16 picture-missing (error)" in ran.out


def test_the_oracle_tells_what_no_training_can_find(visionkit, flags, tmp_path):
    """A box that is there twice is found once: the other one is named as lost, with the cause."""
    oracle = ("--oracle", "--size", "256", "--json")
    ran = visionkit("data", "check", *flags, *oracle)
    facts = json.loads(ran.out)["oracle"]
    assert facts["AP50"] > 0.5
    assert ran.code == int(facts["AP50"] < 0.9)
    document = json.loads(flags[1].read_text())
    rows = document["annotations"]
    document["annotations"] = rows + [{**row, "id": row["id"] + len(rows)} for row in rows]
    (tmp_path / "twice.json").write_text(json.dumps(document))
    twice = visionkit("data", "check", "--json-annotations", tmp_path / "twice.json", *oracle)
    found = json.loads(twice.out)["oracle"]
    assert found["AP50"] < 0.6
    assert twice.code == 1


def test_stats_count_what_is_there(visionkit, flags):
    document = json.loads(flags[1].read_text())
    ran = visionkit("data", "stats", *flags[:2], "--json")
    assert json.loads(ran.out)["boxes"] == len(document["annotations"])
    assert "16 images" in visionkit("data", "stats", *flags[:2]).out


@pytest.mark.parametrize("layout", ["coco", "voc", "yolo"])
def test_convert_keeps_every_box(visionkit, flags, tmp_path, layout):
    ran = visionkit("data", "convert", *flags, "--to", layout, "--out", tmp_path / layout)
    assert ran.code == 0
    assert ran.last == str(tmp_path / layout)
    before = json.loads(visionkit("data", "stats", *flags[:2], "--json").out)
    after = json.loads(visionkit("data", "stats", "--data", tmp_path / layout, "--json").out)
    assert after["boxes"] == before["boxes"]
    assert np.allclose(after["box_width"], before["box_width"], atol=1e-3)
    again = visionkit("data", "convert", *flags, "--to", layout, "--out", tmp_path / layout)
    assert again.code == 5
    assert "not empty" in again.err


def test_split_is_a_partition_and_repeats(visionkit, flags, tmp_path):
    for name in ("one", "two"):
        assert visionkit("data", "split", *flags[:2], "--val", "0.25", "--out", tmp_path / name).code == 0
    parts = {name: json.loads((tmp_path / "one" / f"{name}.json").read_text()) for name in ("train", "val")}
    ids = {name: {row["id"] for row in part["images"]} for name, part in parts.items()}
    assert len(ids["val"]) == 4
    assert len(ids["train"] | ids["val"]) == 16
    assert (tmp_path / "one" / "val.json").read_bytes() == (tmp_path / "two" / "val.json").read_bytes()
    assert visionkit("data", "split", *flags[:2], "--out", tmp_path / "one").code == 3


def test_anchors_fit_better_when_there_are_more(visionkit, flags):
    fits = []
    for count in (1, 4, 9):
        facts = json.loads(visionkit("data", "anchors", *flags[:2], "--count", count, "--json").out)
        assert len(facts["anchors"]) == count
        fits.append(facts["mean_best_iou"])
    assert fits == sorted(fits)
    assert visionkit("data", "anchors", *flags[:2], "--balanced").code == 0


def test_show_draws_as_many_as_asked_for(visionkit, flags, tmp_path):
    ran = visionkit("data", "show", *flags, "--count", "3", "--out", tmp_path / "shown")
    assert ran.code == 0
    assert ran.last == str(tmp_path / "shown")
    assert len(list((tmp_path / "shown").glob("*.jpg"))) == 3


def test_published_sets_are_read(visionkit, real_data):
    """BCCD holds two boxes without area, one of them in the training part (spec of the data set)."""
    facts = json.loads(visionkit("data", "check", "--data", real_data / "bccd", "--json").out)
    assert facts["ok"] is True
    assert facts["images"] == 205
    assert facts["counts"] == {"zero-box": 1}
