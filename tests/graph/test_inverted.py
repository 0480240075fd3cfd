"""Expand, depthwise, project in one pass: against the float64 tape, in watched memory; what is left alone."""

import numpy as np
import pytest

from tests.graph.guarded import Guarded
from visionkit import functional as F
from visionkit.graph import compile, trace  # noqa: A004
from visionkit.graph.passes import fuse_inverted, prepare
from visionkit.kernels import inverted, jit
from visionkit.nn import Conv2d, Module
from visionkit.tensor import Tensor

ACTIVATIONS = {
    "none": lambda x: x,
    "relu": F.relu,
    "relu6": F.relu6,
    "leaky": lambda x: F.leaky_relu(x, 0.1),
    "silu": F.silu,
}


@pytest.fixture(autouse=True)
def _always_pays(monkeypatch):
    monkeypatch.setattr(inverted, "_LEAST", 1)


class Block(Module):
    """A 1x1 in front whose result is the block's input, so that it does not come from the picture."""

    def __init__(
        self, ins, hidden, outs, *, stride=1, padding=1, expand=True, bias=True, shortcut=None,
        bends=("relu6",) * 3, kernel=3, dilation=1, rng,
    ):  # fmt: skip
        self.before = Conv2d(3, ins, 1, rng=rng)
        self.expand = Conv2d(ins, hidden, 1, bias=bias, rng=rng) if expand else None
        hidden = hidden if expand else ins
        self.depthwise = Conv2d(hidden, hidden, kernel, stride, padding, dilation, hidden, bias, rng=rng)
        self.project = Conv2d(hidden, outs, 1, bias=bias, rng=rng)
        self.shortcut, self.bends = shortcut, [ACTIVATIONS[name] for name in bends]
        for parameter in self.parameters():
            parameter.data[...] += 0.1 * rng.normal(size=parameter.shape)

    def forward(self, x: Tensor) -> Tensor:
        one, two, three = self.bends
        x = F.sigmoid(self.before(x))
        y = one(self.expand(x)) if self.expand else x
        y = self.project(two(self.depthwise(y)))
        if self.shortcut == "before":
            return three(x + y)
        return x + three(y) if self.shortcut == "after" else three(y)


def kernels(plan):
    return [kernel.__name__ for kernel, _ in plan._program.calls if "clear" not in kernel.__name__]


def check(network, shape, rng, *, fused=True):
    x = rng.normal(size=shape).astype(np.float32)
    plan = Guarded(compile(network.eval(), shape)).watch()
    assert ("inverted" in kernels(plan)) == fused
    found, exact = plan.forward(x)[0], network(Tensor(x.astype(np.float64))).data
    assert exact.dtype == np.float64
    np.testing.assert_allclose(found, exact, atol=4e-6 * np.abs(exact).max(), rtol=0)
    return found.copy()


@pytest.mark.parametrize("expand", [True, False])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("padding", [0, 1, 2])
def test_maps_of_any_size(expand, stride, padding, rng):
    for n, h, w in ((1, 3, 3), (2, 4, 9), (1, 17, 13), (3, 8, 21)):
        network = Block(16, 48, 24, stride=stride, padding=padding, expand=expand, rng=rng)
        check(network, (n, h, w, 3), rng)


@pytest.mark.parametrize("expand", [True, False])
@pytest.mark.parametrize(("ins", "hidden", "outs"), [(3, 7, 5), (20, 70, 9), (33, 200, 130), (64, 64, 64)])
@pytest.mark.parametrize("bias", [True, False])
def test_channels_that_do_not_fill_vectors_or_blocks(expand, ins, hidden, outs, bias, rng):
    check(Block(ins, hidden, outs, expand=expand, bias=bias, rng=rng), (2, 6, 11, 3), rng)


@pytest.mark.parametrize("shortcut", [None, "before", "after"])
@pytest.mark.parametrize(
    "bends", [("relu", "leaky", "none"), ("none", "relu6", "relu6"), ("leaky", "none", "relu")]
)
def test_activations_and_shortcuts(shortcut, bends, rng):
    check(Block(24, 50, 24, shortcut=shortcut, bends=bends, rng=rng), (1, 9, 10, 3), rng)


@pytest.mark.parametrize("room", [1, 20_000, 10**9])
@pytest.mark.parametrize("stride", [1, 2])
def test_bands_of_any_height(room, stride, rng, monkeypatch):
    """Rings that turn within a band and between bands, and whole pictures in one."""
    monkeypatch.setattr(inverted, "_ROOM", room)
    check(Block(16, 40, 16, stride=stride, rng=rng), (3, 19, 9, 3), rng)


@pytest.mark.parametrize("expand", [True, False])
def test_the_threads_share_changes_no_bit(expand):
    before, found = jit.threads(), []
    try:
        for threads in (1, 2):
            jit.set_threads(threads)
            rng = np.random.default_rng(5)
            found.append(check(Block(16, 64, 16, expand=expand, rng=rng), (2, 15, 14, 3), rng))
    finally:
        jit.set_threads(before)
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize(
    "settings",
    [
        {"kernel": 5, "padding": 2}, {"dilation": 2, "padding": 2}, {"stride": 3},
        {"bends": ("relu", "silu", "relu")}, {"bends": ("relu", "relu", "silu")}, {"hidden": 1201},
    ],
)  # fmt: skip
def test_what_it_cannot_do_runs_apart(settings, rng):
    sizes = {"ins": 8, "hidden": 16, "outs": 8} | settings
    check(Block(**sizes, rng=rng), (1, 9, 9, 3), rng, fused=False)


def test_a_silu_in_front_stays_in_front(rng):
    check(Block(8, 16, 8, bends=("silu", "relu", "none"), rng=rng), (1, 9, 9, 3), rng)


class Shared(Block):
    """Somebody else reads what is in between."""

    def __init__(self, what, rng):
        super().__init__(8, 16, 16, rng=rng)
        self.what = what

    def forward(self, x):
        a = F.relu(self.expand(self.before(x)))
        b = F.relu(self.depthwise(a))
        c = self.project(b)
        return {"expanded": (c, a), "middle": (c, b), "residual": c + b}[self.what]


@pytest.mark.parametrize("what", ["expanded", "middle", "residual"])
def test_what_others_read_is_made(what, rng):
    network, shape = Shared(what, rng).eval(), (1, 8, 8, 3)
    x = rng.normal(size=shape).astype(np.float32)
    exact = network(Tensor(x.astype(np.float64)))
    for found, wanted in zip(
        compile(network, shape).forward(x), exact if isinstance(exact, tuple) else [exact], strict=True
    ):
        np.testing.assert_allclose(found, wanted.data, atol=4e-6 * np.abs(wanted.data).max(), rtol=0)
    graph = fuse_inverted(prepare(trace(network, shape), training=False))
    assert [node.op for node in graph.nodes].count("inverted") == (what == "expanded")


def test_training_and_small_maps_keep_three_steps(rng, monkeypatch):
    network = Block(16, 32, 16, rng=rng).eval()
    assert "inverted" not in kernels(compile(network, (1, 9, 9, 3), training=True))
    monkeypatch.undo()
    assert "inverted" not in kernels(compile(network, (1, 6, 6, 3)))
    assert "inverted" in kernels(compile(network, (1, 28, 28, 3)))


@pytest.mark.parametrize("stride", [(1, 1), (2, 2), (2, 1)])
@pytest.mark.parametrize(
    ("bend", "shortcut"), [("relu6", 0), ("silu", 0), ("leaky", 1), ("silu", 2), ("none", 2)]
)
def test_a_depthwise_convolution_alone(stride, bend, shortcut, rng):
    """Rows of every remainder of the strips, and what has to follow them."""
    act = ACTIVATIONS[bend]
    weights, other = (Tensor(rng.normal(size=(20, 1, 3, 3)).astype(np.float32)) for _ in range(2))

    def network(x):
        y = F.conv2d(x, weights, None, stride, (1, 1), (1, 1), 20)
        if not shortcut:
            return act(y)
        z = F.max_pool2d(F.conv2d(x, other, None, stride, (1, 1), (1, 1), 20), 1)
        return act(y + z) if shortcut == 1 else z + act(y)

    for width in range(1, 20):
        x = rng.normal(size=(2, 5, width, 20)).astype(np.float32)
        plan = Guarded(compile(network, x.shape)).watch()
        exact = network(Tensor(x.astype(np.float64))).data
        np.testing.assert_allclose(plan.forward(x)[0], exact, atol=4e-6 * np.abs(exact).max(), rtol=0)
