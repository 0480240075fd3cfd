"""The loss and the scores of landmarks: naive loops, the tape against differences, crops of drawn faces."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from visionkit.data.dataset import DetectionDataset, Record
from visionkit.data.person_crops import PersonCrops
from visionkit.data.problems import Problems
from visionkit.engine.landmarks import LandmarkCriterion, LandmarkValidation, run
from visionkit.models.landmarks import LandmarkNet
from visionkit.tensor import Tensor
from visionkit.vision.skeleton import Skeleton

EYES = Skeleton("face", ("left_eye_outer", "right_eye_outer", "nose"), ())


@dataclass
class Faces:
    images: np.ndarray
    keypoints: list


def faces(rng, count=3, side=40):
    """Points in pixels, eyes 8 to 24 pixels apart; one face has an unlabelled nose, one no label at all."""
    points = np.ones((count, 1, 3, 3))
    points[..., :2] = rng.uniform(10, 30, (count, 1, 3, 2))
    points[:, 0, 0, 0], points[:, 0, 1, 0] = 8, 8 + np.linspace(8, 24, count)
    points[0, 0, 2] = 0
    points[-1, 0] = 0
    return Faces(np.zeros((count, side, side, 3), np.uint8), list(points))


def naive(found, batch, weighted, least):
    """FLM-05, point by point, in parts of the crop."""
    total, count = 0.0, 0
    for given, (face,) in zip(found, batch.keypoints, strict=True):
        side = batch.images.shape[1]
        eyes = np.hypot(*(face[0, :2] - face[1, :2])) / side
        labelled = face[0, 2] > 0 and face[1, 2] > 0
        for k, (x, y, v) in enumerate(face):
            if v > 0:
                count += 1
                distance = (given[2 * k] - x / side) ** 2 + (given[2 * k + 1] - y / side) ** 2
                weight = (1 / max(eyes, least) ** 2 if labelled else 0.0) if weighted else 1.0
                total += weight * distance
    return total / count


@pytest.mark.parametrize("weighted", [True, False])
def test_the_loss_is_that_of_the_loops(rng, weighted):
    batch = faces(rng, 5)
    found = rng.random((5, 6))
    criterion = LandmarkCriterion(EYES, "inter-ocular" if weighted else None, least=0.3)
    losses = criterion([Tensor(found)], batch)
    assert losses.keys() == {"points"}
    assert losses["points"].item() == pytest.approx(naive(found, batch, weighted, 0.3), rel=1e-12)


def test_the_gradient_is_that_of_differences(rng):
    batch, found = faces(rng, 4), rng.random((4, 6))
    criterion = LandmarkCriterion(EYES)
    points = Tensor(found, requires_grad=True)
    criterion([points], batch)["points"].backward()
    for n, k in np.ndindex(found.shape):
        step = np.zeros_like(found)
        step[n, k] = 1e-6
        up, down = (criterion([Tensor(found + s)], batch)["points"].item() for s in (step, -step))
        assert points.grad[n, k] == pytest.approx((up - down) / 2e-6, rel=1e-6, abs=1e-9)
    assert not points.grad[-1].any()
    assert not points.grad[0, 4:].any()


def test_a_picture_without_a_face_and_a_batch_without_a_label_cost_nothing(rng):
    batch = faces(rng, 1)
    batch.keypoints = [np.zeros((0, 3, 3))]
    for reference in ("inter-ocular", None):
        assert LandmarkCriterion(EYES, reference)([Tensor(rng.random((1, 6)))], batch)["points"].item() == 0


def test_perfect_points_score_zero_and_shifted_ones_what_they_are_off(rng, tmp_path):
    """Faces of 20 to 60 pixels, cut out: the error is relative, so crops do not change it."""
    sides = (20, 40, 60)
    truth = [np.array([[0.1, 0.2, 2], [0.9, 0.2, 2], [0.5, 0.9, 2]]) * [s, s, 1] + [15, 25, 0] for s in sides]
    data = drawn(truth, rng)
    scores = LandmarkValidation(PersonCrops(data, (40, 40)), (40, 40), padding=1.25, mean=0.0, scale=1.0)
    perfect = scores.truth[..., :2].reshape(3, -1) / 40
    assert scores.score(perfect) == pytest.approx({"NME": 0, "AUC": 1, "FR": 0}, abs=1e-6)
    eyes = np.hypot(*(scores.truth[:, 0, :2] - scores.truth[:, 1, :2]).T)
    moved = scores.truth[..., :2] + (np.array([0.02, 0.05, 0.2]) * eyes)[:, None, None] * [0.6, 0.8]
    expected = {"NME": 0.09, "AUC": (0.8 + 0.5 + 0) / 3, "FR": 1 / 3}
    assert scores.score(moved.reshape(3, -1) / 40) == pytest.approx(expected, rel=1e-4)


def test_crops_show_the_face_where_its_points_say(rng):
    """A white nose on black: the crop is white at the point, black a few pixels on."""
    data = drawn([np.array([[20.0, 30, 2], [60, 30, 2], [40, 70, 2]])], rng)
    scores = LandmarkValidation(PersonCrops(data, (40, 40)), (40, 40), padding=1.25, mean=0.0, scale=1.0)
    x, y = scores.truth[0, 2, :2]
    crop = scores.images[0, ..., 0].astype(int)
    assert crop[int(y), int(x)] > 200
    assert crop[int(y) - 5, int(x)] < 50


def drawn(truth, rng):
    """Pictures of 100 x 100, black but for a white square about each nose."""
    records, pictures = [], {}
    for i, points in enumerate(truth):
        image = np.zeros((100, 100, 3), np.uint8)
        x, y = points[2, :2].astype(int)
        image[y - 4 : y + 5, x - 4 : x + 5] = 255
        low, high = points[:, :2].min(axis=0), points[:, :2].max(axis=0)
        record = Record.of(i + 1, f"{i}.png", None, (100, 100), [((*low, *high), 0, False)])
        records.append(replace(record, keypoints=points[None].astype(np.float32)))
        pictures[record.file] = image
    return Drawn(records, pictures)


class Drawn(DetectionDataset):
    """A set in memory."""

    def __init__(self, records, pictures):
        super().__init__(["face"], [1], records, Problems("drawn"))
        self.skeleton, self._pictures = EYES, pictures

    def _picture(self, record):
        return self._pictures[record.file]


@pytest.mark.parametrize("count", [1, 99, 100, 230])
def test_pictures_in_runs_are_pictures_one_by_one(count, rng):
    network = LandmarkNet(3, 16, rng=rng).eval()
    images = rng.integers(0, 256, (count, 40, 40, 3)).astype(np.uint8)
    (together,) = run(network, images, 114.0, 1 / 64)
    assert together.shape == (count, 6)
    for i in {0, count // 2, count - 1}:
        (alone,) = run(network, images[i : i + 1], 114.0, 1 / 64)
        np.testing.assert_allclose(together[i], alone[0], rtol=1e-4, atol=1e-6)


def test_validation_scores_a_network_and_leaves_its_mode(rng):
    data = drawn([np.array([[20.0, 30, 2], [60, 30, 2], [40, 70, 2]])] * 2, rng)
    scores = LandmarkValidation(PersonCrops(data, (40, 40)), (40, 40), padding=1.25, mean=0.0, scale=1 / 255)
    network = LandmarkNet(3, 16, rng=rng).train()
    network.fc6.weight.data[...] = 0
    network.fc6.bias.data[...] = (scores.truth[0, :, :2] / 40).ravel()
    assert scores(network)["NME"] == pytest.approx(0, abs=1e-5)
    assert network.training
    assert network.convs[0].bn.training
