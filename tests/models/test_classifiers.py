"""The digit reader of ARC-01: size, shapes, plan, and the loss curve of the same network in torch."""

import numpy as np
import pytest

from tests.oracles import run_torch
from visionkit import functional as F
from visionkit.graph import compile, trace  # noqa: A004
from visionkit.models.classifiers import MnistNet
from visionkit.optim import SGD, parameter_groups
from visionkit.optim.schedule import half_life
from visionkit.tensor import Tensor, no_grad
from visionkit.weights import safetensors

TORCH = """
w = {k[2:]: torch.tensor(given[k], requires_grad=True) for k in given if k.startswith("w.")}
fn = torch.nn.functional
groups = [
    {"params": [p for k, p in w.items() if k.endswith("weight")], "scale": 1.0},
    {"params": [p for k, p in w.items() if k.endswith("bias")], "scale": 2.0},
]
sgd = torch.optim.SGD(groups, lr=1.0, momentum=float(given["momentum"]))
losses = []
for i, (x, y) in enumerate(zip(torch.tensor(given["x"]), torch.tensor(given["y"]))):
    for group in sgd.param_groups:
        group["lr"] = group["scale"] * float(given["rates"][i])
    h = fn.max_pool2d(fn.conv2d(x.permute(0, 3, 1, 2), w["conv1.weight"], w["conv1.bias"]), 2)
    h = fn.max_pool2d(fn.conv2d(h, w["conv2.weight"], w["conv2.bias"]), 2)
    h = h.permute(0, 2, 3, 1).reshape(len(x), -1)
    h = fn.relu(fn.linear(h, w["hidden.weight"], w["hidden.bias"]))
    loss = fn.cross_entropy(fn.linear(h, w["scores.weight"], w["scores.bias"]), y)
    sgd.zero_grad()
    loss.backward()
    sgd.step()
    losses.append(loss.item())
result["losses"] = np.array(losses)
"""


@pytest.fixture
def network():
    return MnistNet(rng=np.random.default_rng(3))


def test_parameters(network):
    counts = {name: p.size for name, p in network.named_parameters() if name.endswith("weight")}
    assert counts == {
        "conv1.weight": 500, "conv2.weight": 20_000, "hidden.weight": 128_000, "scores.weight": 2_000
    }  # fmt: skip
    assert sum(p.size for p in network.parameters()) == 150_770


def test_it_starts_with_xavier_weights_and_no_bias(network):
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            assert not parameter.data.any()
            continue
        o, i, *taps = parameter.shape
        bound = np.sqrt(6 / ((i + o) * np.prod(taps)))
        assert 0.97 * bound < np.abs(parameter.data).max() <= bound * (1 + 1e-6)
        assert parameter.data.std() == pytest.approx(bound / np.sqrt(3), rel=0.1)


def test_the_maps_shrink_as_published(network):
    shapes = [node.output.shape[1:] for node in trace(network, (1, 28, 28, 1)).nodes]
    expected = [(24, 24, 20), (12, 12, 20), (8, 8, 40), (4, 4, 40), (640,), (200,), (200,), (10,)]
    assert [s for s in shapes if s in expected] == expected
    operations = [node.op for node in trace(network, (1, 28, 28, 1)).nodes]
    assert operations.count("relu") == 1
    assert operations.index("relu") > operations.index("linear")


def test_the_plan_says_what_the_tape_says(network, rng):
    x = rng.integers(0, 256, (5, 28, 28, 1)).astype(np.uint8)
    (found,) = compile(network, x.shape, scale=1 / 255).forward(x)
    with no_grad():
        expected = network(Tensor(x / np.float32(255))).data
    assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max()


def test_weights_travel_through_a_file(network, tmp_path):
    safetensors.write(tmp_path / "digits.safetensors", network.state_dict())
    other = MnistNet(rng=np.random.default_rng(4))
    other.load_state_dict(safetensors.read(tmp_path / "digits.safetensors")[0])
    for name, array in network.state_dict().items():
        np.testing.assert_array_equal(other.state_dict()[name], array, err_msg=name)


@pytest.mark.peers
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_the_loss_curve_is_torchs(network, rng, momentum):
    """The published recipe in float64, same weights, same digits: same losses (torture 3.3 F)."""
    steps, batch = 30, 6
    x, y = rng.random((steps, batch, 28, 28, 1)), rng.integers(0, 10, (steps, batch))
    rate = half_life(0.01, 20)
    for parameter in network.parameters():
        parameter.data = parameter.data.astype(np.float64)
    given = {f"w.{name}": p.data for name, p in network.named_parameters()}
    rates = [rate(i) for i in range(steps)]
    expected = run_torch(TORCH, {**given, "x": x, "y": y, "rates": rates, "momentum": momentum})["losses"]
    optimiser = SGD(parameter_groups(network, 0.0, bias_lr_scale=2.0), 0.01, momentum)
    losses = []
    for i in range(steps):
        loss = F.cross_entropy(network(Tensor(x[i])), y[i])
        optimiser.zero_grad()
        loss.backward()
        optimiser.lr = rates[i]
        optimiser.step()
        losses.append(loss.item())
    np.testing.assert_allclose(losses, expected, rtol=1e-9)
    assert len(set(losses)) == steps
