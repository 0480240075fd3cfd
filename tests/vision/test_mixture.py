"""Mixtures of Gaussians against naive loops, known mixtures, and what must hold of any fit."""

import math

import numpy as np
import pytest

from visionkit.errors import DataError, ShapeError, UsageError
from visionkit.vision.mixture import GaussianMixture


def samples(rng, count=600):
    """Three clouds in four dimensions of very different widths, and which each sample comes from."""
    means = np.array([[0, 0, 0, 0], [6, 0, 60, 0], [0, 6, 0, -0.6]])
    widths = np.array([[1, 1, 10, 0.1], [0.5, 1, 10, 0.1], [1, 2, 5, 0.05]])
    kind = rng.choice(3, count, p=[0.5, 0.3, 0.2])
    return means[kind] + widths[kind] * rng.standard_normal((count, 4)), kind, means, widths


def naive_step(x, mixture):
    """One step of expectation and maximisation, sample by sample."""
    n, f = x.shape
    k = len(mixture.shares)
    belongs = [[0.0] * k for _ in range(n)]
    for i in range(n):
        density = []
        for c in range(k):
            p = float(mixture.shares[c])
            for a in range(f):
                v = float(mixture.variances[c, a])
                p *= math.exp(-((float(x[i, a] - mixture.means[c, a])) ** 2) / (2 * v)) / math.sqrt(
                    2 * math.pi * v
                )
            density.append(p)
        belongs[i] = [p / sum(density) for p in density]
    shares, means, variances = [], [], []
    for c in range(k):
        count = sum(b[c] for b in belongs)
        mean = [sum(b[c] * x[i, a] for i, b in enumerate(belongs)) / count for a in range(f)]
        shares.append(count / n)
        means.append(mean)
        variances.append(
            [sum(b[c] * (x[i, a] - mean[a]) ** 2 for i, b in enumerate(belongs)) / count for a in range(f)]
        )
    return np.array(shares), np.array(means), np.array(variances)


def test_a_step_is_that_of_the_loops(rng):
    x = samples(rng, 80)[0]
    before = GaussianMixture.fit(x, 3, steps=3, tolerance=-1, rng=np.random.default_rng(1))
    after = GaussianMixture.fit(x, 3, steps=4, tolerance=-1, rng=np.random.default_rng(1))
    for found, expected in zip(
        (after.shares, after.means, after.variances), naive_step(x, before), strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


def test_a_known_mixture_is_found(rng):
    x, kind, means, widths = samples(rng, 3000)
    found = GaussianMixture.fit(x, 3, rng=rng)
    order = [int(np.linalg.norm((found.means - m) / widths[i], axis=1).argmin()) for i, m in enumerate(means)]
    assert sorted(order) == [0, 1, 2]
    np.testing.assert_allclose(found.shares[order], [0.5, 0.3, 0.2], atol=0.03)
    np.testing.assert_allclose(found.variances[order], widths**2, rtol=0.25)
    assert (np.array(order)[kind] == found.predict(x)).mean() > 0.98


def test_the_likelihood_never_falls_and_the_fit_stops(rng):
    x = samples(rng)[0]
    found = GaussianMixture.fit(x, 8, steps=500, rng=rng)
    gains = np.diff(found.likelihood)
    assert len(found.likelihood) < 500
    assert (gains[:-1] >= 1e-4).all()
    assert gains[-1] > -1e-9
    assert found.shares.sum() == pytest.approx(1)
    assert np.logaddexp.reduce(found.log_joint(x), axis=1).mean() >= found.likelihood[-1] - 1e-9


def test_densities_sum_to_one():
    mixture = GaussianMixture(np.array([0.3, 0.7]), np.array([[0.0], [2.0]]), np.array([[1.0], [0.25]]))
    grid = np.linspace(-10, 10, 20001)[:, None]
    density = np.exp(mixture.log_joint(grid)).sum(axis=0) * 0.001
    np.testing.assert_allclose(density, [0.3, 0.7], rtol=1e-6)


def test_the_same_generator_gives_the_same_fit(rng):
    x = samples(rng)[0]
    one, other = (GaussianMixture.fit(x, 5, rng=np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(one.means, other.means)
    assert one.likelihood == other.likelihood


@pytest.mark.parametrize("x", [np.ones((9, 2)), np.repeat([[0.0, 1], [5, 1]], 5, axis=0)])
def test_equal_samples_and_dead_axes_do_no_harm(x, rng):
    found = GaussianMixture.fit(x, 4, rng=rng)
    assert all(np.isfinite(a).all() for a in (found.shares, found.means, found.variances, found.log_joint(x)))


def test_one_component_is_the_mean_and_the_variance(rng):
    x = samples(rng)[0]
    found = GaussianMixture.fit(x, 1, rng=rng)
    np.testing.assert_allclose(found.means[0], x.mean(axis=0))
    np.testing.assert_allclose(found.variances[0], x.var(axis=0))


def test_what_cannot_be_fitted_is_refused(rng):
    x = np.ones((4, 2))
    for components in (0, 5):
        with pytest.raises(UsageError, match="4 samples make 1 to 4 components"):
            GaussianMixture.fit(x, components, rng=rng)
    x[2, 1] = np.nan
    with pytest.raises(DataError, match=r"samples\[2, 1\]"):
        GaussianMixture.fit(x, 1, rng=rng)
    with pytest.raises(ShapeError):
        GaussianMixture.fit(np.ones(4), 1, rng=rng)
    with pytest.raises(ShapeError):
        GaussianMixture.fit(np.eye(4), 2, rng=rng).predict(np.ones((1, 3)))
