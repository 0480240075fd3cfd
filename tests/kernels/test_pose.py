"""Rendering, peaks, line integrals and assembly against plain loops in float64."""

import itertools
import math

import numpy as np
import pytest

from visionkit.kernels import pose_groups, pose_maps

SHAPE = (13, 17)


def slow_gaussians(points, shown, sigma, channels):
    maps = np.zeros((*SHAPE, channels))
    for (n, k), there in np.ndenumerate(shown):
        if there:
            for y, x in np.ndindex(*SHAPE):
                squared = (x - points[n, k, 0]) ** 2 + (y - points[n, k, 1]) ** 2
                maps[y, x, k] = max(maps[y, x, k], math.exp(-squared / (2 * sigma**2)))
    return maps


def inside(x, y, a, b, half):
    """In the rectangle of a limb, `END` longer at both ends."""
    (ux, uy), length = (b - a) / np.linalg.norm(b - a), np.linalg.norm(b - a)
    along = (x - a[0]) * ux + (y - a[1]) * uy
    across = (x - a[0]) * uy - (y - a[1]) * ux
    return abs(across) <= half and -pose_maps.END <= along <= length + pose_maps.END


def slow_fields(points, shown, limbs, half):
    maps = np.zeros((*SHAPE, 2 * len(limbs)))
    for y, x in np.ndindex(*SHAPE):
        for i, (a, b) in enumerate(limbs):
            ends = [(p[a], p[b]) for p, there in zip(points, shown, strict=True) if there[a] and there[b]]
            units = [(q - p) / np.linalg.norm(q - p) for p, q in ends if inside(x, y, p, q, half)]
            if units:
                maps[y, x, 2 * i : 2 * i + 2] = np.mean(units, axis=0)
    return maps


def crowd(rng, people=3, joints=4):
    points = rng.uniform(-4, 20, (people, joints, 2))
    return points, rng.random((people, joints)) < 0.8


def test_gaussians_are_those_of_the_formula(rng):
    for sigma in (0.5, 1.0, 1.7):
        points, shown = crowd(rng)
        maps = np.zeros((*SHAPE, 5), np.float32)
        pose_maps.gaussians(points, shown, sigma, maps)
        wanted = slow_gaussians(points, shown, sigma, 5)
        assert np.abs(maps - np.where(wanted > 3.4e-4, wanted, 0)).max() < 4e-4  # cut off at 4 sigmas
        near = wanted > 1e-3
        np.testing.assert_allclose(maps[near], wanted[near], rtol=1e-6)
        assert near.any()


def test_points_far_away_or_hidden_leave_no_mark():
    maps = np.zeros((*SHAPE, 2), np.float32)
    far = np.array([[[1e18, 3.0], [5.0, -1e18]], [[3.0, 3.0], [-5.0, 8.0]]])
    pose_maps.gaussians(far, np.array([[True, True], [False, True]]), 1.0, maps)
    assert not maps.any()


def test_fields_are_those_of_the_definition(rng):
    limbs = np.array([[0, 1], [1, 2], [3, 1]])
    covered = 0
    for half in (0.75, 1.0, 2.3):
        for _ in range(10):
            points, shown = crowd(rng)
            maps = np.zeros((*SHAPE, 6), np.float32)
            pose_maps.fields(points, shown, limbs, half, maps, count := np.zeros((*SHAPE, 3), np.uint16))
            np.testing.assert_allclose(maps, slow_fields(points, shown, limbs, half), atol=2e-7)
            covered = max(covered, int(count.max()))
    assert covered > 1


@pytest.mark.parametrize("way", [(1, 0), (0, 1), (-1, 0), (0, -1)])
def test_a_straight_limb_fills_its_rectangle(way):
    """From (8, 6), 4 cells long, 2 wide: 3 cells across, the 5 along it and none of the half cells beyond."""
    a = np.array([8.0, 6.0])
    points = np.stack([a, a + 4 * np.array(way)])[None]
    maps, count = np.zeros((*SHAPE, 2), np.float32), np.zeros((*SHAPE, 1), np.uint16)
    pose_maps.fields(points, np.ones((1, 2), bool), np.array([[0, 1]]), 1.0, maps, count)
    assert int(count.sum()) == 15
    assert (maps[count[..., 0] > 0] == way).all()
    assert not maps[count[..., 0] == 0].any()


def test_a_limb_without_length_has_no_field():
    maps, count = np.zeros((*SHAPE, 2), np.float32), np.zeros((*SHAPE, 1), np.uint16)
    pose_maps.fields(np.full((1, 2, 2), 5.0), np.ones((1, 2), bool), np.array([[0, 1]]), 1.0, maps, count)
    assert not maps.any()


def found_peaks(maps, threshold=0.1, most=8, sigma=1.0):
    found, counts = np.zeros((maps.shape[2], most, 3)), np.zeros(maps.shape[2], np.int64)
    pose_maps.peaks(np.ascontiguousarray(maps, np.float32), threshold, sigma, found, counts)
    return found, counts


def test_peaks_are_the_cells_that_no_neighbour_exceeds(rng):
    for most in (3, 100):
        maps = rng.random((*SHAPE, 3)).astype(np.float32)
        found, counts = found_peaks(maps, 0.5, most)
        for k in range(3):
            padded = np.pad(maps[..., k], 1)
            around = np.stack(
                [np.roll(padded, (j, i), (0, 1)) for j in (-1, 0, 1) for i in (-1, 0, 1) if j or i]
            )
            high = (maps[..., k] > around.max(axis=0)[1:-1, 1:-1]) & (maps[..., k] > 0.5)
            wanted = np.sort(maps[high, k])[::-1][:most]
            np.testing.assert_array_equal(found[k, : counts[k], 2], wanted)
            for x, y, height in found[k, : counts[k]]:  # refined by half a cell at most
                near = np.argwhere(maps[..., k] == np.float32(height))[0]
                assert abs(x - near[1]) <= 0.5
                assert abs(y - near[0]) <= 0.5


def test_the_centre_of_a_gaussian_comes_back_exactly(rng):
    """Log-quadratic refinement inside, the known sigma at borders, half a cell beyond the centres."""
    for sigma in (0.7, 1.0, 2.0):
        for x, y in [*rng.uniform([-0.49, -0.49], [16.49, 12.49], (200, 2)), (-0.49, -0.49), (16.49, 12.49)]:
            maps = np.zeros((*SHAPE, 1), np.float32)
            pose_maps.gaussians(np.array([[[x, y]]]), np.ones((1, 1), bool), sigma, maps)
            found, counts = found_peaks(maps, sigma=sigma)
            assert counts[0] == 1
            np.testing.assert_allclose(found[0, 0, :2], (x, y), atol=2e-5)


def test_one_bright_cell_is_found_at_its_centre_and_a_plateau_once():
    maps = np.zeros((*SHAPE, 2), np.float32)
    maps[4, 7, 0] = 0.9
    maps[6:8, 3:5, 1] = 0.5
    found, counts = found_peaks(maps)
    assert counts.tolist() == [1, 1]
    np.testing.assert_allclose(found[0, 0], (7, 4, 0.9), rtol=1e-6)
    np.testing.assert_allclose(found[1, 0], (3.5, 6.5, 0.5), rtol=1e-6)


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (5, 1), (2, 2)])
def test_maps_of_any_size(shape):
    maps = np.zeros((*shape, 1), np.float32)
    maps[-1, -1] = 1
    found, counts = found_peaks(maps)
    assert counts.tolist() == [1]
    assert np.abs(found[0, 0, :2] - (shape[1] - 1, shape[0] - 1)).max() <= 0.5


def test_values_that_are_no_numbers_are_no_peaks():
    maps = np.zeros((*SHAPE, 3), np.float32)
    maps[5, 5] = np.nan, np.inf, -np.inf
    maps[9, 9] = 0.8
    found, counts = found_peaks(maps)
    assert counts.tolist() == [1, 1, 1]
    assert np.isfinite(found).all()


def integral(maps, limbs, a, b, half, floor=0.05, share=0.6):
    """The score of one pair of joints."""
    found, scores = np.array([[a], [b]], float), np.zeros((len(limbs), 1, 1), np.float32)
    found = np.concatenate([found, np.ones((2, 1, 1))], axis=2)
    pose_groups.limb_scores(maps, limbs, found, np.ones(2, np.int64), half, floor, share, scores)
    return float(scores[0, 0, 0])


def test_line_integrals_against_plain_sums(rng):
    limbs = np.array([[0, 1]])
    judged = set()
    for _ in range(200):
        maps = rng.uniform(-0.6, 1, (*SHAPE, 2)).astype(np.float32)
        a, b = rng.uniform([0, 0], [16, 12], (2, 2))
        unit, length = (b - a) / np.linalg.norm(b - a), float(np.linalg.norm(b - a))
        cells = [(x, y) for y, x in np.ndindex(*SHAPE) if inside(x, y, a, b, 1.0)]
        count = min(max(math.ceil(length) + 1, 5), 25)
        steps = [a + (b - a) * i / (count - 1) for i in range(count)]
        samples = [(math.floor(x + 0.5), math.floor(y + 0.5)) for x, y in steps]
        for half, where in ((1.0, cells), (0.0, samples)):
            along = np.array([maps[y, x].astype(float) @ unit for x, y in where])
            wanted = along.mean() if (along > 0.05).mean() >= 0.6 and along.mean() > 0.05 else 0
            assert integral(maps, limbs, a, b, half) == pytest.approx(wanted, abs=1e-6)
            judged.add(wanted > 0)
    assert judged == {True, False}


@pytest.mark.parametrize("half", [0.0, 1.0])
def test_a_rendered_limb_scores_one_and_its_reverse_nothing(rng, half):
    limbs = np.array([[0, 1]])
    for _ in range(300):
        a, b = rng.uniform([-0.49, -0.49], [16.49, 12.49], (2, 2))
        b = a + (b - a) * rng.choice([1, 0.05])
        maps = np.zeros((*SHAPE, 2), np.float32)
        count = np.zeros((*SHAPE, 1), np.uint16)
        pose_maps.fields(np.stack([a, b])[None], np.ones((1, 2), bool), limbs, 1.0, maps, count)
        assert integral(maps, limbs, a, b, half) == pytest.approx(1, abs=1e-6)
        assert integral(maps, limbs, b, a, half) == 0
        far = a + (b - a) * 4
        if ((far > 0) & (far < (16, 12))).all() and np.linalg.norm(b - a) > 3:
            assert integral(maps, limbs, a, far, half) == 0  # three quarters of the way are empty


def test_joints_in_one_place_are_no_limb():
    maps = np.ones((*SHAPE, 2), np.float32)
    assert integral(maps, np.array([[0, 1]]), (3, 3), (3, 3), 1.0) == 0


def slow_match(links):
    """Of links strongest first those whose joints are free."""
    taken, kept = set(), []
    for limb, i, j in links:
        if not {(limb, 0, i), (limb, 1, j)} & taken:
            taken |= {(limb, 0, i), (limb, 1, j)}
            kept.append([limb, i, j])
    return kept


def test_greedy_matching(rng):
    for _ in range(50):
        pairs = np.array(list(itertools.product(range(3), range(5), range(4))))
        links = rng.permutation(pairs)[: rng.integers(0, 60)]
        wanted = slow_match(links.tolist())
        kept = pose_groups.match(links, np.zeros((3, 2, 5), bool))
        assert links[:kept].tolist() == wanted


def slow_people(links, limbs, joints):
    """People as sets of (joint, peak), joined link by link."""
    people: list[dict[int, int]] = []
    for limb, i, j in links:
        a, b = limbs[limb]
        one = next((p for p in people if p.get(a) == i), None)
        two = next((p for p in people if p.get(b) == j), None)
        if one is None and two is None:
            people.append({a: i, b: j})
        elif two is None:
            one.setdefault(b, j)
        elif one is None:
            two.setdefault(a, i)
        elif one is not two and not set(one) & set(two):
            one |= two
            people.remove(two)
    return sorted([p.get(k, -1) for k in range(joints)] for p in people)


def test_assembly(rng):
    limbs = np.array([[0, 1], [1, 2], [2, 3], [3, 4], [0, 4], [1, 3]])
    sizes = set()
    for _ in range(300):
        pairs = np.array(list(itertools.product(range(6), range(3), range(3))))
        links = rng.permutation(pairs)[: rng.integers(0, 40)]
        links = links[: pose_groups.match(links, np.zeros((6, 2, 3), bool))]
        members = np.empty((len(links), 5), np.int64)
        people = members[: pose_groups.people(links, limbs, members)]
        assert sorted(people.tolist()) == slow_people(links.tolist(), limbs.tolist(), 5)
        for k in range(5):  # nobody shares a joint
            peaks = people[people[:, k] >= 0, k]
            assert len(set(peaks.tolist())) == len(peaks)
        sizes |= set((people >= 0).sum(axis=1).tolist())
    assert sizes == {2, 3, 4, 5}
