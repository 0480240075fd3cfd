"""Random networks of one layer, each a function that runs in float32 and float64 alike."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from visionkit import functional as F
from visionkit.tensor import Tensor

Activation = Callable[[Tensor], Tensor]
Outputs = Tensor | tuple[Tensor, ...]

#: By name, with the places where the derivative jumps.
ACTIVATIONS: dict[str, tuple[Activation, tuple[float, ...]]] = {
    "none": (lambda x: x, ()),
    "relu": (F.relu, (0.0,)),
    "relu6": (F.relu6, (0.0, 6.0)),
    "leaky_relu": (lambda x: F.leaky_relu(x, 0.1), (0.0,)),
    "silu": (F.silu, ()),
    "sigmoid": (F.sigmoid, ()),
    "tanh": (F.tanh, ()),
}


@dataclass
class Layer:
    """One random layer.

    Attributes:
        name: kind and settings, for the message of a failure.
        shape: of its input.
        arrays: the parameters; run: (input, parameters, activation) to the outputs.
        activation: its name; where there is one, all outputs are as large as what it is applied to.
        constants: how many of the last arrays want no gradient, such as running statistics.
        training: whether only a training plan can run it.
    """

    name: str
    shape: tuple[int, ...]
    arrays: list[np.ndarray]
    run: Callable[[Tensor, list[Tensor], Activation], Outputs]
    activation: str = "none"
    constants: int = 0
    training: bool = False
    momentum: float | None = None
    settings: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        parts = [f"{k}={v}" for k, v in self.settings.items()]
        return f"{self.name} of {self.shape} ({', '.join(parts)}), activation {self.activation}"


def _pair(values: Any) -> tuple[int, int]:
    return int(values[0]), int(values[1])


def _normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.normal(size=shape).astype(np.float32)


def _map(rng: np.random.Generator, channels: int = 40, size: int = 17) -> tuple[int, ...]:
    return (int(rng.integers(1, 5)), *_pair(rng.integers(1, size + 1, 2)), int(rng.integers(1, channels + 1)))


def conv(rng: np.random.Generator) -> Layer | None:
    """Any kernel, stride, padding, dilation and groups; bias, activation and shortcut as they come."""
    shape = _map(rng)
    channels = shape[3]
    divisors = [g for g in range(1, channels + 1) if channels % g == 0]
    groups = int(rng.choice([1, int(rng.choice(divisors)), channels], p=[0.5, 0.3, 0.2]))
    outputs = groups * int(rng.integers(1, max(2, 40 // groups + 1)))
    if groups == channels and rng.random() < 0.6:
        outputs = channels
    kernel = _pair(rng.integers(1, 8, 2))
    shapes = {
        "stride": _pair(rng.integers(1, 5, 2)),
        "padding": _pair(rng.integers(0, 4, 2)),
        "dilation": _pair(rng.integers(1, 4, 2)),
    }
    reach = [
        d * (k - 1) + 1 - 2 * p for d, k, p in zip(shapes["dilation"], kernel, shapes["padding"], strict=True)
    ]
    if shape[1] < reach[0] or shape[2] < reach[1]:
        return None
    bias, shortcut = rng.random() < 0.5, str(rng.choice(["none", "before", "after"], p=[0.6, 0.2, 0.2]))
    arrays = [_normal(rng, outputs, channels // groups, *kernel)]
    arrays += [_normal(rng, outputs)] if bias else []
    if shortcut != "none":
        arrays.append(_normal(rng, outputs, channels, *kernel))

    def run(x: Tensor, given: list[Tensor], act: Activation) -> Tensor:
        other = F.conv2d(x, given[-1], **shapes) if shortcut != "none" else None
        y = F.conv2d(x, given[0], given[1] if bias else None, **shapes, groups=groups)
        if shortcut == "before":
            return act(y + other)
        return act(y) if other is None else other + act(y)

    settings = {
        "kernel": kernel,
        **shapes,
        "groups": groups,
        "outputs": outputs,
        "bias": bias,
        "shortcut": shortcut,
    }
    activation = str(rng.choice(["none", "relu", "relu6", "leaky_relu", "silu", "sigmoid"]))
    return Layer("conv", shape, arrays, run, activation, settings=settings)


def plain_conv(rng: np.random.Generator) -> Layer:
    """3x3 on whole vectors of channels, as Winograd's form takes it, with tiles that reach over the edge."""
    n, h, w = int(rng.integers(1, 5)), *_pair(rng.integers(1, 15, 2))
    inputs, outputs = (int(rng.choice([16, 32, 48])) for _ in range(2))
    outputs += int(rng.choice([0, 0, 5]))
    shortcut = bool(rng.random() < 0.4)
    arrays = [_normal(rng, outputs, inputs, 3, 3), _normal(rng, outputs), _normal(rng, outputs, inputs, 1, 1)]

    def run(x: Tensor, given: list[Tensor], act: Activation) -> Tensor:
        other = F.conv2d(x, given[2])
        y = F.conv2d(x, given[0], given[1], padding=1)
        return act(y) + other if shortcut else act(y + other)

    activation = str(rng.choice(["none", "relu", "relu6", "leaky_relu", "silu"]))
    settings = {"outputs": outputs, "shortcut after": shortcut}
    return Layer("plain conv", (n, h, w, inputs), arrays, run, activation, settings=settings)


def pool(rng: np.random.Generator) -> Layer | None:
    shape, average = _map(rng), rng.random() < 0.5
    kernel = _pair(rng.integers(1, 8, 2))
    settings: dict[str, Any] = {
        "kernel": kernel,
        "stride": _pair(rng.integers(1, 5, 2)),
        "padding": _pair([rng.integers(0, k // 2 + 1) for k in kernel]),
        "ceil_mode": bool(rng.random() < 0.5),
    }
    if any(n + 2 * p < k for n, p, k in zip(shape[1:3], settings["padding"], kernel, strict=True)):
        return None
    if average:
        settings["count_include_pad"] = bool(rng.random() < 0.5)
    function: Any = F.avg_pool2d if average else F.max_pool2d
    return Layer(
        "average pool" if average else "max pool",
        shape,
        [],
        lambda x, given, act: function(x, **settings),
        settings=settings,
    )


def norm(rng: np.random.Generator) -> Layer | None:
    shape, training = _map(rng), bool(rng.random() < 0.6)
    if np.prod(shape[:3]) < 8:  # of two or three values nothing is left but their signs
        return None
    c, shortcut = shape[3], bool(rng.random() < 0.4)
    momentum = 0.03
    arrays = [_normal(rng, c), _normal(rng, c), _normal(rng, c), rng.uniform(0.5, 2, c).astype(np.float32)]

    def run(x: Tensor, given: list[Tensor], act: Activation) -> Tensor:
        y = act(F.batch_norm(x, *given[:4], training=training, momentum=momentum, eps=1e-3))
        return y + x if shortcut else y

    activation = str(rng.choice(["none", "relu", "relu6", "leaky_relu", "silu", "tanh"]))
    return Layer(
        "batch norm", shape, arrays, run, activation, 2, training, momentum if training else None,
        {"training": training, "shortcut": shortcut},
    )  # fmt: skip


def linear(rng: np.random.Generator) -> Layer:
    n, inputs, outputs = (int(rng.integers(1, high)) for high in (6, 90, 70))
    bias, flat = rng.random() < 0.5, rng.random() < 0.5
    shape = (n, inputs) if flat else _map(rng, 12, 6)
    inputs = int(np.prod(shape[1:]))
    arrays = [_normal(rng, outputs, inputs)] + ([_normal(rng, outputs)] if bias else [])

    def run(x: Tensor, given: list[Tensor], act: Activation) -> Tensor:
        return act(F.linear(x if flat else x.reshape(shape[0], -1), *given))

    activation = str(rng.choice(["none", "relu", "leaky_relu", "silu", "sigmoid", "tanh"]))
    return Layer("linear", shape, arrays, run, activation, settings={"outputs": outputs, "bias": bias})


def pointwise(rng: np.random.Generator) -> Layer:
    kind = str(rng.choice(["activation", "softmax", "upsample", "global pool", "slice", "sum", "double"]))
    shape = _map(rng)
    start, stop = sorted(int(v) for v in rng.choice(shape[3] + 1, 2, replace=False))
    scale = int(rng.integers(1, 5))
    runs: dict[str, Callable[[Tensor, list[Tensor], Activation], Outputs]] = {
        "activation": lambda x, given, act: act(x),
        "softmax": lambda x, given, act: F.softmax(x),
        "upsample": lambda x, given, act: F.upsample_nearest(x, scale),
        "global pool": lambda x, given, act: F.global_avg_pool2d(x),
        "slice": lambda x, given, act: x[..., start:stop],
        "sum": lambda x, given, act: act(x) + F.sigmoid(x),
        "double": lambda x, given, act: x + x,
    }
    activation = str(rng.choice(list(ACTIVATIONS))) if kind in ("activation", "sum") else "none"
    return Layer(kind, shape, [], runs[kind], activation, settings={"slice": (start, stop), "scale": scale})


def slopes(rng: np.random.Generator) -> Layer:
    """PReLU with slopes of any sign and size, joined to its input, on maps and on rows."""
    shape = _map(rng)
    shape = shape if rng.random() < 0.7 else (shape[0], shape[3])
    twice, joined = bool(rng.random() < 0.3), len(shape) == 4 and bool(rng.random() < 0.3)

    def run(x: Tensor, given: list[Tensor], act: Activation) -> Tensor:
        y = F.prelu(x, given[0])
        y = F.prelu(y, given[0]) if twice else y
        return F.concat([y, x]) if joined else y

    settings = {"twice": twice, "joined": joined}
    return Layer("slopes", shape, [_normal(rng, shape[-1]) * 2], run, settings=settings)


def concat(rng: np.random.Generator) -> Layer:
    """Parts that fit vectors and parts that do not, read a second time, joined a second time."""
    shape, count = _map(rng, 12, 9), int(rng.integers(2, 5))
    sizes = [int(rng.choice([4, 8, 16, 32, 5, 7, 19])) for _ in range(count)]
    arrays = [_normal(rng, size, shape[3], 1, 1) for size in sizes]
    kinds = [str(rng.choice(["conv", "up", "pool", "slice", "sum"])) for _ in sizes]
    again, extra, whole = rng.random() < 0.3, rng.random() < 0.5, rng.random() < 0.3
    order = rng.permutation(count).tolist()

    def part(x: Tensor, weight: Tensor, kind: str) -> Tensor:
        y = F.conv2d(x, weight)
        if kind == "pool":
            return F.max_pool2d(y, 3, 1, 1)
        if kind == "slice":
            return F.concat([y, y])[..., : y.shape[-1]]
        if kind == "sum":
            return y + F.sigmoid(y)
        return F.max_pool2d(F.upsample_nearest(y, 2), 2) if kind == "up" else y

    def run(x: Tensor, given: list[Tensor], act: Activation) -> Outputs:
        parts = [part(x, weight, kind) for weight, kind in zip(given, kinds, strict=True)]
        joined = F.concat(parts)
        outputs = [joined]
        if extra:
            outputs.append(F.tanh(parts[0]))
        if again:
            outputs.append(F.concat([parts[i] for i in order]))
        if whole:
            outputs.append(F.concat([joined, x]))
            outputs.append(parts[-1])
        return tuple(outputs)

    settings = {
        "sizes": sizes,
        "kinds": kinds,
        "again": order if again else None,
        "extra": extra,
        "whole": whole,
    }
    return Layer("concat", shape, arrays, run, settings=settings)


KINDS = (conv, pool, norm, linear, pointwise, concat)


def layers(count: int, seed: int) -> list[Layer]:
    """`count` random layers, the same for the same seed."""
    rng = np.random.default_rng(seed)
    found: list[Layer] = []
    while len(found) < count:
        kind = KINDS[rng.choice(len(KINDS), p=[0.45, 0.15, 0.12, 0.06, 0.1, 0.12])]
        if (layer := kind(rng)) is not None:
            found.append(layer)
    return found
