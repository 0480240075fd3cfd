"""Every layer: its shapes, its state and its gradients through a whole network."""

import numpy as np
import pytest

from visionkit import nn
from visionkit.errors import UsageError
from visionkit.gradcheck import gradcheck
from visionkit.nn import losses
from visionkit.tensor import Tensor

RNG = np.random.default_rng(0)
SHAPE = (2, 6, 8, 4)
LAYERS = {
    "Conv2d": (lambda: nn.Conv2d(4, 6, 3, 2, 1, groups=2, rng=RNG), (2, 3, 4, 6)),
    "BatchNorm2d": (lambda: nn.BatchNorm2d(4), SHAPE),
    "Linear": (lambda: nn.Linear(4, 5, rng=RNG), (2, 6, 8, 5)),
    "MaxPool2d": (lambda: nn.MaxPool2d(3, 2, 1), (2, 3, 4, 4)),
    "AvgPool2d": (lambda: nn.AvgPool2d((2, 4)), (2, 3, 2, 4)),
    "GlobalAvgPool2d": (nn.GlobalAvgPool2d, (2, 1, 1, 4)),
    "Upsample": (lambda: nn.Upsample(2), (2, 12, 16, 4)),
    "ReLU": (nn.ReLU, SHAPE),
    "ReLU6": (nn.ReLU6, SHAPE),
    "LeakyReLU": (nn.LeakyReLU, SHAPE),
    "PReLU": (lambda: nn.PReLU(4), SHAPE),
    "SiLU": (nn.SiLU, SHAPE),
    "Sigmoid": (nn.Sigmoid, SHAPE),
    "Tanh": (nn.Tanh, SHAPE),
    "Softmax": (nn.Softmax, SHAPE),
    "Dropout": (lambda: nn.Dropout(0.5, rng=RNG), SHAPE),
    "Flatten": (nn.Flatten, (2, 192)),
    "Identity": (nn.Identity, SHAPE),
    "Sequential": (lambda: nn.Sequential(nn.ReLU(), nn.Flatten()), (2, 192)),
}


def test_there_is_a_case_for_every_layer() -> None:
    bases = {"Module", "ModuleList", "Parameter", "Buffer", "init", "losses"}
    assert set(LAYERS) == set(nn.__all__) - bases


@pytest.mark.parametrize("name", sorted(LAYERS))
def test_shape_state_and_repr(name: str) -> None:
    make, shape = LAYERS[name]
    layer, other = make(), make()
    x = Tensor(np.random.default_rng(1).normal(size=SHAPE).astype(np.float32), requires_grad=True)
    out = layer(x)
    assert out.shape == shape
    assert out.dtype == np.float32
    out.sum().backward()
    assert x.grad.shape == SHAPE
    assert all(p.grad is not None and p.grad.strides == p.data.strides for p in layer.parameters())
    other.load_state_dict(layer.state_dict())
    np.testing.assert_array_equal(layer.eval()(x).data, other.eval()(x).data)
    assert type(layer).__name__ in repr(layer)


def test_gradient_of_a_whole_network_and_loss() -> None:
    """TRN-08: float64, three samples, every parameter, biases of 0.1, normal inputs."""
    rng = np.random.default_rng(2)
    net = nn.Sequential(
        nn.Conv2d(2, 4, 3, 2, 1, bias=False, rng=rng), nn.BatchNorm2d(4), nn.SiLU(),
        nn.Conv2d(4, 4, 3, 1, 1, groups=4, rng=rng), nn.LeakyReLU(0.1), nn.MaxPool2d(2, 1), nn.Upsample(2),
        nn.GlobalAvgPool2d(), nn.Flatten(), nn.Linear(4, 3, rng=rng),
    ).to(np.float64)  # fmt: skip
    for name, p in net.named_parameters():
        if name.endswith("bias"):
            p.data[...] = 0.1
    params = [p.data for p in net.parameters()]
    x = rng.normal(size=(3, 6, 6, 2))

    def loss(x: Tensor, *values: Tensor) -> Tensor:
        given = iter(values)
        for layer in net:
            for key in ("weight", "bias"):
                if isinstance(getattr(layer, key, None), Tensor):
                    setattr(layer, key, next(given))
        return losses.cross_entropy(net(x), [0, 2, 1])

    assert gradcheck(loss, [x, *params], rng=rng) < 1e-6


@pytest.mark.parametrize(
    "loss",
    [
        lambda x, t: losses.bce_with_logits(x, t),
        lambda x, t: losses.focal_loss(x, t, alpha=0.25),
        lambda x, t: losses.focal_loss(x, t, gamma=0.0, reduction="none"),
        lambda x, t: losses.smooth_l1(x, t, 0.4, "sum"),
        lambda x, t: losses.mse(x, t, "none"),
    ],
)
def test_gradients_of_losses(loss) -> None:
    rng = np.random.default_rng(3)
    x, t = rng.normal(size=(4, 3)) * 2, rng.uniform(size=(4, 3))
    assert gradcheck(lambda x: loss(x, t), [x], rng=rng) < 1e-6


def test_published_losses() -> None:
    """Seeds' T38 (smooth L1) and T36 (focal factor)."""
    d = Tensor(np.array([0.5, 1.0, 2.0, -2.0]))
    np.testing.assert_allclose(losses.smooth_l1(d, 0.0, reduction="none").data, [0.125, 0.5, 1.5, 1.5])
    p = np.array([0.2, 0.3, 0.6, 0.9])
    logits = Tensor(np.log(p / (1 - p)))
    factor = losses.focal_loss(logits, 1.0, reduction="none").data / -np.log(p)
    np.testing.assert_allclose(factor, [0.64, 0.49, 0.16, 0.01], rtol=1e-12)


def test_a_loss_over_nothing_is_zero_with_zero_gradients() -> None:
    x = Tensor(np.zeros((0, 3), np.float32), requires_grad=True)
    for loss in (
        losses.mse(x, 0.0),
        losses.bce_with_logits(x, 0.0),
        losses.cross_entropy(x, np.zeros(0, int)),
    ):
        assert loss.item() == 0
        loss.backward()
    assert x.grad.shape == (0, 3)


def test_groups_that_do_not_divide_are_refused() -> None:
    with pytest.raises(UsageError, match="groups"):
        nn.Conv2d(4, 6, 3, groups=4, rng=RNG)
