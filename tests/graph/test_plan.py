"""Plans against the eager float64 path: maps, gradients, running statistics, memory, threads."""

from collections.abc import Callable

import numpy as np
import pytest

from visionkit import functional as F
from visionkit.errors import ShapeError, TraceError, UsageError
from visionkit.graph import compile  # noqa: A004
from visionkit.kernels import jit
from visionkit.models.detectors import yolo_nano, yolo_nano_dilated
from visionkit.nn import (
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Dropout,
    Flatten,
    LeakyReLU,
    Linear,
    MaxPool2d,
    Module,
    Sequential,
    SiLU,
)
from visionkit.tensor import Tensor

FORWARD = 1e-5  # whole network, of the largest value (torture 3.4)
GRADIENT = 5e-5


class Mixed(Module):
    """One of everything: strides, dilation, groups, depthwise, shortcuts, concatenation, up-sampling."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.stem = Conv2d(3, 16, 3, 2, 1, bias=False, rng=rng)
        self.bn = BatchNorm2d(16)
        self.silu, self.leaky = SiLU(), LeakyReLU(0.1)
        self.reduce = Conv2d(16, 8, 1, bias=False, rng=rng)
        self.bn2 = BatchNorm2d(8)
        self.expand = Conv2d(8, 16, 3, padding=1, bias=False, rng=rng)
        self.bn3 = BatchNorm2d(16)
        self.pool = MaxPool2d(5, 1, 2)
        self.dilated = Conv2d(32, 24, 3, padding=2, dilation=2, rng=rng)
        self.down = Conv2d(24, 32, 5, 3, 1, rng=rng)
        self.grouped = Conv2d(32, 32, 3, padding=1, groups=2, rng=rng)
        self.odd_groups = Conv2d(32, 18, 3, padding=1, groups=2, rng=rng)
        self.depthwise = Conv2d(18, 18, 3, 2, 1, groups=18, rng=rng)
        self.lateral = Conv2d(32, 18, 1, rng=rng)
        self.average = AvgPool2d(2, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        x = self.silu(self.bn(self.stem(x)))
        x = x + self.leaky(self.bn3(self.expand(self.leaky(self.bn2(self.reduce(x))))))
        x = F.concat([x, self.pool(x)], axis=-1)
        x = self.dilated(x)
        y = F.relu(self.down(x))
        z = self.odd_groups(self.grouped(y))
        w = self.average(z) + self.depthwise(z)
        v = F.upsample_nearest(w, 2) + self.lateral(y)
        return F.concat([v[..., 3:9], w_up(w)], axis=-1), F.sigmoid(w), y


def w_up(w: Tensor) -> Tensor:
    return F.tanh(F.upsample_nearest(w, 2))


class Classifier(Module):
    """Convolution, overlapping ceil-mode pooling, flatten, linear layers, softmax."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.conv = Conv2d(3, 20, 5, rng=rng)
        self.pool = MaxPool2d(3, 2, ceil_mode=True)
        self.flatten = Flatten()
        self.fc = Linear(20 * 6 * 10, 30, rng=rng)
        self.out = Linear(30, 7, bias=False, rng=rng)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        x = F.relu(self.fc(self.flatten(self.pool(self.conv(x)))))
        return F.softmax(self.out(x)), x


def nano(rng: np.random.Generator) -> Module:
    return yolo_nano(3, rng=rng)


def shared_head(rng: np.random.Generator) -> Module:
    return yolo_nano(2, head="shared", rng=rng)


def dilated(rng: np.random.Generator) -> Module:
    return yolo_nano_dilated(1, rng=rng)


NETWORKS: list[tuple[Callable[[np.random.Generator], Module], tuple[int, ...]]] = [
    (Mixed, (2, 50, 52, 3)),
    (Classifier, (3, 16, 25, 3)),
    (nano, (2, 64, 96, 3)),
    (shared_head, (2, 64, 64, 3)),
    (dilated, (2, 64, 64, 3)),
]


def twins(make: Callable[[np.random.Generator], Module]) -> tuple[Module, Module]:
    """A network in float32 and its copy in float64.

    Deep networks get linear activations: an input that rounds to the other side of a kink would change
    gradients by far more than rounding. The kinks are tested on shallow networks.
    """
    network, exact = make(np.random.default_rng(1)), make(np.random.default_rng(1))
    for module in [*network.modules(), *exact.modules()]:
        if isinstance(module, LeakyReLU) and make not in (Mixed, Classifier):
            module.negative_slope = 1.0
    for _, tensor in [*exact.named_parameters(), *exact.named_buffers()]:
        tensor.data = tensor.data.astype(np.float64)
    return network, exact


def as_tuple(outputs: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return outputs if isinstance(outputs, tuple) else (outputs,)


def distance(found: np.ndarray, exact: np.ndarray) -> float:
    return float(np.abs(found - exact).max() / max(np.abs(exact).max(), 1e-30))


@pytest.mark.parametrize(("make", "shape"), NETWORKS)
def test_training_plan_equals_the_tape(make, shape, rng):
    network, exact = twins(make)
    x = rng.standard_normal(shape).astype(np.float32)
    plan = compile(network, shape, training=True)
    for _ in range(2):  # the second run starts from used memory
        maps = plan.forward(x)
        expected = as_tuple(exact(Tensor(x.astype(np.float64))))
        for found, wanted in zip(maps, expected, strict=True):
            assert distance(found, wanted.data) < FORWARD
        seeds = [rng.standard_normal(m.shape) for m in maps]
        for tensor in exact.parameters():
            tensor.grad = None
        total = sum(((m * s).sum() for m, s in zip(expected, seeds, strict=True)), Tensor(np.zeros(())))
        total.backward()
        plan.backward(tuple(s.astype(np.float32) for s in seeds))
        ours = dict(network.named_parameters())
        largest = max(float(np.abs(tensor.grad).max()) for tensor in exact.parameters())
        for name, tensor in exact.named_parameters():
            # A bias before a batch-norm has no gradient at all: its rounding is held against the largest.
            bound = GRADIENT * max(float(np.abs(tensor.grad).max()), 0.01 * largest)
            np.testing.assert_allclose(ours[name].grad, tensor.grad, rtol=0, atol=bound, err_msg=name)
            assert ours[name].grad.strides == ours[name].data.strides or min(tensor.shape) == 1, name
    running = dict(network.named_buffers())
    for name, tensor in exact.named_buffers():
        bound = FORWARD * max(float(np.abs(tensor.data).max()), 1.0)
        np.testing.assert_allclose(running[name].data, tensor.data, rtol=0, atol=bound, err_msg=name)


@pytest.mark.parametrize(("make", "shape"), NETWORKS)
def test_inference_plan_equals_the_tape(make, shape, rng):
    network, exact = twins(make)
    for (_, a), (_, b) in zip(network.named_buffers(), exact.named_buffers(), strict=True):
        a.data[...] = b.data[...] = rng.uniform(0.5, 1.5, a.shape).astype(np.float32)
    network.eval()
    exact.eval()
    x = rng.standard_normal(shape).astype(np.float32)
    plan = compile(network, shape)
    expected = as_tuple(exact(Tensor(x.astype(np.float64))))
    first = [m.copy() for m in plan.forward(x)]
    for found, wanted in zip(first, expected, strict=True):
        assert distance(found, wanted.data) < FORWARD
    plan.forward(-x)
    for found, again in zip(first, plan.forward(x), strict=True):
        np.testing.assert_array_equal(found, again)


@pytest.mark.parametrize(("make", "shape"), NETWORKS[:3])
def test_threads_never_change_a_bit(make, shape, rng):
    x = rng.standard_normal(shape).astype(np.float32)
    results = []
    before = jit.threads()
    try:
        for count in (1, 2):
            jit.set_threads(count)
            network = make(np.random.default_rng(1))
            plan = compile(network, shape, training=True)
            maps = [m.copy() for m in plan.forward(x)]
            plan.backward(tuple(np.cos(m) for m in maps))
            results.append([*maps, *(p.grad.copy() for p in network.parameters())])
    finally:
        jit.set_threads(before)
    for one, two in zip(*results, strict=True):
        np.testing.assert_array_equal(one, two)


def test_buffers_share_memory_and_nothing_is_written_behind_them(rng):
    network = nano(np.random.default_rng(1)).eval()
    plan = compile(network, (1, 96, 96, 3))
    buffers = {buffer for step in plan._low.steps for buffer in step.touches}
    scratch = max(step.scratch for step in plan._low.steps)
    arena = plan.memory.size - plan._low.constants.reserved - scratch
    assert arena < 0.5 * sum(buffer.size for buffer in buffers)
    end = plan.memory[-40:]
    end[:] = 12345.0
    plan.forward(rng.standard_normal((1, 96, 96, 3)).astype(np.float32))
    assert (end == 12345.0).all()


def test_frozen_parameters_get_no_gradient_and_keep_their_statistics(rng):
    network = nano(np.random.default_rng(1))
    for name, tensor in network.named_parameters():
        tensor.requires_grad = not name.startswith("backbone.")
    network.backbone.eval()
    before = {name: tensor.data.copy() for name, tensor in network.backbone.named_buffers()}
    plan = compile(network, (1, 64, 64, 3), training=True)
    maps = plan.forward(rng.standard_normal((1, 64, 64, 3)).astype(np.float32))
    plan.backward(tuple(np.ones_like(m) for m in maps))
    for name, tensor in network.named_parameters():
        assert (tensor.grad is None) == name.startswith("backbone."), name
    for name, tensor in network.backbone.named_buffers():
        np.testing.assert_array_equal(tensor.data, before[name])


class Dropped(Module):
    def __init__(self) -> None:
        self.scale = Conv2d(4, 4, 1, bias=False, rng=np.random.default_rng(0))
        self.scale.weight.data[...] = np.eye(4, dtype=np.float32)[:, :, None, None]
        self.drop = Dropout(0.25, rng=np.random.default_rng(0))

    def forward(self, x: Tensor) -> Tensor:
        return self.drop(self.scale(x))


def test_dropout_follows_the_step_alone():
    network = Dropped()
    x = np.ones((2, 40, 40, 4), np.float32)
    plan, other = (compile(network, x.shape, training=True) for _ in range(2))
    first = plan.forward(x)[0].copy()
    assert set(np.unique(first)) == {np.float32(0), np.float32(1) / np.float32(0.75)}
    assert abs((first == 0).mean() - 0.25) < 0.02
    assert (plan.forward(x)[0] != first).any()
    other.step = 0
    np.testing.assert_array_equal(other.forward(x)[0], first)
    other.backward((np.ones_like(first),))
    np.testing.assert_allclose(network.scale.weight.grad[0, 0], first[..., 0].sum(), rtol=1e-6)
    network.eval()
    np.testing.assert_array_equal(compile(network, x.shape).forward(x)[0], x)


def test_pictures_are_scaled_and_left_alone(rng):
    network = Conv2d(3, 5, 3, padding=1, rng=rng)
    pictures = rng.integers(0, 256, (1, 9, 7, 3)).astype(np.uint8)
    before = pictures.copy()
    plan = compile(network, pictures.shape, mean=114.0, scale=1 / 64)
    by_hand = compile(network, pictures.shape)
    scaled = (pictures.astype(np.float32) - 114) / 64
    np.testing.assert_allclose(plan.forward(pictures)[0], by_hand.forward(scaled)[0], atol=1e-6)
    np.testing.assert_array_equal(pictures, before)
    reversed_ = np.ascontiguousarray(scaled[:, ::-1])[:, ::-1]  # a view with a negative stride
    np.testing.assert_array_equal(by_hand.forward(reversed_)[0], by_hand.forward(scaled)[0])


def test_wrong_input_is_refused(rng):
    plan = compile(Conv2d(3, 5, 3, rng=rng), (1, 9, 7, 3))
    with pytest.raises(ShapeError, match=r"\(1, 9, 7, 3\)"):
        plan.forward(np.zeros((1, 7, 9, 3), np.float32))
    with pytest.raises(ShapeError, match="float64"):
        plan.forward(np.zeros((1, 9, 7, 3)))
    with pytest.raises(UsageError, match="training=True"):
        plan.backward((np.zeros((1, 7, 5, 5), np.float32),))


def test_each_backward_run_needs_a_forward_run(rng):
    plan = compile(Conv2d(3, 5, 3, rng=rng), (1, 9, 7, 3), training=True)
    gradient = (np.ones((1, 7, 5, 5), np.float32),)
    with pytest.raises(UsageError, match="forward"):
        plan.backward(gradient)
    plan.forward(np.zeros((1, 9, 7, 3), np.float32))
    plan.backward(gradient)
    with pytest.raises(UsageError, match="forward"):
        plan.backward(gradient)


def test_what_a_plan_cannot_run_is_named():
    with pytest.raises(TraceError, match="'exp'"):
        compile(lambda x: x.exp(), (1, 4, 4, 3))
    with pytest.raises(TraceError, match="values"):
        compile(lambda x: x * float(x.data.max()), (1, 4, 4, 3))


def test_a_refreshed_plan_runs_the_networks_present_weights_and_statistics(rng):
    network = Sequential(Conv2d(3, 20, 3, 1, 1, rng=rng), BatchNorm2d(20), Conv2d(20, 4, 1, rng=rng)).eval()
    x = rng.normal(size=(1, 9, 8, 3)).astype(np.float32)
    plan = compile(network, x.shape)
    before = plan.forward(x)[0].copy()
    for tensor in (*network.parameters(), *(buffer for _, buffer in network.named_buffers())):
        tensor.data[...] = rng.uniform(0.5, 1.5, tensor.shape)
    np.testing.assert_array_equal(plan.forward(x)[0], before)  # inference keeps what it was made of
    plan.refresh()
    np.testing.assert_array_equal(plan.forward(x)[0], compile(network, x.shape).forward(x)[0])
    assert np.abs(plan.forward(x)[0] - before).max() > 0.1
