"""uint8 bilinear resizing against PyTorch and against sums by hand."""

import threading

import numpy as np
import pytest

from tests.oracles import run_torch
from visionkit.errors import ShapeError
from visionkit.vision.letterbox import resize_bilinear

SIZES = [
    ((7, 9), (7, 9)),
    ((7, 9), (21, 13)),
    ((40, 60), (20, 20)),
    ((33, 50), (10, 71)),
    ((1, 1), (5, 4)),
    ((1, 300), (1, 7)),
    ((64, 48), (63, 47)),
    ((5, 400), (9, 3)),
]


def picture(size, channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*size, channels), dtype=np.uint8)


@pytest.mark.peers
def test_against_torch():
    """Exact up to the one rounding: never more than half a grey level from the unrounded answer."""
    given = {f"p{k}": picture(source) for k, (source, _) in enumerate(SIZES)}
    given["targets"] = np.array([target for _, target in SIZES])
    answer = run_torch(
        """
for k, size in enumerate(given["targets"].tolist()):
    x = torch.from_numpy(given[f"p{k}"]).permute(2, 0, 1)[None].double()
    y = torch.nn.functional.interpolate(x, size, mode="bilinear", align_corners=False, antialias=True)
    result[f"r{k}"] = y[0].permute(1, 2, 0)
    if size[0] >= x.shape[2] and size[1] >= x.shape[3]:
        plain = torch.nn.functional.interpolate(x, size, mode="bilinear", align_corners=False)
        assert (plain - y).abs().max() < 1e-9  # growing: antialias changes nothing
""",
        given,
    )
    for k, (_, target) in enumerate(SIZES):
        found = resize_bilinear(given[f"p{k}"], target)
        assert np.abs(found - answer[f"r{k}"]).max() <= 0.5 + 1e-3, SIZES[k]


def slow(source, target):
    """The triangle filter in plain loops, rows and columns, float64."""

    def axis(n, m):
        matrix = np.zeros((m, n))
        wide = max(n / m, 1.0)
        for i in range(m):
            for j in range(n):
                matrix[i, j] = max(1 - abs(j + 0.5 - (i + 0.5) * n / m) / wide, 0)
            matrix[i] /= matrix[i].sum()
        return matrix

    rows, columns = axis(source.shape[0], target[0]), axis(source.shape[1], target[1])
    return np.einsum("yh,xw,hwc->yxc", rows, columns, source.astype(float))


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize(("source", "target"), SIZES)
def test_against_plain_loops(source, target, channels):
    image = picture(source, channels)
    found = resize_bilinear(image, target)
    assert found.dtype == np.uint8
    assert np.abs(found - slow(image, target)).max() <= 0.5 + 1e-3


def test_known_values():
    ramp = np.array([[[0], [100]]], np.uint8)
    np.testing.assert_array_equal(resize_bilinear(ramp, (1, 4))[0, :, 0], [0, 25, 75, 100])
    assert (resize_bilinear(np.full((9, 7, 3), 255, np.uint8), (4, 5)) == 255).all()
    checks = (np.indices((32, 32)).sum(axis=0) % 2 * 255).astype(np.uint8)[..., None]
    # no aliasing: inside, a chessboard shrinks to grey (127.5), not to black and white
    assert np.abs(resize_bilinear(checks, (8, 8))[1:-1, 1:-1].astype(int) - 127).max() <= 1


def test_views_in_and_out():
    image = picture((20, 30))
    board = np.full((50, 50, 3), 9, np.uint8)
    target = resize_bilinear(image[::-1, ::2], board[5:25, 10:40])
    np.testing.assert_array_equal(target, resize_bilinear(image[::-1, ::2].copy(), (20, 30)))
    assert (board[:5] == 9).all()
    assert (board[:, :10] == 9).all()
    assert (board[25:] == 9).all()


def test_input_is_untouched_and_threads_agree():
    image = picture((120, 90))
    before = image.copy()
    alone = resize_bilinear(image, (64, 64))
    results = []
    workers = [
        threading.Thread(target=lambda: results.append(resize_bilinear(image, (64, 64)))) for _ in range(4)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    np.testing.assert_array_equal(image, before)
    assert len(results) == 4
    assert all((r == alone).all() for r in results)


@pytest.mark.parametrize(
    ("source", "target"),
    [
        (np.zeros((4, 4, 3), np.float32), (2, 2)),
        (np.zeros((4, 4), np.uint8), (2, 2)),
        (np.zeros((0, 4, 3), np.uint8), (2, 2)),
        (np.zeros((4, 4, 3), np.uint8), (0, 2)),
        (np.zeros((4, 4, 3), np.uint8), np.zeros((2, 2, 1), np.uint8)),
    ],
)
def test_wrong_pictures_are_refused(source, target):
    with pytest.raises(ShapeError):
        resize_bilinear(source, target)
