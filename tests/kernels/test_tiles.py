"""Winograd's matrices and what is emitted for them, against plain sums."""

import numpy as np
import pytest

from visionkit.kernels.jit import LANES, serial
from visionkit.kernels.tiles import FORMS, cook_toom, transform


@pytest.mark.parametrize("points", FORMS)
def test_a_form_is_a_correlation(points, rng):
    form = FORMS[points]
    assert form.points == points
    spread, filters, gather = (np.array(m) for m in (form.spread, form.filter, form.gather))
    for _ in range(20):
        d, g = rng.normal(size=points), rng.normal(size=form.taps)
        exact = np.correlate(d, g)
        assert exact.size == form.outputs
        np.testing.assert_allclose(gather @ ((filters @ g) * (spread @ d)), exact, atol=1e-13)


@pytest.mark.parametrize("points", FORMS)
def test_the_input_and_output_transforms_are_exact_in_float32(points):
    for matrix in (FORMS[points].spread, FORMS[points].gather):
        np.testing.assert_array_equal(np.array(matrix, np.float32), np.array(matrix))


def test_the_usual_points_give_the_published_matrices():
    """Lavin and Gray, section 4.1: F(2, 3), up to the signs of rows."""
    form = cook_toom(2, 3, (0, 1, -1))
    np.testing.assert_array_equal(
        np.abs(form.spread), np.abs([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]])
    )
    np.testing.assert_array_equal(np.abs(form.filter), [[1, 0, 0], [0.5] * 3, [0.5] * 3, [0, 0, 1]])
    np.testing.assert_array_equal(form.gather, [[1, 1, 1, 0], [0, 1, -1, 1]])


ODD = ((1.0, 0.0, 2.0), (1.0, 0.0, -2.0), (0.0, 0.0, 0.0), (-1.0, 3.0, 0.5))  # a pair, nothing, the rest
MATRICES = [m for form in FORMS.values() for m in (form.spread, form.filter, form.gather)] + [ODD]
KERNELS = [transform(m) for m in MATRICES]


@pytest.mark.parametrize("number", range(len(MATRICES)))
def test_what_is_emitted_multiplies_by_the_matrix(number, rng):
    matrix, kernel = np.array(MATRICES[number]), KERNELS[number]

    @serial
    def run(F, source, stride, target, step):
        kernel(F, source, stride, target, step)

    columns = matrix.shape[1]
    stride, step, source, target = LANES + 3, LANES + 1, 5, 40 * LANES
    memory = rng.normal(size=60 * LANES).astype(np.float32)
    before = memory.copy()
    run(memory, source, stride, target, step)
    given = np.stack([before[source + j * stride :][:LANES] for j in range(columns)]).astype(np.float64)
    for i, wanted in enumerate(matrix @ given):
        at = target + i * step
        np.testing.assert_allclose(
            memory[at : at + LANES], wanted, atol=4e-7 * np.abs(matrix @ np.abs(given)).max()
        )
        before[at : at + LANES] = memory[at : at + LANES]
    np.testing.assert_array_equal(memory, before)
