"""The loss of pose networks, against a loop over cells, the tape and finite differences."""

import numpy as np
import pytest

from tests.engine.pose_made_up import PUPPET, PoseBatch, person
from visionkit.engine import criterion as by_tape
from visionkit.engine.pose_criterion import PoseCriterion
from visionkit.errors import ShapeError, UsageError
from visionkit.tensor import Tensor
from visionkit.vision.fields import FieldCodec
from visionkit.vision.heatmaps import HeatmapCodec

SIZE, STRIDE = (48, 64), 4
CELLS = (12, 16)


CODECS = [
    make(PUPPET, STRIDE, background=background)
    for background in (False, True)
    for make in (FieldCodec, HeatmapCodec)
]


@pytest.fixture
def batch(rng):
    """Three pictures: two people and a crowd; a person without points; nobody."""
    crowd = (np.zeros((5, 3)), [8, 4, 40, 30], True)
    unlabelled = (np.zeros((5, 3)), [30.5, 10, 50, 47], False)
    people = [(*person(rng, SIZE), False) for _ in range(3)]
    return PoseBatch([[people[0], crowd, people[1]], [unlabelled, people[2]], []], SIZE)


def maps_for(codec, rng, stages=2, dtype=np.float64):
    channels = codec.channels if isinstance(codec, FieldCodec) else (codec.channels,)
    return [rng.normal(0, 0.5, (3, *CELLS, c)).astype(dtype) for _ in range(stages) for c in channels]


def naive(codec, focus, maps, batch):
    """The definition, cell by cell and channel by channel."""
    bare = codec.encode(batch.keypoints, None, SIZE)
    many = len(bare.maps) == 2
    background = (codec.heatmaps if many else codec).background
    joints = bare.maps[0][..., :-1] if background else bare.maps[0]
    counts = np.ones((3, *CELLS), bool)
    for b in range(3):
        for box, ignore, points in zip(batch.boxes[b], batch.ignore[b], batch.keypoints[b], strict=True):
            if not ignore and (points[:, 2] > 0).any():
                continue
            x1, y1, x2, y2 = box / STRIDE
            for i in range(CELLS[0]):
                for j in range(CELLS[1]):
                    if i + 1 > y1 and i < y2 and j + 1 > x1 and j < x2:
                        counts[b, i, j] = False
    for b, i, j in np.ndindex(3, *CELLS):
        if joints[b, i, j].any() or (many and bare.maps[1][b, i, j].any()):
            counts[b, i, j] = True
    losses = {}
    for number, one in enumerate(maps):
        kind, stage = number % len(bare.maps), number // len(bare.maps) + 1
        target, total = bare.maps[kind], 0.0
        for b, i, j in np.argwhere(counts):
            for c in range(one.shape[3]):
                t = float(target[b, i, j, c])
                if kind == 1:
                    pair = target[b, i, j, c - c % 2 : c - c % 2 + 2].astype(float)
                    shape = float((pair**2).sum())
                else:
                    shape = 1 - t if background and c == one.shape[3] - 1 else t
                total += (1 + focus * shape) * (float(one[b, i, j, c]) - t) ** 2
        losses[f"{('heat', 'fields')[kind]}_{stage}"] = total / counts.sum()
    return losses


@pytest.mark.parametrize("codec", CODECS, ids=lambda c: type(c).__name__)
@pytest.mark.parametrize("focus", [0.0, 3.0])
def test_values_are_the_definition(codec, focus, batch, rng):
    maps = maps_for(codec, rng)
    wanted = naive(codec, focus, maps, batch)
    criterion = PoseCriterion(codec, focus)
    found, _ = criterion.value_and_gradients(maps, batch)
    assert list(found) == list(wanted)
    for name, value in wanted.items():
        assert found[name] == pytest.approx(value, rel=1e-6), name
    single, gradients = criterion.value_and_gradients([m.astype(np.float32) for m in maps], batch)
    assert single == pytest.approx(found, rel=1e-5)
    assert all(g.dtype == np.float32 for g in gradients)


@pytest.mark.parametrize("codec", CODECS, ids=lambda c: type(c).__name__)
@pytest.mark.parametrize("focus", [0.0, 3.0])
def test_gradients_agree_with_the_tape_and_finite_differences(codec, focus, batch, rng):
    maps, criterion = maps_for(codec, rng), PoseCriterion(codec, focus)
    losses, gradients = criterion.value_and_gradients(maps, batch)
    gradients = [g.copy() for g in gradients]
    plain = lambda tensors, given: criterion(tensors, given)  # noqa: E731  without value_and_gradients
    taped, tape_gradients = by_tape.value_and_gradients(plain, maps, batch)
    assert taped == pytest.approx(losses, rel=1e-12)
    for fast, slow in zip(gradients, tape_gradients, strict=True):
        np.testing.assert_allclose(fast, slow, rtol=1e-12, atol=1e-18)

    def total(values):
        return sum(criterion.value_and_gradients(values, batch)[0].values())

    step = 1e-4
    for number, one in enumerate(maps):
        for _ in range(6):
            place = tuple(int(rng.integers(n)) for n in one.shape)
            sides = []
            for sign in (1, -1):
                moved = [m.copy() for m in maps]
                moved[number][place] += sign * step
                sides.append(total(moved))
            slope = (sides[0] - sides[1]) / (2 * step)
            assert slope == pytest.approx(gradients[number][place], rel=1e-6, abs=1e-9)


def test_perfect_maps_cost_nothing(batch):
    for codec in CODECS:
        targets = PoseCriterion(codec, 2.0).targets(batch)
        losses, gradients = PoseCriterion(codec, 2.0).value_and_gradients(targets.maps * 2, batch)
        assert set(losses.values()) == {0.0}
        assert not any(g.any() for g in gradients)


def test_a_crowd_is_not_asked_but_who_stands_before_it_is():
    """The same joint inside and outside of a crowd; between them nothing is asked of the crowd."""
    codec = HeatmapCodec(PUPPET, STRIDE)
    points = np.zeros((5, 3), np.float32)
    points[0] = 20, 20, 2
    crowd = (np.zeros((5, 3)), [0, 0, 64, 48], True)
    criterion = PoseCriterion(codec)
    covered = criterion.targets(PoseBatch([[(points, [12, 12, 28, 28], False), crowd]], SIZE))
    alone = criterion.targets(PoseBatch([[(points, [12, 12, 28, 28], False)]], SIZE))
    np.testing.assert_array_equal(covered.maps[0], alone.maps[0])
    assert alone.mask.all()
    near = covered.maps[0].any(axis=-1)
    assert near.sum() > 25
    np.testing.assert_array_equal(covered.mask[..., 0] > 0, near)


def test_nothing_but_a_crowd_costs_nothing(rng):
    codec = FieldCodec(PUPPET, STRIDE)
    batch = PoseBatch([[(np.zeros((5, 3)), [0, 0, 64, 48], True)]], SIZE)
    maps = [rng.normal(size=(1, *CELLS, c)) for c in codec.channels]
    losses, gradients = PoseCriterion(codec).value_and_gradients(maps, batch)
    assert set(losses.values()) == {0.0}
    assert not any(g.any() for g in gradients)


def test_values_do_not_depend_on_the_batch(batch, rng):
    """Twice the same pictures: the same loss, half the gradient."""
    codec = FieldCodec(PUPPET, STRIDE)
    criterion, maps = PoseCriterion(codec, 1.0), maps_for(codec, rng, 1)
    losses, gradients = criterion.value_and_gradients(maps, batch)
    gradients = [g.copy() for g in gradients]
    twice = PoseBatch(batch.people * 2, SIZE)
    again, halves = criterion.value_and_gradients([np.concatenate([m, m]) for m in maps], twice)
    assert again == pytest.approx(losses)
    for one, half in zip(gradients, halves, strict=True):
        np.testing.assert_allclose(half[:3] * 2, one, atol=1e-15)


def test_what_does_not_fit_is_refused(batch, rng):
    codec = FieldCodec(PUPPET, STRIDE)
    criterion, maps = PoseCriterion(codec), maps_for(codec, rng, 1)
    with pytest.raises(ShapeError, match="heat and fields of every stage, got 1"):
        criterion.value_and_gradients(maps[:1], batch)
    with pytest.raises(ShapeError, match="map 1"):
        criterion.value_and_gradients([maps[0], maps[0]], batch)
    with pytest.raises(ShapeError):
        criterion([Tensor(maps[0])], batch)
    with pytest.raises(UsageError, match="focus"):
        PoseCriterion(codec, -1)
