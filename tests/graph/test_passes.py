"""Every pass keeps what a network computes: each graph is run on the float64 tape before and after."""

from collections.abc import Callable

import numpy as np
import pytest

from visionkit import functional as F
from visionkit.graph import Graph, trace
from visionkit.graph.passes import drop_dead, fold_batch_norm, fuse, prepare
from visionkit.nn import AvgPool2d, BatchNorm2d, Conv2d, Module, Sequential
from visionkit.ops import OPS
from visionkit.tensor import Tensor


def run(graph: Graph, x: np.ndarray) -> list[np.ndarray]:
    """The graph's outputs, node by node with the float64 operations; fused parts are spelt out."""
    known = {id(graph.inputs[0]): x}

    def get(value):
        return known[id(value)] if id(value) in known else value.tensor.data.astype(np.float64)

    for node in graph.nodes:
        attrs = dict(node.attrs)
        activation, residual = attrs.pop("activation", None), attrs.pop("residual", 0)
        inputs = [get(value) for value in node.inputs]
        shortcut = inputs.pop() if residual else None
        out = np.zeros(OPS[node.op].shape(*(a.shape for a in inputs), **attrs))
        OPS[node.op].forward(out, *inputs, **attrs)
        if residual == 1:
            out += shortcut
        if activation is not None:
            kind, slope, cap = activation
            out = out / (1 + np.exp(-out)) if kind == 1 else np.minimum(np.maximum(out, slope * out), cap)
        if residual == 2:
            out += shortcut
        known[id(node.output)] = out
    return [get(value) for value in graph.outputs]


class Network(Module):
    """All that the passes look for, and what they must leave alone."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.a, self.norm_a = Conv2d(3, 8, 3, padding=1, bias=False, rng=rng), BatchNorm2d(8)
        self.b, self.norm_b = Conv2d(8, 8, 3, padding=1, rng=rng), BatchNorm2d(8)
        self.c = Conv2d(8, 8, 1, groups=2, rng=rng)
        self.alone = BatchNorm2d(8)
        self.twice, self.norm_twice = Conv2d(8, 8, 1, rng=rng), BatchNorm2d(8)
        self.pool = AvgPool2d(2, 2)
        for name, tensor in self.named_buffers():
            low = 0.5 if "var" in name else -1.0
            tensor.data[...] = rng.uniform(low, 1.5, tensor.shape)
        for norm in (self.norm_a, self.norm_b, self.alone, self.norm_twice):
            norm.weight.data[...] = rng.uniform(-2, 2, 8)
            norm.bias.data[...] = rng.normal(size=8)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        x = F.leaky_relu(self.norm_a(self.a(x)), 0.1)
        y = x + F.silu(self.norm_b(self.b(x)))  # shortcut after the activation
        z = F.relu6(self.c(y) + x)  # before it
        F.tanh(self.pool(z))  # dead
        w = F.relu(self.alone(self.pool(z)))  # no convolution in front
        read_twice = self.twice(w)
        return self.norm_twice(read_twice), F.sigmoid(read_twice), self.c(z) + self.c(z), z


PASSES: dict[str, Callable[[Graph], Graph]] = {
    "drop_dead": drop_dead,
    "fold_batch_norm": fold_batch_norm,
    "fuse batch norms": lambda graph: fuse(graph, ("batch_norm",), residual_before=False),
    "fuse convolutions": lambda graph: fuse(graph, ("conv2d", "batch_norm"), residual_before=True),
    "all, inference": lambda graph: prepare(graph, training=False),
    "all, training": lambda graph: prepare(graph, training=True),
}


@pytest.mark.parametrize("name", PASSES)
def test_a_pass_changes_no_result(name, rng):
    network = Network(rng).eval()
    x = rng.normal(size=(2, 6, 8, 3))
    wanted = run(trace(network, x.shape), x)
    eager = network(Tensor(x.astype(np.float32)))
    for found, out in zip(wanted, eager, strict=True):
        np.testing.assert_allclose(found, out.data, atol=1e-4)
    changed = PASSES[name](trace(network, x.shape))
    for found, exact in zip(run(changed, x), wanted, strict=True):
        # Folded weights are float32 again.
        np.testing.assert_allclose(found, exact, atol=2e-6 * np.abs(exact).max())


def operations(graph: Graph) -> list[str]:
    return [node.op for node in graph.nodes]


def test_what_is_left_of_the_network(rng):
    graph = trace(Network(rng).eval(), (1, 6, 8, 3))
    assert operations(graph).count("tanh") == 1
    assert "tanh" not in operations(drop_dead(graph))
    inference = operations(prepare(trace(Network(rng).eval(), (1, 6, 8, 3)), training=False))
    assert (
        inference
        == ["conv2d"] * 3 + ["avg_pool2d", "batch_norm", "conv2d", "batch_norm", "sigmoid"] + ["conv2d"] * 2
    )
    training = operations(prepare(trace(Network(rng).eval(), (1, 6, 8, 3)), training=True))
    assert training.count("batch_norm") == 4
    assert training.count("leaky_relu") == training.count("silu") == training.count("relu") == 0
    assert training.count("relu6") == 1


def test_folded_weights_are_those_of_double_precision(rng):
    """One rounding, in the memory order of the weights; what they are made of is read anew each time."""
    conv, norm = Conv2d(5, 7, 3, rng=rng), BatchNorm2d(7)
    for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
        tensor.data[...] = rng.uniform(0.5, 2.0, 7)
    node = prepare(trace(Sequential(conv, norm).eval(), (1, 6, 8, 5)), training=False).nodes[0]
    weight, bias = (value.tensor for value in node.inputs[1:3])
    for _ in range(2):
        double = [t.data.astype(np.float64) for t in (conv.weight, conv.bias, norm.weight, norm.bias)]
        mean, variance = norm.running_mean.data.astype(np.float64), norm.running_var.data.astype(np.float64)
        scale = double[2] / np.sqrt(variance + norm.eps)
        wanted = (double[0] * scale[:, None, None, None]).astype(np.float32)
        np.testing.assert_array_equal(weight.data, wanted)
        np.testing.assert_array_equal(bias.data, ((double[1] - mean) * scale + double[3]).astype(np.float32))
        assert weight.data.strides == weight.strides == conv.weight.data.strides
        conv.weight.data[...] *= 2
        norm.running_var.data[...] += 1


def test_norms_in_training_mode_are_not_folded(rng):
    network = Network(rng).train()
    assert operations(fold_batch_norm(trace(network, (2, 6, 8, 3)))).count("batch_norm") == 4


def test_folding_leaves_the_networks_own_weights(rng):
    network = Network(rng).eval()
    before = {name: array.copy() for name, array in network.state_dict().items()}
    prepare(trace(network, (1, 6, 8, 3)), training=False)
    for name, array in network.state_dict().items():
        np.testing.assert_array_equal(array, before[name])
