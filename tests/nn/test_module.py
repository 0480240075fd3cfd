"""Names, state and modes of modules."""

import numpy as np
import pytest

from visionkit import nn
from visionkit.errors import WeightsError
from visionkit.tensor import Tensor, current_scope, tracing


class Block(nn.Module):
    def __init__(self, *, rng: np.random.Generator) -> None:
        self.conv = nn.Conv2d(3, 4, 3, padding=1, bias=False, rng=rng)
        self.bn = nn.BatchNorm2d(4)
        self.act = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn(self.conv(x)))


class Net(nn.Module):
    def __init__(self, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.stages = [Block(rng=rng), nn.Sequential(nn.Conv2d(4, 2, 1, rng=rng), nn.Flatten())]
        self.scale = nn.Parameter(np.ones(1, np.float32))
        self.extra = nn.ModuleList(nn.Linear(2, 2, rng=rng))

    def forward(self, x: Tensor) -> Tensor:
        for stage in self.stages:
            x = stage(x)
        return x * self.scale


NAMES = [
    "scale", "stages.0.conv.weight", "stages.0.bn.weight", "stages.0.bn.bias", "stages.0.bn.running_mean",
    "stages.0.bn.running_var", "stages.1.0.weight", "stages.1.0.bias", "extra.0.weight", "extra.0.bias",
]  # fmt: skip


def test_names_are_those_of_pytorch() -> None:
    net = Net()
    assert sorted(net.state_dict()) == sorted(NAMES)
    assert sorted(n for n, _ in net.named_buffers()) == [
        "stages.0.bn.running_mean",
        "stages.0.bn.running_var",
    ]
    assert sorted(n for n, _ in net.named_parameters()) == sorted(n for n in NAMES if "running" not in n)
    assert [type(m).__name__ for m in net.modules()][:3] == ["Net", "Block", "Conv2d"]


def test_state_makes_the_round_trip() -> None:
    first, second = Net(0), Net(1)
    x = Tensor(np.random.default_rng(2).normal(size=(2, 4, 4, 3)).astype(np.float32))
    first(x)  # moves the running statistics
    strides = second.stages[0].conv.weight.data.strides
    second.load_state_dict({k: np.ascontiguousarray(v) for k, v in first.state_dict().items()})
    assert second.stages[0].conv.weight.data.strides == strides
    np.testing.assert_array_equal(first.eval()(x).data, second.eval()(x).data)


def test_what_pytorch_keeps_besides_is_passed_over() -> None:
    net = Net()
    net.load_state_dict(net.state_dict() | {"stages.0.bn.num_batches_tracked": np.array(3)})


def test_a_state_that_does_not_fit_is_refused_whole() -> None:
    net, before = Net(), {k: v.copy() for k, v in Net().state_dict().items()}
    state = {k: v + 1 for k, v in net.state_dict().items()}
    del state["scale"]
    state |= {
        "head.weight": np.zeros(1),
        "extra.0.bias": np.zeros(3),
        "extra.0.weight": np.zeros((2, 2), np.int8),
    }
    with pytest.raises(WeightsError) as caught:
        net.load_state_dict(state)
    message = str(caught.value)
    for part in ("4 names", "missing scale", "unexpected head.weight", "(2,), got (3,)", "int8"):
        assert part in message
    with pytest.raises(WeightsError, match="2 names"):
        net.load_state_dict(state, strict=False)
    assert all((v == before[k]).all() for k, v in net.state_dict().items())
    net.load_state_dict({"scale": np.full(1, 9.0)}, strict=False)
    assert net.scale.data[0] == 9


def test_modes_reach_everything() -> None:
    net = Net()
    assert all(m.training for m in net.modules())
    assert not any(m.training for m in net.eval().modules())
    assert all(m.training for m in net.train().modules())


def test_a_shared_parameter_comes_once() -> None:
    net = Net()
    net.tied = net.extra[0]
    assert len({id(p) for p in net.parameters()}) == len(list(net.parameters())) == 8
    assert "tied.weight" in net.state_dict()


def test_running_statistics_move_only_in_training() -> None:
    rng = np.random.default_rng(4)
    x = rng.normal(3, 2, (4, 5, 5, 2)).astype(np.float32)
    norm = nn.BatchNorm2d(2, momentum=0.25)
    norm(Tensor(x))
    np.testing.assert_allclose(norm.running_mean.data, 0.25 * x.mean((0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(norm.running_var.data, 0.75 + 0.25 * x.var((0, 1, 2), ddof=1), rtol=1e-6)
    before = norm.running_mean.data.copy()
    norm.eval()(Tensor(x))
    np.testing.assert_array_equal(norm.running_mean.data, before)


class Tracer:
    def __init__(self) -> None:
        self.scopes: list[str] = []

    def emit(self, op, inputs, attrs, shape):
        self.scopes.append(f"{op.name}@{current_scope()}")
        return Tensor.symbolic(shape)


def test_a_trace_knows_the_names_and_moves_no_statistics() -> None:
    net, tracer = Net(), Tracer()
    with tracing(tracer):
        assert net(Tensor.symbolic((1, 4, 4, 3))).shape == (1, 32)
    assert tracer.scopes == [
        "conv2d@stages.0.conv", "batch_norm@stages.0.bn", "silu@stages.0.act", "conv2d@stages.1.0",
        "reshape@stages.1.1", "mul@",
    ]  # fmt: skip
    assert (net.stages[0].bn.running_mean.data == 0).all()


def test_float64_networks_run_in_float64() -> None:
    net = Net().to(np.float64)
    assert net(Tensor(np.ones((1, 4, 4, 3)))).dtype == np.float64
    assert net.stages[0].conv.weight.data.transpose(2, 3, 1, 0).flags.c_contiguous


def test_repr_shows_the_tree() -> None:
    assert "(stages.0): Block(" in repr(Net())
    assert "Conv2d(3, 4, kernel=(3, 3), stride=(1, 1), padding=(1, 1), bias=False)" in repr(Net())
