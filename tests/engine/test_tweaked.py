"""TCNN's regressors: least squares by an independent way, the limits of the ridge, and what it is for."""

import numpy as np
import pytest

from visionkit.engine.tweaked import TweakedRegressors
from visionkit.errors import ShapeError
from visionkit.weights import safetensors


@pytest.fixture
def given(rng):
    """Features in two clouds, targets that are a linear function of them in each, and a common layer."""
    kind = rng.integers(0, 2, 400)
    x = rng.standard_normal((400, 5)) + 12.0 * kind[:, None]
    slopes, offsets = rng.standard_normal((2, 3, 5)), rng.standard_normal((2, 3))
    y = np.einsum("nmf,nf->nm", slopes[kind], x) + offsets[kind]
    common, offset = rng.standard_normal((3, 5)), rng.standard_normal(3)
    return kind, x, y, rng.uniform(0.5, 2, 400), common, offset


def fit(given, **options):
    _, x, y, counts, common, offset = given
    options = {"components": 2, "rng": np.random.default_rng(0)} | options
    return TweakedRegressors.fit(x, y, counts, common, offset, **options)


def test_without_a_ridge_each_kind_gets_its_own_function_back(given):
    found = fit(given, ridge=0.0)
    np.testing.assert_allclose(found(given[1]), given[2], atol=1e-6)


def near(given, known, chosen, strength):
    """The (M, F + 1) regressor of some samples near a known one: ridge and samples as rows for `lstsq`."""
    _, x, y, counts, _, _ = given
    ones = np.column_stack([x, np.ones(len(x))])
    pull = np.sqrt(strength * (counts[:, None] * ones**2).mean(axis=0))
    root = np.sqrt(counts[chosen])[:, None]
    system = np.concatenate([root * ones[chosen], np.diag(pull)])
    wanted = np.concatenate([root * y[chosen], pull[:, None] * known.T])
    return np.linalg.lstsq(system, wanted, rcond=None)[0].T


def common(given):
    """The regressor of all samples near the last layer, which is worth ten of them."""
    return near(given, np.column_stack(given[4:]), slice(None), 10.0)


def test_a_great_ridge_leaves_the_common_regressor(given):
    found = fit(given, ridge=1e15)
    for weight, bias in zip(found.weight, found.bias, strict=True):
        np.testing.assert_allclose(np.column_stack([weight, bias]), common(given), rtol=1e-6)


@pytest.mark.parametrize("ridge", [1.0, 50.0])
def test_a_regressor_minimises_what_it_should(given, ridge):
    found = fit(given, ridge=ridge)
    kind = found.mixture.predict(given[1])
    for k in range(2):
        expected = near(given, common(given), kind == k, ridge)
        np.testing.assert_allclose(np.column_stack([found.weight[k], found.bias[k]]), expected, rtol=1e-6)


def test_a_kind_that_weighs_nothing_keeps_the_common_regressor(given):
    kind, x, y, counts, weight, offset = given
    given = kind, x, y, np.where(kind == 1, 0.0, counts), weight, offset
    expected = np.column_stack([x, np.ones(len(x))]) @ common(given).T
    np.testing.assert_allclose(fit(given, ridge=5.0)(x)[kind == 1], expected[kind == 1], rtol=1e-7)


def test_a_dead_feature_keeps_its_weights(given):
    """It says nothing, so nothing is known about it."""
    kind, x, y, counts, weight, offset = given
    x = np.where(np.arange(5) == 2, 0.0, x)
    found = fit((kind, x, y, counts, weight, offset))
    np.testing.assert_allclose(found.weight[:, :, 2], np.tile(weight[:, 2], (2, 1)), rtol=1e-9)


def test_regressors_travel_through_a_file(given, tmp_path):
    found = fit(given)
    safetensors.write(tmp_path / "t.safetensors", found.state_dict(), {})
    again = TweakedRegressors.from_state_dict(safetensors.read(tmp_path / "t.safetensors")[0])
    np.testing.assert_array_equal(again(given[1]), found(given[1]))


def test_arrays_must_fit(given):
    _, x, y, counts, common, offset = given
    with pytest.raises(ShapeError, match="counts"):
        TweakedRegressors.fit(x, y, counts[:-1], common, offset, rng=np.random.default_rng(0))
    with pytest.raises(ShapeError, match="weight"):
        TweakedRegressors.fit(x, y, counts, common[:, 1:], offset, rng=np.random.default_rng(0))
    with pytest.raises(ShapeError, match="features"):
        fit(given)(x[:, 1:])
