"""Affine resampling against PyTorch, OpenCV and Pillow; it stays in its arrays, on any thread."""

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from tests.oracles import peer_python, run_torch
from visionkit.errors import ShapeError
from visionkit.kernels.warp import warp
from visionkit.vision.affine import invert, similarity, warp_affine

MAPS = [
    similarity((20, 15), (24, 20), 1.0, degrees=17),
    similarity((20, 15), (24, 20), 1.4, degrees=-63, mirror=True),
    similarity((20, 15), (12, 9), 0.75, degrees=200),
    similarity((3, 4), (24, 20), 5.0, degrees=90),
    np.array([[0.9, 0.4, -3], [-0.1, 1.1, 2.5]]),
]
SHAPE, SIZE = (30, 40, 3), (37, 45)


def smooth(shape=SHAPE):
    """A picture that changes by few grey levels from pixel to pixel."""
    rows, columns, channels = np.meshgrid(*map(np.arange, shape), indexing="ij")
    return (127 + 60 * np.sin(rows / 7 + channels) + 60 * np.cos(columns / 9 - channels)).astype(np.uint8)


@pytest.mark.peers
def test_against_torch():
    """Exact up to the one rounding, borders included."""
    source = np.random.default_rng(0).integers(0, 256, SHAPE, dtype=np.uint8)
    inverses = np.stack([invert(matrix) for matrix in MAPS])
    answer = run_torch(
        """
source = torch.from_numpy(given["source"]).permute(2, 0, 1)[None].double() - 114
height, width = given["size"].tolist()
y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
points = torch.stack([x, y, torch.ones_like(x)], dim=-1).double()
for k, inverse in enumerate(torch.from_numpy(given["inverses"])):
    at = points @ inverse.T / torch.tensor([source.shape[3], source.shape[2]]) * 2 - 1
    made = torch.nn.functional.grid_sample(source, at[None], "bilinear", "zeros", align_corners=False)
    result[f"r{k}"] = made[0].permute(1, 2, 0) + 114
""",
        {"source": source, "size": np.array(SIZE), "inverses": inverses},
    )
    for k, matrix in enumerate(MAPS):
        assert np.abs(warp_affine(source, matrix, SIZE) - answer[f"r{k}"]).max() <= 0.5 + 1e-3


OPENCV = """
import sys
import cv2
import numpy as np
given = np.load(sys.argv[1])
height, width = given["size"].tolist()
made = [
    cv2.warpAffine(given["source"], m, (width, height), flags=cv2.INTER_LINEAR, borderValue=(114, 114, 114))
    for m in given["maps"]
]
np.save(sys.argv[2], np.stack(made))
"""


@pytest.mark.peers
def test_against_opencv(tmp_path):
    """OpenCV counts from the centre of the first pixel, in steps of 1/32 pixel."""
    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    maps = np.stack([(np.linalg.inv(half) @ np.vstack([m, [0, 0, 1]]) @ half)[:2] for m in MAPS])
    np.savez(tmp_path / "given.npz", source=smooth(), size=np.array(SIZE), maps=maps)
    command = [str(peer_python("cv4")), "-c", OPENCV, str(tmp_path / "given.npz"), str(tmp_path / "made.npy")]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("OPENBLAS")}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    for matrix, expected in zip(MAPS, np.load(tmp_path / "made.npy"), strict=True):
        difference = np.abs(warp_affine(smooth(), matrix, SIZE).astype(int) - expected)
        assert difference.max() <= 4  # at the border, where half a pixel of grey begins: 100 levels / 32
        assert np.quantile(difference, 0.98) <= 1


@pytest.mark.parametrize("matrix", MAPS)
def test_against_pillow(matrix):
    """Where the source surrounds the pixel: Pillow's borders are sharp."""
    made = warp_affine(smooth(), matrix, SIZE)
    ones = warp_affine(np.full(SHAPE, 255, np.uint8), matrix, SIZE).min(axis=2) == 255
    other = Image.fromarray(smooth()).transform(
        SIZE[::-1], Image.Transform.AFFINE, invert(matrix).ravel().tolist(), Image.Resampling.BILINEAR
    )
    assert ones.sum() > 300
    assert np.abs(made.astype(int) - np.asarray(other))[ones].max() <= 1


def test_nothing_around_the_target_is_written():
    source = smooth()
    board = np.full((60, 70, 3), 9, np.uint8)
    for matrix in MAPS:
        board[...] = 9
        warp_affine(source, matrix, board[10:47, 12:57])
        np.testing.assert_array_equal(board[10:47, 12:57], warp_affine(source, matrix, SIZE))
        board[10:47, 12:57] = 9
        assert (board == 9).all()


def test_nothing_around_the_source_is_read():
    """A contiguous source amid guard bytes: what lies before and after it in memory changes nothing."""
    made = []
    for guard in (0, 255):
        memory = np.full(smooth().size + 4000, guard, np.uint8)
        source = memory[2000:-2000].reshape(SHAPE)
        source[...] = smooth()
        made.append([warp_affine(source, matrix, SIZE) for matrix in MAPS])
    assert all((a == b).all() for a, b in zip(*made, strict=True))


def test_views_and_threads():
    source = smooth((60, 80, 3))
    view = source[::-2, 1::2]
    assert (warp_affine(view, MAPS[0], SIZE) == warp_affine(view.copy(), MAPS[0], SIZE)).all()
    source.setflags(write=False)
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: warp_affine(source, MAPS[1], SIZE), range(8)))
    assert all((one == made[0]).all() for one in made)


@pytest.mark.parametrize("far", [1e5, 1e12, 1e300])
def test_far_away_is_grey(far):
    target = np.zeros((4, 5, 3), np.uint8)
    warp(smooth(), np.array([[1.0, 0, far], [0, 1, -far]]), np.float32(114), target)
    assert (target == 114).all()


@pytest.mark.parametrize(
    ("source", "target"),
    [
        (np.zeros((4, 4, 3), np.float32), (2, 2)),
        (np.zeros((4, 4), np.uint8), (2, 2)),
        (np.zeros((0, 4, 3), np.uint8), (2, 2)),
        (np.zeros((4, 4, 3), np.uint8), (0, 2)),
        (np.zeros((4, 4, 3), np.uint8), np.zeros((2, 2, 1), np.uint8)),
        (np.zeros((4, 4, 3), np.uint8), np.zeros((2, 2, 3), np.float32)),
    ],
)
def test_wrong_pictures_are_refused(source, target):
    with pytest.raises(ShapeError):
        warp_affine(source, MAPS[0], target)
