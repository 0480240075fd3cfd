"""`visionkit train`, `eval`, `weights`, `bench` and `warmup`, on a set that is learned from in seconds."""

import csv
import json
import shutil
import tomllib

import pytest

from visionkit.kernels import dot
from visionkit.kernels.narrow import BFLOAT16


@pytest.fixture(scope="module")
def flags(shapes):
    """The flags of both parts."""
    parts = {name: shapes / name for name in ("train", "val")}
    return [
        word for name, folder in parts.items()
        for word in (f"--{name}-json", folder / f"{name}.json", f"--{name}-images", folder / "images")
    ]  # fmt: skip


@pytest.fixture
def trained(visionkit, flags, tmp_path):
    """A run of two short epochs."""
    ran = visionkit(
        "train", *flags, "--size", "64", "--epochs", "2", "--batch", "8", "--out", tmp_path / "run"
    )
    assert ran.code == 0, ran.err
    assert ran.last == str(tmp_path / "run")
    return tmp_path / "run"


def test_a_run_ends_in_weights_that_detect_and_score(visionkit, trained, shapes):
    names = {path.name for path in trained.iterdir()}
    assert {
        "last.safetensors",
        "checkpoints",
        "config.toml",
        "metrics.csv",
        "log.jsonl",
        "timing.jsonl",
    } <= names
    rows = list(csv.DictReader((trained / "metrics.csv").read_text().splitlines()))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert all(0 <= float(row[name]) <= 1 for row in rows for name in ("train/AP", "train/AP50"))
    val = ("--json-annotations", shapes / "val" / "val.json", "--images", shapes / "val" / "images")
    ran = visionkit("eval", "--weights", trained / "last.safetensors", *val, "--json")
    assert ran.code == 0
    assert "disc -> 1, square -> 2, triangle -> 3" in ran.err
    scores = json.loads(ran.out)
    # the run's own evaluation and this one are the same numbers
    assert scores["AP"] == pytest.approx(float(rows[-1]["AP"]), abs=1e-9)
    assert {"AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100"} <= set(scores)


def test_a_finished_run_resumes_to_the_same(visionkit, trained, flags):
    before = (trained / "last.safetensors").read_bytes(), (trained / "metrics.csv").read_bytes()
    assert visionkit("train", "--resume", trained).code == 0
    assert ((trained / "last.safetensors").read_bytes(), (trained / "metrics.csv").read_bytes()) == before
    changed = visionkit("train", "--resume", trained, "--epochs", "3")
    assert changed.code == 2
    assert "epochs was 2, now 3" in changed.err
    again = visionkit("train", *flags, "--size", "64", "--epochs", "2", "--batch", "8", "--out", trained)
    assert again.code == 2
    assert "holds a run already" in again.err
    assert visionkit("train", "--resume", trained, "--out", trained).code == 2


def test_a_run_in_bfloat16_goes_on_in_bfloat16(visionkit, flags, trained, tmp_path):
    if lacking := dot.missing(BFLOAT16):
        refused = visionkit("train", *flags, "--precision", "bfloat16", "--out", tmp_path / "narrow")
        assert refused.code == 2
        assert lacking in refused.err
        return
    words = ("--size", "64", "--epochs", "2", "--batch", "8", "--precision", "bfloat16")
    assert visionkit("train", *flags, *words, "--out", tmp_path / "narrow").code == 0
    ended = (tmp_path / "narrow/last.safetensors").read_bytes()
    assert ended != (trained / "last.safetensors").read_bytes()
    assert visionkit("train", "--resume", tmp_path / "narrow").code == 0
    assert (tmp_path / "narrow/last.safetensors").read_bytes() == ended
    changed = visionkit("train", "--resume", tmp_path / "narrow", "--precision", "float32")
    assert changed.code == 2
    assert "precision was bfloat16, now float32" in changed.err


def test_training_scores_can_be_left_out(visionkit, flags, trained, tmp_path):
    """One column fewer and not one bit of the weights."""
    words = ("--size", "64", "--epochs", "2", "--batch", "8", "--no-train-ap")
    assert visionkit("train", *flags, *words, "--out", tmp_path / "bare").code == 0
    full, bare = (
        list(csv.DictReader((folder / "metrics.csv").read_text().splitlines()))
        for folder in (trained, tmp_path / "bare")
    )
    assert set(full[0]) - set(bare[0]) == {"train/AP", "train/AP50"}
    assert [{k: v for k, v in row.items() if not k.startswith("train/")} for row in full] == bare
    assert visionkit("train", "--resume", tmp_path / "bare").code == 0
    assert visionkit("train", "--resume", trained, "--no-train-ap").code == 2


def test_the_configuration_is_written_down(trained, shapes):
    config = tomllib.loads((trained / "config.toml").read_text())
    assert config["arguments"]["size"] == [64, 64]
    assert config["arguments"]["train_json"] == str(shapes / "train" / "train.json")
    assert config["settings"]["epochs"] == 2


def test_training_goes_on_from_weights_and_freezes(visionkit, flags, weights, tmp_path):
    more = ("--weights", weights, "--freeze", "backbone.*", "--epochs", "1", "--batch", "8", "--seed", "5")
    ran = visionkit("train", *flags, *more, "--out", tmp_path / "tuned")
    assert ran.code == 0, ran.err
    assert "tensors taken over" in ran.err
    from visionkit.weights.safetensors import read

    start, end = read(weights)[0], read(tmp_path / "tuned" / "last.safetensors")[0]
    changed = {name.split(".")[0] for name in start if (start[name] != end[name]).any()}
    assert changed == {"neck", "head"}


@pytest.mark.parametrize(
    ("extra", "code", "word"),
    [
        (["--model", "yolo-nan"], 2, "yolo-nano"),
        (["--weights", "nothing.safetensors"], 5, "nothing.safetensors"),
        (["--model", "yolo-nano", "--weights", "w"], 2, "exclude"),
        (["--batch", "17"], 2, "--batch"),
        (["--freeze", "spine.*"], 2, "spine"),
    ],
)
def test_training_that_cannot_begin_says_why(visionkit, flags, tmp_path, extra, code, word):
    ran = visionkit("train", *flags, "--size", "64", "--epochs", "1", *extra, "--out", tmp_path / "run")
    assert ran.code == code
    assert word in ran.err
    assert not (tmp_path / "run" / "last.safetensors").exists()


def test_there_is_nothing_to_resume(visionkit, tmp_path):
    assert visionkit("train", "--resume", tmp_path).code == 5
    (tmp_path / "config.toml").write_text("[arguments\n")
    assert visionkit("train", "--resume", tmp_path).code == 3


def test_detections_are_scored_without_a_network(visionkit, shapes, tmp_path):
    truth = json.loads((shapes / "val" / "val.json").read_text())
    perfect = [
        {**{key: row[key] for key in ("image_id", "category_id", "bbox")}, "score": 1 - 0.001 * row["id"]}
        for row in truth["annotations"]
    ]
    path = tmp_path / "detections.json"
    path.write_text(json.dumps(perfect))
    flags = ("--detections", path, "--json-annotations", shapes / "val" / "val.json")
    ran = visionkit("eval", *flags, "--json", "--min-ap", "0.99", "--report", tmp_path / "report")
    assert ran.code == 0
    assert json.loads(ran.out)["AP"] == pytest.approx(1)
    names = {path.name for path in (tmp_path / "report").iterdir()}
    assert names == {"scores.json", "detections.json", "precision_recall.png"}
    path.write_text(json.dumps(perfect[:2]))
    low = visionkit("eval", *flags, "--min-ap", "0.99")
    assert low.code == 1
    assert "below --min-ap 0.99" in low.err
    path.write_text('[{"image_id": 1}]')
    bad = visionkit("eval", *flags)
    assert bad.code == 3
    assert "detections.json" in bad.err


def test_weights_tell_what_they_are(visionkit, weights):
    facts = json.loads(visionkit("weights", "info", weights, "--json").out)
    assert facts["architecture"] == "yolo-nano"
    assert facts["parameters"] == 1_353_016
    assert [one["name"] for one in facts["classes"]] == ["disc", "square", "triangle"]
    assert "1,353,016" in visionkit("weights", "info", weights).out


def test_bench_and_warmup_run(visionkit, weights):
    ran = visionkit("bench", "--weights", weights, "--runs", "2", "--json")
    assert ran.code == 0, ran.err
    facts = json.loads(ran.out)
    assert all(row["size"] == "64x64" and row["weights"] == str(weights) for row in facts["rows"])
    assert facts["rows"][0]["threads"] == 1
    for row in facts["rows"]:
        parts = [row[name] for name in ("preprocess", "network", "postprocess")]
        assert all(0 < one["best"] <= one["median"] <= one["p95"] for one in parts)
        assert row["together"]["best"] >= sum(one["best"] for one in parts) * 0.999
    kernels = json.loads(visionkit("bench", "kernels", "--runs", "1", "--json").out)
    assert all(row["gflops"] > 0 for row in kernels["convolutions"])
    assert "is ready" in visionkit("warmup", "--weights", weights).out


def test_bench_has_a_row_for_each_size_and_thread_count(visionkit, weights):
    ran = visionkit("bench", "--weights", weights, "--size", "64,32x96", "--threads", "1,2", "--runs", "1")
    assert ran.code == 0, ran.err
    rows = [line.split()[-8:-6] for line in ran.out.splitlines()[3:]]
    assert rows == [["64x64", "1"], ["64x64", "2"], ["32x96", "1"], ["32x96", "2"]]
    assert visionkit("bench", "--weights", weights, "--size", "64,33").code == 2
    assert visionkit("bench", "kernels", "--threads", "1,2").code == 2
    assert visionkit("bench", "--lanes", "8").code == 2


def test_bench_proposes_the_largest_that_keeps_up(visionkit, weights):
    easy = ("--weights", weights, "--size", "32,96,64", "--threads", "1", "--runs", "1", "--json")
    ran = visionkit("bench", *easy, "--rate", "0.001")
    assert ran.code == 0, ran.err
    facts = json.loads(ran.out)
    assert [row["size"] for row in facts["rows"]] == ["96x96"]  # the largest is tried first, and is enough
    assert facts["proposal"] == facts["rows"][0]
    none = visionkit("bench", *easy, "--rate", "1000000")
    assert none.code == 1
    facts = json.loads(none.out)
    assert [row["size"] for row in facts["rows"]] == ["96x96", "64x64", "32x32"]
    assert facts["proposal"] is None


def damaged_copy(folder, to, name, header, inside):
    """A part of the shapes with one picture that is none and one that ends early; returns its flags."""
    shutil.copytree(folder, to)
    (to / "images" / header).write_bytes(b"damaged")
    cut = to / "images" / inside
    cut.write_bytes(cut.read_bytes()[:-400])
    return [f"--{name}-json", to / f"{name}.json", f"--{name}-images", to / "images"]


def test_training_pictures_that_are_skipped_are_counted(visionkit, flags, shapes, tmp_path):
    bad = ("shapes-000003.png", "shapes-000005.png")
    given = damaged_copy(shapes / "train", tmp_path / "train", "train", *bad)
    how = ("--size", "64", "--epochs", "1", "--batch", "5")
    refused = visionkit("train", *given, *flags[4:], *how, "--out", tmp_path / "run")
    assert refused.code == 3
    assert bad[0] in refused.err
    ran = visionkit("train", *given, *flags[4:], *how, "--skip-bad", "--out", tmp_path / "run")
    assert ran.code == 0, ran.err
    assert "trained on 14 of 16 images" in ran.out
    assert "scored on" not in ran.out
    report = json.loads((tmp_path / "run" / "problems-train.json").read_text())
    assert report["counts"] == {"picture": 2}
    assert [name in problem["place"] for name, problem in zip(bad, report["problems"], strict=True)] == [
        True
    ] * 2
    assert not (tmp_path / "run" / "problems-val.json").exists()


def without(document, files):
    """A COCO document without some pictures and their objects."""
    left_out = {image["id"] for image in document["images"] if image["file_name"] in files}
    images = [image for image in document["images"] if image["id"] not in left_out]
    annotations = [a for a in document["annotations"] if a["image_id"] not in left_out]
    return document | {"images": images, "annotations": annotations}


def test_validation_pictures_that_are_skipped_count_nowhere(visionkit, flags, shapes, weights, tmp_path):
    """The same numbers, to the last digit, as if they had never been listed; in training and in eval."""
    bad = ("shapes-000001.png", "shapes-000002.png")
    given = damaged_copy(shapes / "val", tmp_path / "val", "val", *bad)
    clean = tmp_path / "clean.json"
    clean.write_text(json.dumps(without(json.loads(given[1].read_text()), bad)))
    how = ("--size", "64", "--epochs", "2", "--batch", "8", "--no-train-ap")
    refused = visionkit("train", *flags[:4], *given, *how, "--out", tmp_path / "refused")
    assert refused.code == 3
    (tmp_path / "val" / "images" / bad[0]).unlink()
    ran = visionkit("train", *flags[:4], *given, *how, "--skip-bad", "--out", tmp_path / "run")
    assert ran.code == 0, ran.err
    assert "scored on 2 of 4 images" in ran.out
    assert "trained on" not in ran.out
    report = json.loads((tmp_path / "run" / "problems-val.json").read_text())
    assert report["counts"] == {"picture-missing": 1, "picture": 1}
    assert {problem["severity"] for problem in report["problems"]} == {"dropped"}
    assert bad[1] in report["problems"][1]["place"]

    images = ("--val-images", given[3])
    visionkit("train", *flags[:4], "--val-json", clean, *images, *how, "--out", tmp_path / "clean")
    metrics = [(tmp_path / run / "metrics.csv").read_text() for run in ("run", "clean")]
    assert metrics[0] == metrics[1]

    sources = [("--json-annotations", truth, "--images", given[3], "--json") for truth in (given[1], clean)]
    assert visionkit("eval", "--weights", weights, *sources[0]).code == 3
    skipped, whole = (visionkit("eval", "--weights", weights, *one, "--skip-bad") for one in sources)
    found, expected = json.loads(skipped.out), json.loads(whole.out)
    assert "cannot be read: 1" in found.pop("notes")[-1]
    expected.pop("notes")
    assert found == expected
    assert found["images"] == 2
