"""A pose network from data to weights: what is learned, and the trainer's promises."""

import json
from dataclasses import replace

import numpy as np
import pytest

from tests.engine.pose_made_up import PUPPET, PoseSet, TwoConvs
from visionkit.data.pose_transforms import PoseAugment
from visionkit.data.transforms import Colour
from visionkit.engine.data_trainer import DataSettings
from visionkit.engine.pose import pose_trainer
from visionkit.engine.pose_info import PoseInfo
from visionkit.engine.progress import Silent
from visionkit.engine.settings import Settings
from visionkit.errors import DataError, FileError, UsageError
from visionkit.kernels import jit
from visionkit.weights import safetensors

INFO = PoseInfo("stub", PUPPET, input_size=(64, 96), stride=4, focus=1.0)


@pytest.fixture(scope="module")
def sets():
    """Pictures to train on and to validate with."""
    rng = np.random.default_rng(5)
    return PoseSet(12, rng), PoseSet(4, rng)


def trainer(sets, folder, epochs=2, info=INFO, stages=2, settings=None, **data):
    network = TwoConvs(info.channels, stages=stages)
    settings = settings or Settings(epochs, lr=1e-2, warmup=2)
    return pose_trainer(network, info, *sets, folder, settings, DataSettings(batch=4, **data))


@pytest.fixture(scope="module")
def trained(sets, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    trainer(sets, folder).fit()
    return folder


def test_a_run_learns_and_its_weights_say_what_they_are(sets, tmp_path):
    """Two convolutions and many steps: the losses fall below those of saying nothing."""
    still = PoseAugment(PUPPET, (1.0, 1.0), 0.0, 0.0, 0.0, Colour(p=0))
    settings = Settings(40, lr=3e-2, warmup=2, evaluate_every=40)
    run = trainer(sets, tmp_path, settings=settings, stages=1, augment=still)
    nothing = [np.zeros((4, 16, 24, c), np.float32) for c in INFO.channels]
    blank = [run.criterion.value_and_gradients(nothing, batch)[0] for batch in run.loader.batches(0)]
    last = run.fit().rows[-1]
    assert last["loss/heat_1"] < 0.75 * np.mean([losses["heat_1"] for losses in blank])
    assert last["loss/fields_1"] < np.mean([losses["fields_1"] for losses in blank])
    tensors, metadata = safetensors.read(tmp_path / "last.safetensors")
    info = PoseInfo.from_metadata(metadata)
    assert replace(info, training={}) == INFO
    assert info.training["epochs"] == 40
    assert info.training["metrics"]["AP"] == last["AP"]
    assert "pose" not in info.training
    assert {"AP", "AP50", "APl", "AR", "train/AP", "train/AP50"} <= set(last)
    assert tensors["first.weight"].shape[0] == 16


def test_resumed_training_gives_the_same_bits(trained, sets, tmp_path):
    run = trainer(sets, tmp_path, workers=0)
    batches = run.loader.batches

    def cut(epoch, start=0):
        for batch in batches(epoch, start):
            if (epoch, batch.step) == (1, 1):
                raise FileError("the picture is gone", file="x.png")
            yield batch

    run.loader.batches = cut
    with pytest.raises(FileError):
        run.fit()
    trainer(sets, tmp_path, workers=2).fit(resume=True)
    for name in ("best.safetensors", "last.safetensors", "metrics.csv"):
        assert (tmp_path / name).read_bytes() == (trained / name).read_bytes(), name


def test_one_thread_gives_the_same_bits(trained, sets, tmp_path):
    if jit.threads() < 2:
        pytest.skip("one thread only: nothing to compare")
    jit.set_threads(1)
    trainer(sets, tmp_path, workers=3).fit()
    for name in ("best.safetensors", "last.safetensors", "metrics.csv"):
        assert (tmp_path / name).read_bytes() == (trained / name).read_bytes(), name


def test_other_data_points_and_recipes_are_refused_at_resume(trained, sets, tmp_path):
    trainer(sets, tmp_path, epochs=1).fit()
    with pytest.raises(UsageError, match=r"data\.validation was"):
        trainer((sets[0], sets[0]), tmp_path, epochs=1).fit(resume=True)
    with pytest.raises(UsageError, match=r"pose\.loss was"):
        trainer(sets, tmp_path, epochs=1, info=replace(INFO, focus=2.0)).fit(resume=True)
    with pytest.raises(UsageError, match=r"batches\.augment was"):
        trainer(sets, tmp_path, epochs=1, augment=PoseAugment(PUPPET, flip=0.0)).fit(resume=True)


ONE = replace(INFO, people="one", input_size=(64, 48))


def test_networks_of_one_person_learn_from_crops(sets, tmp_path):
    """A step sees people, not pictures; the scores are those of crops, of training pictures too."""
    run = trainer(sets, tmp_path / "run", info=ONE)
    people = sum((record.keypoints[..., 2] > 0).any(axis=1).sum() for record in sets[0].records)
    assert len(run.loader) == people // 4 > 3
    batch = next(run.loader.batches(0))
    assert batch.images.shape == (4, 64, 48, 3)
    assert [len(points) for points in batch.keypoints] == [1] * 4
    rows = run.fit().rows
    assert {"loss/heat_1", "loss/heat_2", "AP", "train/AP"} <= set(rows[-1])
    assert "loss/fields_1" not in rows[-1]
    again = trainer(sets, tmp_path / "again", info=ONE, workers=0)
    again.fit()
    for name in ("last.safetensors", "metrics.csv"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


@pytest.mark.parametrize("info", [INFO, ONE], ids=["many", "one"])
def test_damaged_pictures_are_left_out_and_listed(info, tmp_path):
    rng = np.random.default_rng(5)
    train, validation = PoseSet(12, rng), PoseSet(4, rng)
    train.damaged, validation.damaged = {train.files[1]}, {validation.files[2]}
    with pytest.raises(DataError, match="damaged"):
        trainer((train, validation), tmp_path / "strict", epochs=1, info=info).fit()
    trainer((train, validation), tmp_path / "run", info=info, skip_bad=True).fit()
    for part, dataset, bad in (("train", train, 1), ("val", validation, 2)):
        report = json.loads((tmp_path / "run" / f"problems-{part}.json").read_text())
        assert [problem["place"] for problem in report["problems"]] == [dataset.files[bad]]


def test_what_the_network_is_not_for_is_refused(sets, tmp_path):
    other = replace(PUPPET, keypoints=("head", "left_paw", "right_paw", "left_foot", "right_foot"))
    with pytest.raises(DataError, match="other points than the network"):
        trainer(sets, tmp_path, info=replace(INFO, skeleton=other))
    nobody = PoseSet(4, np.random.default_rng(0))
    for record in nobody.records:
        record.keypoints[...] = 0
    with pytest.raises(DataError, match="no labelled keypoint"):
        trainer((nobody, sets[1]), tmp_path)


def test_doubts_about_the_ceiling_are_told(sets, tmp_path):
    told = []
    listener = Silent()
    listener.message = told.append
    settings, data = Settings(1), DataSettings(batch=4)
    network = TwoConvs(INFO.channels)
    pose_trainer(network, INFO, *sets, tmp_path, settings, data, progress=listener)
    assert "warning: a perfect network would reach AP" in told[0]
    tiny = replace(INFO, input_size=(32, 32), stride=16)
    with pytest.raises(DataError, match="training cannot succeed"):
        pose_trainer(TwoConvs(tiny.channels), tiny, *sets, tmp_path, settings, data)
    pose_trainer(TwoConvs(tiny.channels), tiny, *sets, tmp_path, settings, data, check=False)
