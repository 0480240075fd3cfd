"""Training plans in bfloat16: layers against float64, networks against float32, memory, threads, errors.

In the tests of single layers all that goes in is rounded to bfloat16 first, and results pass through a
convolution with ones: so that only what the layer itself rounds is left, its map and its gradient, once or
twice each.
"""

import numpy as np
import pytest

from tests.graph.guarded import Guarded
from tests.graph.layers import ACTIVATIONS, Layer, layers
from tests.graph.test_plan import NETWORKS, nano, twins
from tests.graph.test_random_layers import (
    BENT,
    Reference,
    as_parameter,
    as_tuple,
    compare,
    compare_gradients,
    used_before,
)
from tests.kernels.narrow_layers import needs, rounded
from visionkit import functional as F
from visionkit.errors import UsageError
from visionkit.graph import Plan, compile  # noqa: A004
from visionkit.kernels import dot, jit
from visionkit.kernels.narrow import BFLOAT16
from visionkit.nn import Conv2d, Module
from visionkit.optim import SGD
from visionkit.tensor import Tensor

#: One rounding to 8 bits is 2^-9 of a number; a few of the largest, where shares are summed.
ROUNDED = 2**-6


def outlet(value: Tensor) -> Tensor:
    """The same numbers, out of a convolution: what it reads is bfloat16, and so is its gradient."""
    if len(value.shape) != 4:
        return value
    eye = np.eye(value.shape[-1], dtype=np.float32)
    return F.conv2d(value, Tensor(eye[:, :, None, None]))


def check_layer(layer: Layer, seed: int, guard: bool) -> set[str]:
    """Values and gradients of one layer; returns the kernels that ran."""
    rng = np.random.default_rng(seed)
    x = rounded(rng.normal(size=layer.shape).astype(np.float32))
    trained = len(layer.arrays) - layer.constants
    layer.arrays = [rounded(a) if a.ndim > 1 else a for a in layer.arrays]
    exact = Reference(layer, x, rng, away=ROUNDED / 2)
    given = [Tensor(a.copy(), requires_grad=i < trained) for i, a in enumerate(layer.arrays)]
    activation = ACTIVATIONS[layer.activation][0]
    made, picture, geometry = as_parameter(x) if x.ndim == 4 else (None, x, {})

    def network(one: Tensor) -> tuple[Tensor, ...]:
        inside = one if made is None else F.conv2d(one, made, **geometry)
        return tuple(outlet(out) for out in as_tuple(layer.run(inside, given, activation)))

    plan = compile(network, picture.shape, training=True, precision="bfloat16")
    if guard:
        plan = Guarded(plan).watch()
    used_before(plan, picture, exact.seeds, given[trained:], rng)
    for i, (found, wanted) in enumerate(zip(plan.forward(picture), exact.outputs, strict=True)):
        compare(found, wanted, ROUNDED, f"{layer}: output {i}", exact.size)
    plan.backward(tuple(exact.seeds))
    # Where an activation bends, the error of what goes in is an error of its slope, of up to a tenth of it.
    bound = ROUNDED * (1 + (0.1 * exact.size if layer.activation in BENT else 0.0))
    compare_gradients(layer, exact, given[:trained], made, bound)
    return {kernel.__name__ for kernel, _ in plan._program.calls}


def test_random_layers() -> None:
    needs(BFLOAT16)
    ran: set[str] = set()
    for i, layer in enumerate(layers(150, 31)):
        ran |= check_layer(layer, i, guard=False)
    wanted = {"conv", "wgrad", "combine", "statistics", "normalise", "sums", "gradient", "max_pool",
              "pool_gradient", "upsample_gradient"}  # fmt: skip
    assert {f"narrow_{name}" for name in wanted} <= ran


def test_no_step_leaves_its_memory() -> None:
    needs(BFLOAT16)
    for i, layer in enumerate(layers(60, 32)):
        check_layer(layer, i, guard=True)


def gradients(network: Module, plan: Plan, x: np.ndarray, seeds: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Maps by number and gradients by name, one step of training."""
    maps = {f"map {i}": one.copy() for i, one in enumerate(plan.forward(x))}
    plan.backward(tuple(seeds))
    return maps | {name: one.grad.copy() for name, one in network.named_parameters()}


#: Maps in bfloat16: their distance to those of float32, over their length.
MAPS = 0.02
#: The same of gradients; far more where rounding makes another pixel a pool's largest.
GRADIENTS = [0.2, 0.15, 0.5, 0.4, 0.03]


@pytest.mark.parametrize(
    ("make", "shape", "most"), [(*one, most) for one, most in zip(NETWORKS, GRADIENTS, strict=True)]
)
def test_networks_follow_float32(make, shape, most, rng):
    """Batch-norms are frozen: in training they take most of a gradient away, a mean, and leave rounding."""
    needs(BFLOAT16)
    x, found, seeds = rng.standard_normal(shape).astype(np.float32), {}, []
    for precision in ("float32", "bfloat16"):
        network = twins(make)[0].eval()
        plan = compile(network, shape, training=True, precision=precision)
        if precision == "bfloat16":
            plan = Guarded(plan).watch()
        seeds = seeds or [rng.standard_normal(one.shape).astype(np.float32) for one in plan.forward(x)]
        found[precision] = gradients(network, plan, x, seeds)
    for name, wanted in found["float32"].items():
        apart = float(np.linalg.norm(found["bfloat16"][name] - wanted))
        bound = MAPS if name.startswith("map") else most
        assert apart <= bound * max(float(np.linalg.norm(wanted)), 1e-6), name
    assert any((found["bfloat16"][name] != wanted).any() for name, wanted in found["float32"].items())


def test_threads_do_not_change_bits(rng):
    needs(BFLOAT16)
    shape = (3, 64, 96, 3)
    x, before, results = rng.standard_normal(shape).astype(np.float32), jit.threads(), []
    try:
        for threads in (1, 2):
            jit.set_threads(threads)
            network = nano(np.random.default_rng(1))
            plan = compile(network, shape, training=True, precision="bfloat16")
            seeds = [np.cos(one) for one in plan.forward(x)]
            results.append(gradients(network, plan, x, seeds))
            results[-1] |= {name: one.data.copy() for name, one in network.named_buffers()}
    finally:
        jit.set_threads(before)
    for name, wanted in results[0].items():
        np.testing.assert_array_equal(results[1][name], wanted, err_msg=name)


def test_small_steps_reach_the_float32_weights(rng):
    """Steps far below a bfloat16 number's spacing add up, as they do not in weights that are bfloat16."""
    needs(BFLOAT16)
    network, x = Conv2d(16, 16, 1, bias=False, rng=rng), rng.standard_normal((1, 4, 4, 16), np.float32)
    network.weight.data[...] = 1.0
    plan, optimiser = compile(network, x.shape, training=True, precision="bfloat16"), None
    optimiser = SGD(network.parameters(), lr=1.0)
    (start,) = (one.copy() for one in plan.forward(x))
    seed = (-np.sign(x.sum((0, 1, 2))) * np.ones(start.shape)).astype(np.float32)
    plan.backward((seed,))
    step = np.abs(network.weight.grad).max()
    optimiser.lr = 2**-12 / float(step)  # a 16th of the spacing above 1
    for _ in range(64):
        optimiser.step()
    assert np.abs(network.weight.data - 1).max() > 2**-7
    assert (plan.forward(x)[0] != start).any()


def test_int8_and_processors_without_bfloat16_are_refused(rng, monkeypatch):
    network, shape = Conv2d(3, 4, 1, rng=rng), (1, 4, 4, 3)
    with pytest.raises(UsageError, match="float32 or bfloat16"):
        compile(network, shape, training=True, precision="int8")
    monkeypatch.setattr(dot, "features", lambda: frozenset({"avx2", "fma"}))
    with pytest.raises(UsageError, match=r"bfloat16.*lacks AVX-512 BF16.*float32"):
        compile(network, shape, training=True, precision="bfloat16")
