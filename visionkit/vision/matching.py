"""Pairs: which rows go with which columns."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..kernels import matching as kernels
from ..shapes import expect

Indices = NDArray[np.int64]


def best_pairs(scores: ArrayLike) -> tuple[Indices, Indices]:
    """The pairs of rows and columns with the greatest sum of scores, each row and column in one at most.

    The exact optimum (the Hungarian method's), by shortest augmenting paths. Leaving both alone counts 0, so
    a pair may be forbidden by a score of 0, or by anything else that is no positive, finite number.

    Args:
        scores: (N, M).

    Returns:
        Rows (P,), ascending, and the column of each (P,); all their scores are positive. They index `scores`.
    """
    given = np.asarray(expect(scores, "N M", name="scores"), np.float64)
    gain = np.where((given > 0) & np.isfinite(given), given, 0.0)
    wide = len(gain) <= gain.shape[1]
    table = np.ascontiguousarray(gain if wide else gain.T)
    partner = np.empty(len(table), np.int64)
    kernels.assign(table, partner)
    pairs = np.stack([np.arange(len(table)), partner] if wide else [partner, np.arange(len(table))])
    rows, columns = pairs[:, gain[pairs[0], pairs[1]] > 0]
    order = np.argsort(rows)
    return rows[order], columns[order]
