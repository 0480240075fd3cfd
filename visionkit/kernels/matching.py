"""Which row goes with which column: the assignment of the greatest sum, by shortest augmenting paths."""

import numpy as np

from .jit import serial


@serial
def assign(scores, column):
    """Give every row a column of its own so that the sum of their scores is greatest.

    Jonker and Volgenant (1987) in the rectangular form of Crouse (2016): the rows join one after the other,
    each along the path that costs the sum least, found as Dijkstra finds it in costs that the prices of rows
    and columns keep from being negative. O(N² M).

    Args:
        scores: (N, M) float64, finite, N <= M.
        column: (N,) int64, receives the column of each row.
    """
    rows, columns = scores.shape
    row = np.full(columns, -1, np.int64)
    row_price, column_price = np.zeros(rows), np.zeros(columns)
    shortest, before, open_columns = (
        np.empty(columns),
        np.empty(columns, np.int64),
        np.empty(columns, np.int64),
    )
    for start in range(rows):
        for j in range(columns):
            shortest[j], open_columns[j] = np.inf, j
        left, length, i = columns, 0.0, start
        while True:
            least, at = np.inf, -1
            for k in range(left):
                j = open_columns[k]
                through = length - scores[i, j] - row_price[i] - column_price[j]
                if through < shortest[j]:
                    shortest[j], before[j] = through, i
                # among equals a free column ends the search at once
                if shortest[j] < least or (shortest[j] == least and row[j] < 0):
                    least, at = shortest[j], k
            length, j = least, open_columns[at]
            left -= 1
            open_columns[at], open_columns[left] = open_columns[left], j  # those reached stand behind `left`
            if row[j] < 0:
                break
            i = row[j]
        row_price[start] += length
        for k in range(left, columns):
            reached = open_columns[k]
            if row[reached] >= 0:
                row_price[row[reached]] += length - shortest[reached]
            column_price[reached] -= length - shortest[reached]
        while True:  # along the path every row moves one column on
            i = before[j]
            row[j] = i
            if i == start:
                column[i] = j
                break
            column[i], j = j, column[i]
