"""Random configurations of windows and normalisation against torch, all in one call (torture N02, 3.4).

Float64 must agree to 1e-10 and float32 to 2e-6 of the largest element, outputs and gradients alike. The
number of configurations comes from VISIONKIT_DIFFERENTIAL; the nightly test runs 2,000.
"""

import json
import os
from typing import Any

import numpy as np
import pytest

from tests.oracles import run_torch
from visionkit import functional as F
from visionkit.ops.norm import updated_statistics
from visionkit.tensor import Tensor

TORCH = """
import json
import torch.nn.functional as F

def maps(x):
    return x.permute(0, 3, 1, 2) if x.dim() == 4 else x

for n, (kind, attrs) in enumerate(json.loads(str(given["configs"]))):
    names = [k for k in given if k.startswith(f"{n}:")]
    x, *rest = [torch.from_numpy(given[f"{n}:{i}"]).requires_grad_() for i in range(len(names) - 1)]
    if kind == "conv":
        weight, bias = rest[0], rest[1] if len(rest) > 1 else None
        y = F.conv2d(maps(x), weight, bias, **attrs)
    elif kind == "max_pool":
        y = F.max_pool2d(maps(x), **attrs)
    elif kind == "avg_pool":
        y = F.avg_pool2d(maps(x), **attrs)
    else:
        gamma, beta, mean, var = rest
        mean, var = mean.detach().clone(), var.detach().clone()
        y = F.batch_norm(maps(x), mean, var, gamma, beta, **attrs)
        result[f"{n}:mean"], result[f"{n}:var"] = mean, var
        rest = rest[:2]
    y = y.permute(0, 2, 3, 1)
    result[f"{n}:out"] = y
    y.backward(torch.from_numpy(given[f"{n}:grad"]))
    for i, leaf in enumerate([x, *rest]):
        result[f"{n}:d{i}"] = leaf.grad
"""

Config = tuple[str, dict[str, Any], list[np.ndarray]]


def random_conv(rng: np.random.Generator) -> Config | None:
    channels = int(rng.integers(1, 10))
    groups = int(rng.choice([g for g in range(1, channels + 1) if channels % g == 0]))
    size, kernel = rng.integers(1, 18, 2), rng.integers(1, 8, 2)
    stride, padding = rng.integers(1, 5, 2), rng.integers(0, 4, 2)
    dilation = rng.integers(1, 4, 2)
    if np.any(size + 2 * padding < dilation * (kernel - 1) + 1):
        return None
    outputs = groups * int(rng.integers(1, 4))
    arrays = [
        rng.normal(size=(int(rng.integers(0 if rng.random() < 0.05 else 1, 5)), *size, channels)),
        rng.normal(size=(outputs, channels // groups, *kernel)),
        rng.normal(size=outputs),
    ]
    attrs = {"stride": stride, "padding": padding, "dilation": dilation}
    settings: dict[str, Any] = {k: tuple(map(int, v)) for k, v in attrs.items()}
    return "conv", settings | {"groups": groups}, arrays[: int(rng.integers(2, 4))]


def random_pool(rng: np.random.Generator) -> Config | None:
    kind = "max_pool" if rng.random() < 0.5 else "avg_pool"
    size, kernel, stride = rng.integers(1, 18, 2), rng.integers(1, 8, 2), rng.integers(1, 5, 2)
    padding = [int(rng.integers(0, k // 2 + 1)) for k in kernel]
    if np.any(size + 2 * np.array(padding) < kernel):
        return None
    x = rng.normal(size=(int(rng.integers(1, 5)), *size, int(rng.integers(1, 10))))
    if rng.random() < 0.3:
        x = np.round(x)  # ties: the first must win
    attrs: dict[str, Any] = {
        "kernel_size": tuple(map(int, kernel)),
        "stride": tuple(map(int, stride)),
        "padding": tuple(padding),
        "ceil_mode": bool(rng.random() < 0.5),
    }
    if kind == "avg_pool":
        attrs["count_include_pad"] = bool(rng.random() < 0.5)
    return kind, attrs, [x]


def random_norm(rng: np.random.Generator) -> Config | None:
    channels = int(rng.integers(1, 10))
    shape = (int(rng.integers(1, 5)), *map(int, rng.integers(1, 18, 2)), channels)
    if np.prod(shape[:3]) < 4:  # torch refuses one value; two or three are all sign
        return None
    x = rng.normal(size=shape) * rng.uniform(0.5, 2, channels) + rng.normal(size=channels)
    arrays = [x, *rng.normal(size=(3, channels)), rng.uniform(0.5, 2, channels)]
    return "norm", {"training": bool(rng.random() < 0.7), "momentum": 0.03, "eps": 1e-3}, arrays


def configurations(count: int, seed: int) -> list[Config]:
    rng = np.random.default_rng(seed)
    found: list[Config] = []
    while len(found) < count:
        config = rng.choice([random_conv, random_pool, random_norm], p=[0.6, 0.25, 0.15])(rng)  # type: ignore[arg-type]
        if config is not None:
            found.append(config)
    return found


def ours(kind: str, attrs: dict[str, Any], inputs: list[Tensor]) -> Tensor:
    if kind == "conv":
        return F.conv2d(*inputs, **attrs)
    if kind == "norm":
        return F.batch_norm(*inputs, **attrs)
    attrs = dict(attrs)
    pool = F.max_pool2d if kind == "max_pool" else F.avg_pool2d
    return pool(inputs[0], attrs.pop("kernel_size"), **attrs)


def strided(array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The same numbers, sometimes with gaps or backwards in memory."""
    if rng.random() < 0.7:
        return array
    gaps = np.zeros((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)[..., ::2]
    gaps[...] = array
    return gaps[::-1].copy()[::-1] if rng.random() < 0.5 else gaps


def check(count: int, seed: int) -> None:
    configs = configurations(count, seed)
    rng = np.random.default_rng(seed + 1)
    given: dict[str, Any] = {"configs": json.dumps([(kind, attrs) for kind, attrs, _ in configs])}
    runs = []
    for n, (kind, attrs, arrays) in enumerate(configs):
        # Numbers that float32 holds exactly, so that one reference in float64 serves both.
        arrays = [np.float32(a).astype(np.float64) for a in arrays]
        out = ours(kind, attrs, [Tensor(a) for a in arrays])
        grad = np.float32(rng.normal(size=out.shape)).astype(np.float64)
        given |= {f"{n}:{i}": a for i, a in enumerate(arrays)} | {f"{n}:grad": grad}
        runs.append((arrays, grad))
    expected = run_torch(TORCH, given)
    for n, (kind, attrs, _) in enumerate(configs):
        arrays, grad = runs[n]
        for dtype, tolerance in ((np.float64, 1e-10), (np.float32, 2e-6)):
            inputs = [
                Tensor(strided(a.astype(dtype), rng), requires_grad=i < 3) for i, a in enumerate(arrays)
            ]
            out = ours(kind, attrs, inputs)
            out.backward(grad.astype(dtype))
            found = {"out": out.data} | {f"d{i}": t.grad for i, t in enumerate(inputs) if t.grad is not None}
            if kind == "norm" and attrs["training"]:
                x, _, _, mean, var = (t.data for t in inputs)
                found["mean"], found["var"] = updated_statistics(x, mean, var, attrs["momentum"])
            assert out.dtype == dtype
            for name, array in found.items():
                reference = expected[f"{n}:{name}"]
                assert array.shape == reference.shape, (kind, attrs, name)
                error = np.abs(array - reference).max(initial=0.0)
                bound = tolerance * np.abs(reference).max(initial=1e-3)
                where = f"{kind} {attrs} {[a.shape for a in arrays]} {name} {np.dtype(dtype)}"
                assert error <= bound, f"{where}: {error:.2e} exceeds {bound:.2e}"


@pytest.mark.peers
def test_random_configurations() -> None:
    check(int(os.environ.get("VISIONKIT_DIFFERENTIAL", "200")), seed=3)


@pytest.mark.peers
@pytest.mark.slow
def test_two_thousand_random_configurations() -> None:
    check(2000, seed=4)


@pytest.mark.peers
def test_activations_and_losses() -> None:
    from visionkit import nn

    rng = np.random.default_rng(5)
    x, t = rng.normal(size=(6, 5)) * 6, rng.uniform(size=(6, 5))
    classes = rng.integers(0, 5, 6)
    script = """
import torch.nn.functional as F
x0, t, classes, slope = (torch.from_numpy(given[k]) for k in ("x", "t", "classes", "slope"))
bce = lambda x, **k: F.binary_cross_entropy_with_logits(x, t, **k)
def focal(x, gamma, alpha):
    p = torch.sigmoid(x)
    loss = bce(x, reduction="none") * (1 - (p * t + (1 - p) * (1 - t))) ** gamma
    return (loss if alpha is None else loss * (alpha * t + (1 - alpha) * (1 - t))).mean()
for name, f in {
    "prelu": lambda x: F.prelu(x, slope),
    "relu": F.relu, "relu6": F.relu6, "leaky_relu": F.leaky_relu, "silu": F.silu, "sigmoid": torch.sigmoid,
    "tanh": torch.tanh, "softplus": F.softplus, "softmax": lambda x: F.softmax(x, -1), "atan": torch.atan,
    "log_softmax": lambda x: F.log_softmax(x, 0), "bce": bce, "bce_sum": lambda x: bce(x, reduction="sum"),
    "cross_entropy": lambda x: F.cross_entropy(x, classes), "mse": lambda x: F.mse_loss(x, t),
    "smooth_l1": lambda x: F.smooth_l1_loss(x, t, beta=0.7), "focal": lambda x: focal(x, 2.0, 0.25),
    "focal_plain": lambda x: focal(x, 1.5, None),
}.items():
    x = x0.clone().requires_grad_()
    y = f(x)
    result[name] = y
    y.sum().backward()
    result[name + ":d"] = x.grad
"""
    slope = rng.normal(size=5)
    functions = {
        "prelu": lambda x: F.prelu(x, slope),
        "relu": F.relu,
        "relu6": F.relu6,
        "leaky_relu": F.leaky_relu,
        "silu": F.silu,
        "sigmoid": F.sigmoid,
        "tanh": F.tanh,
        "softplus": F.softplus,
        "softmax": F.softmax,
        "atan": F.atan,
        "log_softmax": lambda x: F.log_softmax(x, 0),
        "bce": lambda x: nn.losses.bce_with_logits(x, t),
        "bce_sum": lambda x: nn.losses.bce_with_logits(x, t, "sum"),
        "cross_entropy": lambda x: nn.losses.cross_entropy(x, classes),
        "mse": lambda x: nn.losses.mse(x, t),
        "smooth_l1": lambda x: nn.losses.smooth_l1(x, t, 0.7),
        "focal": lambda x: nn.losses.focal_loss(x, t, 2.0, 0.25),
        "focal_plain": lambda x: nn.losses.focal_loss(x, t, 1.5),
    }
    expected = run_torch(script, {"x": x, "t": t, "classes": classes, "slope": slope})
    assert {k for k in expected if ":" not in k} == set(functions)
    for name, function in functions.items():
        tensor = Tensor(x, requires_grad=True)
        out = function(tensor)
        out.sum().backward()
        # torch's softplus turns linear at 20 and is off by 2e-9 there.
        np.testing.assert_allclose(out.data, expected[name], rtol=1e-8, atol=1e-10, err_msg=name)
        np.testing.assert_allclose(tensor.grad, expected[name + ":d"], rtol=1e-8, atol=1e-10, err_msg=name)
