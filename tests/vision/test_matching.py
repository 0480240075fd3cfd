"""Pairs against every permutation, and, where those are too many, against the lack of anything better."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from visionkit.errors import ShapeError
from visionkit.vision.matching import best_pairs


def slow_total(scores):
    """The greatest sum over all ways to give the shorter side partners."""
    table = scores if scores.shape[0] <= scores.shape[1] else scores.T
    ways = itertools.permutations(range(table.shape[1]), table.shape[0])
    return max((sum(table[i, j] for i, j in enumerate(way)) for way in ways), default=0)


def could_be_better(scores, rows, columns):
    """Whether a chain of exchanges has a gain: a cycle of positive sum in the graph of exchanges.

    Rows and columns without a partner are paired with others of no score; then an assignment is the best one
    exactly if no cycle "column to column" gains. Floyd and Warshall's loop, in gains.
    """
    side = sum(scores.shape)
    full = np.zeros((side, side))
    full[: scores.shape[0], : scores.shape[1]] = scores
    partner = np.full(side, -1)
    partner[rows] = columns
    partner[partner < 0] = np.setdiff1d(np.arange(side), columns)
    gain = full[:, partner] - full[np.arange(side), partner][:, None]  # row i takes what row k has
    for k in range(side):
        gain = np.maximum(gain, gain[:, k, None] + gain[k])
    return gain.diagonal().max() > 1e-9


def check(scores, rows, columns):
    assert (np.diff(rows) > 0).all()
    assert len(set(columns.tolist())) == len(columns) == len(rows)
    assert (scores[rows, columns] > 0).all()


small = arrays(
    np.float64,
    array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=5),
    elements=st.sampled_from([0.0, 0.0, 0.25, 0.5, 1.0]) | st.floats(0, 1, allow_subnormal=False),
)


@settings(max_examples=500, deadline=None)
@given(small)
def test_no_permutation_has_a_greater_sum(scores):
    rows, columns = best_pairs(scores)
    check(scores, rows, columns)
    assert scores[rows, columns].sum() == pytest.approx(slow_total(scores), abs=1e-12)


@pytest.mark.parametrize("shape", [(40, 40), (25, 50), (60, 20)])
@pytest.mark.parametrize("kind", ["dense", "sparse", "ties"])
def test_large_ones_have_no_better_exchange(rng, shape, kind):
    scores = rng.random(shape)
    if kind == "sparse":
        scores *= rng.random(shape) < 0.1
    if kind == "ties":
        scores = rng.integers(0, 4, shape).astype(float)
    rows, columns = best_pairs(scores)
    check(scores, rows, columns)
    assert not could_be_better(scores, rows, columns)
    worse = scores[rows[1:], columns[:-1]].sum() < scores[rows, columns].sum() - 1e-6
    assert worse and could_be_better(scores, rows[1:], columns[:-1])  # noqa: PT018  the oracle can say yes


def test_the_greedy_choice_is_not_the_best():
    rows, columns = best_pairs([[0.9, 0.8], [0.8, 0.1]])
    assert list(zip(rows.tolist(), columns.tolist(), strict=True)) == [(0, 1), (1, 0)]


def test_what_is_no_positive_number_is_forbidden():
    rows, columns = best_pairs([[np.nan, -1.0, 0.0], [np.inf, -np.inf, 0.5]])
    assert (rows.tolist(), columns.tolist()) == ([1], [2])
    assert len(best_pairs(np.zeros((4, 3)))[0]) == 0


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (3, 0)])
def test_nothing_to_pair(shape):
    rows, columns = best_pairs(np.zeros(shape))
    assert rows.shape == columns.shape == (0,)
    assert np.zeros(shape)[rows, columns].shape == (0,)


def test_order_and_kind_change_nothing(rng):
    """Transposed, shuffled, in float32 or not contiguous: the same pairs."""
    scores = rng.random((7, 9))
    rows, columns = best_pairs(scores)
    pairs = set(zip(rows.tolist(), columns.tolist(), strict=True))
    turned = best_pairs(scores.T)
    assert set(zip(turned[1].tolist(), turned[0].tolist(), strict=True)) == pairs
    order = rng.permutation(7)
    moved = best_pairs(scores[order])
    assert set(zip(order[moved[0]].tolist(), moved[1].tolist(), strict=True)) == pairs
    spread = np.zeros((7, 18), np.float32)
    spread[:, ::2] = scores
    assert set(zip(*(side.tolist() for side in best_pairs(spread[:, ::2])), strict=True)) == pairs


def test_a_wrong_shape_is_named():
    with pytest.raises(ShapeError, match=r"scores: expected shape \(N, M\)"):
        best_pairs(np.zeros((2, 3, 4)))
