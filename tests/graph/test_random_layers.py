"""Random layers through plans against the float64 tape (torture N02, 3.4): values, gradients, memory.

The number of layers comes from VISIONKIT_DIFFERENTIAL; the nightly test runs 2,000. In training plans the
layer's input is itself made of parameters, so that their gradient is the layer's data gradient.
"""

import os
from collections.abc import Sequence

import numpy as np
import pytest

from tests.graph.guarded import Guarded
from tests.graph.layers import ACTIVATIONS, Layer, Outputs, layers, plain_conv, slopes
from visionkit import functional as F
from visionkit.graph import Plan, compile  # noqa: A004
from visionkit.kernels import staged, winograd, winograd_deep, winograd_wgrad
from visionkit.kernels.jit import LANES
from visionkit.kernels.memory import Map
from visionkit.ops.norm import updated_statistics
from visionkit.tensor import Tensor

FORWARD = 2e-6  # of the largest value (torture 3.4)
WINOGRAD = 1e-5  # its transforms add and subtract numbers ten times as large as the result
#: Of the largest gradient, or of one of its terms: they are up to 4 * 17 * 17 and mostly cancel.
GRADIENT = 1e-5
#: Activations whose slope changes everywhere.
BENT = ("silu", "sigmoid", "tanh")


def as_tuple(outputs: Outputs) -> tuple[Tensor, ...]:
    return outputs if isinstance(outputs, tuple) else (outputs,)


def compare(found: np.ndarray, exact: np.ndarray, tolerance: float, what: str, size: float = 1e-3) -> None:
    """`size`: the largest number on the way to `exact`, where an activation has made that small."""
    assert found.shape == exact.shape, what
    assert np.isfinite(found).all(), f"{what}: not finite"
    error = float(np.abs(found - exact).max(initial=0.0))
    bound = tolerance * max(float(np.abs(exact).max(initial=0.0)), size)
    assert error <= bound, f"{what}: {error:.2e} exceeds {bound:.2e}"


def tolerances(plan: Plan) -> tuple[float, float]:
    """For values and for gradients; Winograd's activations hand their error on to the gradients."""
    kernels = {kernel for kernel, _ in plan._program.calls}
    if kernels & {winograd.winograd, staged.staged, winograd_deep.winograd_deep}:
        return WINOGRAD, 3 * WINOGRAD
    return FORWARD, 3 * WINOGRAD if winograd_wgrad.winograd_wgrad in kernels else GRADIENT


class Reference:
    """Outputs and gradients of a layer on the float64 tape, `away` from the kinks of its activation."""

    def __init__(self, layer: Layer, x: np.ndarray, rng: np.random.Generator, away: float = 1e-4) -> None:
        function, kinks = ACTIVATIONS[layer.activation]
        near: list[np.ndarray] = []
        self.size = 1e-3

        def activation(z: Tensor) -> Tensor:
            self.size = float(np.abs(z.data).max())
            width = away * max(1.0, self.size)
            near.append(np.any([np.abs(z.data - kink) < width for kink in kinks], axis=0) if kinks else False)
            return function(z)

        self.input = Tensor(x.astype(np.float64), requires_grad=True)
        trained = len(layer.arrays) - layer.constants
        self.given = [
            Tensor(a.astype(np.float64), requires_grad=i < trained) for i, a in enumerate(layer.arrays)
        ]
        outputs = as_tuple(layer.run(self.input, self.given, activation))
        self.outputs = [out.data for out in outputs]
        self.seeds = [rng.normal(size=out.shape).astype(np.float32) for out in outputs]
        if near and np.any(near[0]):
            self.seeds[0][near[0]] = 0.0
        total = Tensor(np.zeros(()))
        for out, seed in zip(outputs, self.seeds, strict=True):
            total = total + (out * seed.astype(np.float64)).sum()
        total.backward()


def as_parameter(x: np.ndarray) -> tuple[Tensor, np.ndarray, dict[str, tuple[int, int]]]:
    """Weights, input and padding of a convolution whose result is x, number for number."""
    n, h, w, c = x.shape
    weights = np.ascontiguousarray(x[:, ::-1, ::-1].transpose(1, 2, 0, 3)).transpose(3, 2, 0, 1)
    one_of_n = np.eye(n, dtype=np.float32).reshape(n, 1, 1, n)
    assert weights.shape == (c, n, h, w)
    return Tensor(weights, requires_grad=True), one_of_n, {"padding": (h - 1, w - 1)}


def used_before(
    plan: Plan | Guarded,
    picture: np.ndarray,
    seeds: Sequence[np.ndarray],
    statistics: Sequence[Tensor],
    rng: np.random.Generator,
) -> list[np.ndarray]:
    """Run a plan on other numbers, so that its memory is used; returns `statistics`, which it puts back."""
    before = [t.data.copy() for t in statistics]
    plan.forward(rng.normal(size=picture.shape).astype(np.float32))
    plan.backward(tuple(rng.normal(size=seed.shape) for seed in seeds))
    for tensor, array in zip(statistics, before, strict=True):
        tensor.data[...] = array
    return before


def compare_gradients(
    layer: Layer, exact: Reference, trained: Sequence[Tensor], made: Tensor | None, bound: float
) -> None:
    """Of a layer's parameters, and of its input where that is `made` of parameters."""
    term = max((float(np.abs(seed).max()) for seed in exact.seeds if seed.size), default=1e-3)
    for i, (tensor, wanted) in enumerate(zip(trained, exact.given, strict=False)):
        assert tensor.grad is not None, f"{layer}: parameter {i} has no gradient"
        compare(tensor.grad, wanted.grad, bound, f"{layer}: gradient of parameter {i}", term)
    if made is not None:
        data_gradient = made.grad.transpose(1, 2, 3, 0)[:, ::-1, ::-1]
        wanted = np.zeros(exact.input.shape) if exact.input.grad is None else exact.input.grad
        compare(data_gradient, wanted, bound, f"{layer}: gradient of the input", term)


def check_training(layer: Layer, seed: int, guard: bool) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=layer.shape).astype(np.float32)
    exact = Reference(layer, x, rng)
    trained = len(layer.arrays) - layer.constants
    given = [Tensor(a.copy(), requires_grad=i < trained) for i, a in enumerate(layer.arrays)]
    activation = ACTIVATIONS[layer.activation][0]
    direct = x.ndim == 2 or (trained > 0 and rng.random() < 0.3)
    if direct:
        made, picture = None, x
        plan = compile(lambda x: layer.run(x, given, activation), x.shape, training=True)
    else:
        made, picture, geometry = as_parameter(x)
        plan = compile(
            lambda one: layer.run(F.conv2d(one, made, **geometry), given, activation),
            picture.shape,
            training=True,
        )
    if guard:
        plan = Guarded(plan).watch()
    before = used_before(plan, picture, exact.seeds, given[trained:], rng)
    for i, (found, wanted) in enumerate(zip(plan.forward(picture), exact.outputs, strict=True)):
        compare(found, wanted, tolerances(plan)[0], f"{layer}: output {i} of the training plan", exact.size)
    if layer.momentum is not None:
        running = updated_statistics(x.astype(np.float64), *before, layer.momentum)
        for tensor, wanted, what in zip(given[trained:], running, ("mean", "variance"), strict=True):
            compare(tensor.data, wanted, FORWARD, f"{layer}: running {what}")
    plan.backward(tuple(exact.seeds))
    # Where an activation bends, the error of what goes in is an error of its slope, of up to a tenth of it.
    bound = tolerances(plan)[1] + (0.1 * FORWARD * exact.size if layer.activation in BENT else 0.0)
    compare_gradients(layer, exact, given[:trained], made, bound)


def check_inference(layer: Layer, seed: int, guard: bool) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=layer.shape).astype(np.float32)
    exact = Reference(layer, x, rng)
    given = [Tensor(a) for a in layer.arrays]
    plan = compile(lambda x: layer.run(x, given, ACTIVATIONS[layer.activation][0]), x.shape)
    if guard:
        plan = Guarded(plan).watch()
    plan.forward(rng.normal(size=x.shape).astype(np.float32))
    for i, (found, wanted) in enumerate(zip(plan.forward(x), exact.outputs, strict=True)):
        compare(found, wanted, tolerances(plan)[0], f"{layer}: output {i} of the inference plan", exact.size)


def check(count: int, seed: int, guard: bool = False) -> None:
    for i, layer in enumerate(layers(count, seed)):
        check_training(layer, i, guard)
        if not layer.training:
            check_inference(layer, i, guard)


def test_random_layers() -> None:
    check(int(os.environ.get("VISIONKIT_DIFFERENTIAL", "200")), seed=6)


@pytest.mark.slow
def test_two_thousand_random_layers() -> None:
    check(2000, seed=7)


def test_no_step_leaves_its_memory() -> None:
    check(min(60, int(os.environ.get("VISIONKIT_DIFFERENTIAL", "60"))), seed=8, guard=True)


def test_slopes_of_channels() -> None:
    rng = np.random.default_rng(10)
    for i in range(30):
        layer = slopes(rng)
        check_training(layer, i, guard=i % 4 == 0)
        check_inference(layer, i, guard=i % 4 == 0)


def test_winograd_on_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it would not pay, too: one pixel, cut tiles, several rounds, both directions."""
    used = []

    def always(y: Map, ins: int, packs: bool) -> bool:
        fits = ins % LANES == 0 and y.c >= LANES
        used.append((packs, fits))
        return fits

    monkeypatch.setattr(winograd, "pays", always)
    monkeypatch.setattr(winograd_wgrad, "pays", lambda g, ins: ins % LANES == 0)
    rng = np.random.default_rng(9)
    for i in range(24):
        layer = plain_conv(rng)
        check_training(layer, i, guard=i % 4 == 0)
        check_inference(layer, i, guard=i % 4 == 0)
    assert {(True, True), (False, True)} <= set(used)


def test_deep_winograd_on_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """The form that training takes where tiles are few, both directions."""
    monkeypatch.setattr(winograd, "pays", lambda y, ins, packs: False)
    monkeypatch.setattr(winograd_deep, "pays", winograd.possible)
    rng = np.random.default_rng(10)
    for i in range(16):
        check_training(plain_conv(rng), i, guard=i % 4 == 0)
