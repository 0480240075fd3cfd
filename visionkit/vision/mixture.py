"""Mixtures of Gaussians, fitted by expectation and maximisation."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import DataError, UsageError
from ..shapes import expect

Floats = NDArray[np.float64]

#: Least variance along an axis, as a part of that of all samples: no component shrinks to one of them.
_FLOOR = 1e-3


@dataclass(frozen=True, slots=True, eq=False)
class GaussianMixture:
    """K Gaussians whose axes are those of the samples, each with a share.

    Attributes:
        shares: (K,) float64, with a sum of 1.
        means, variances: (K, F) float64.
        likelihood: the mean log-likelihood of the samples before each step of the fit, which never falls.
    """

    shares: Floats
    means: Floats
    variances: Floats
    likelihood: tuple[float, ...] = ()

    @classmethod
    def fit(
        cls,
        samples: ArrayLike,
        components: int,
        *,
        steps: int = 100,
        tolerance: float = 1e-4,
        rng: np.random.Generator,
    ) -> Self:
        """The mixture that explains samples best, near where the search begins.

        It begins at samples far from each other (Arthur and Vassilvitskii 2007) with the variance of all.

        Args:
            samples: (N, F).
            components: K, at most N.
            steps: at most so many.
            tolerance: stop where the likelihood gains less in a step.
            rng: chooses the beginning.

        Raises:
            ShapeError: not (N, F).
            DataError: samples that are not finite.
            UsageError: more components than samples, or none.
        """
        x = np.asarray(expect(samples, "N F", name="samples"), np.float64)
        if not np.isfinite(x).all():
            row, column = np.argwhere(~np.isfinite(x))[0]
            raise DataError("a sample that is not finite", place=f"samples[{row}, {column}]")
        if not 1 <= components <= len(x):
            raise UsageError(f"{len(x)} samples make 1 to {len(x)} components", value=components)
        spread = np.maximum(x.var(axis=0), 1e-12)
        floor = _FLOOR * spread
        shares = np.full(components, 1 / components)
        found = cls(shares, _spread_out(x, spread, components, rng), np.tile(spread, (components, 1)))
        history: list[float] = []
        for _ in range(steps):
            joint = found.log_joint(x)
            whole = np.logaddexp.reduce(joint, axis=1)
            history.append(float(whole.mean()))
            if len(history) > 1 and history[-1] - history[-2] < tolerance:
                break
            found = cls._most_likely(x, np.exp(joint - whole[:, None]), floor)
        return cls(found.shares, found.means, found.variances, tuple(history))

    @classmethod
    def _most_likely(cls, x: Floats, belongs: Floats, floor: Floats) -> Self:
        """Of samples that belong to components in part, (N, K)."""
        counts = belongs.sum(axis=0) + 1e-12
        means = belongs.T @ x / counts[:, None]
        variances = belongs.T @ (x * x) / counts[:, None] - means**2
        return cls(counts / counts.sum(), means, np.maximum(variances, floor))

    def log_joint(self, samples: ArrayLike) -> Floats:
        """(N, K) the logarithm of each component's share times its density at each sample."""
        x = np.asarray(expect(samples, "N F", name="samples", F=self.means.shape[1]), np.float64)
        precise = 1 / self.variances
        squares = (
            (x * x) @ precise.T - 2 * x @ (self.means * precise).T + (self.means**2 * precise).sum(axis=1)
        )
        constant = np.log(2 * np.pi * self.variances).sum(axis=1)
        joint: Floats = np.log(self.shares) - (squares + constant) / 2
        return joint

    def predict(self, samples: ArrayLike) -> NDArray[np.int64]:
        """(N,) the component that each sample most likely comes from."""
        return self.log_joint(samples).argmax(axis=1)


def _spread_out(x: Floats, spread: Floats, count: int, rng: np.random.Generator) -> Floats:
    """(count, F) samples, each chosen in proportion to its squared distance from those before."""
    scaled = x / np.sqrt(spread)
    chosen = [int(rng.integers(len(x)))]
    distance = np.full(len(x), np.inf)
    while len(chosen) < count:
        distance = np.minimum(distance, ((scaled - scaled[chosen[-1]]) ** 2).sum(axis=1))
        total = distance.sum()
        chosen.append(int(rng.choice(len(x), p=distance / total if total > 0 else None)))
    return x[chosen]
