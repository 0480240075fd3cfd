"""TCNN: a linear regressor of its own for every kind of face (Wu et al. 2018; FLM-06)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..shapes import expect
from ..vision.mixture import Floats, GaussianMixture

#: How many samples the network's last layer is worth against the common regressor of all samples.
_LAST_LAYER = 10.0
#: Of the fit of the mixture; later ones move few samples from kind to kind.
_STEPS = 40


@dataclass(frozen=True, slots=True, eq=False)
class TweakedRegressors:
    """A mixture of features and one regressor a component; at use the likeliest component's speaks.

    Attributes:
        mixture: of the features of the last hidden layer.
        weight, bias: (C, M, F) and (C, M) float64, as of C linear layers.
    """

    mixture: GaussianMixture
    weight: Floats
    bias: Floats

    @classmethod
    def fit(
        cls, features: ArrayLike, wanted: ArrayLike, counts: ArrayLike, weight: ArrayLike, bias: ArrayLike,
        *, components: int = 64, ridge: float = 1000.0, rng: np.random.Generator,
    ) -> Self:  # fmt: skip
        """The regressors of least squares, each near a common one.

        A component with few samples would fit their noise: a ridge pulls each regressor to that of all
        samples, with the weight of so many of them. This one, in turn, hardly leaves the network's last layer
        where features say nothing.

        Args:
            features: (N, F) of the last hidden layer: of pictures as they come in use, several of each, a
                little varied, since there are few faces a kind.
            wanted: (N, M) what the last layer should say.
            counts: (N,) the weight of each sample in the loss.
            weight, bias: (M, F) and (M,) of the last layer.
            components: kinds of faces.
            ridge: how many samples the common regressor is worth, above 0 where a kind has few samples.
            rng: chooses where the mixture begins.

        Raises:
            ShapeError: arrays that do not fit.
            DataError, UsageError: as of `GaussianMixture.fit`.
        """
        x = np.asarray(expect(features, "N F", name="features"), np.float64)
        count, width = x.shape
        y = np.asarray(expect(wanted, "N M", name="wanted", N=count), np.float64)
        w = np.asarray(expect(counts, "N", name="counts", N=count), np.float64)[:, None]
        common = np.asarray(expect(weight, "M F", name="weight", M=y.shape[1], F=width), np.float64)
        offset = np.asarray(expect(bias, "M", name="bias", M=y.shape[1]), np.float64)
        mixture = GaussianMixture.fit(x, components, steps=_STEPS, rng=rng)
        kind, ones = mixture.predict(x), np.column_stack([x, np.ones(count)])
        pull = np.diag((w * ones**2).mean(axis=0) + 1e-12)

        def near(known: Floats, chosen: NDArray[np.bool_], strength: float) -> Floats:
            """The regressor of the chosen samples that is near a known one, (F + 1, M)."""
            own, heavy = ones[chosen], w[chosen]
            rest = own.T @ (heavy * (y[chosen] - own @ known))
            return known + np.asarray(np.linalg.solve(own.T @ (heavy * own) + strength * pull, rest))

        every = near(np.vstack([common.T, offset]), np.ones(count, bool), _LAST_LAYER)
        found = np.stack([near(every, kind == k, ridge) for k in range(components)])
        return cls(mixture, np.ascontiguousarray(found[:, :-1].transpose(0, 2, 1)), found[:, -1].copy())

    def __call__(self, features: ArrayLike) -> Floats:
        """(N, F) features to (N, M): what the regressor of each sample's kind says."""
        x = np.asarray(expect(features, "N F", name="features", F=self.weight.shape[2]), np.float64)
        kind = self.mixture.predict(x)
        found: Floats = np.einsum("nmf,nf->nm", self.weight[kind], x) + self.bias[kind]
        return found

    def state_dict(self) -> dict[str, NDArray[np.float64]]:
        """All arrays by name, to be written beside the network's."""
        mixture = self.mixture
        return {"shares": mixture.shares, "means": mixture.means, "variances": mixture.variances,
                "weight": self.weight, "bias": self.bias}  # fmt: skip

    @classmethod
    def from_state_dict(cls, state: Mapping[str, NDArray[Any]]) -> Self:
        """The regressors that `state_dict` described."""
        mixture = GaussianMixture(state["shares"], state["means"], state["variances"])
        return cls(mixture, np.asarray(state["weight"]), np.asarray(state["bias"]))
