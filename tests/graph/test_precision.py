"""Plans in bfloat16 and int8: single layers against float64, networks against float32, memory, errors."""

from collections.abc import Callable

import numpy as np
import pytest

from tests.graph.guarded import Guarded
from tests.graph.layers import ACTIVATIONS, Layer, layers
from tests.graph.test_plan import NETWORKS
from tests.kernels.narrow_layers import needs, rounded
from visionkit import functional as F
from visionkit.errors import DataError, UnknownNameError, UsageError
from visionkit.graph import Ranges, calibrate, compile, trace  # noqa: A004
from visionkit.graph.passes import prepare
from visionkit.graph.ranges import named
from visionkit.kernels import dot, jit
from visionkit.kernels.narrow import BFLOAT16, INT8
from visionkit.models.detectors import yolo_nano
from visionkit.nn import Conv2d, Module
from visionkit.tensor import Tensor

#: Sums in float32 of products that are exact.
ACCUMULATION = 4e-6
#: A rounding or two of numbers with 8 bits on the way, of the largest value.
ROUNDED = 2**-6
#: A whole network in bfloat16 against float32: the largest error, and its root mean square over theirs.
NETWORK, MEAN = 0.04, 0.015


def as_tuple(outputs: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return outputs if isinstance(outputs, tuple) else (outputs,)


def exact(layer: Layer, x: np.ndarray, arrays: list[np.ndarray]) -> tuple[list[np.ndarray], float]:
    """A layer's results in float64, and the largest number on the way: activations make them smaller."""
    given, sizes = [Tensor(a.astype(np.float64)) for a in arrays], [1.0]

    def activation(z: Tensor) -> Tensor:
        sizes.append(float(np.abs(z.data).max(initial=0)))
        return ACTIVATIONS[layer.activation][0](z)

    outputs = [out.data for out in as_tuple(layer.run(Tensor(x.astype(np.float64)), given, activation))]
    return outputs, max(sizes + [float(np.abs(out).max(initial=0)) for out in outputs])


def rounds_once(layer: Layer) -> bool:
    """Whether nothing but sums in float32 stands between input and result."""
    if layer.name == "conv":
        return layer.settings["shortcut"] == "none" and layer.activation != "sigmoid"
    return layer.name in ("linear", "max pool", "average pool", "activation", "slice", "upsample")


def check_layers(count: int, seed: int, guard: bool) -> None:
    once = 0
    for i, layer in enumerate(layers(count, seed)):
        if layer.training:
            continue
        x = rounded(np.random.default_rng(i).normal(size=layer.shape).astype(np.float32))
        arrays = [rounded(a) if a.ndim > 1 else a for a in layer.arrays]
        given, activation = [Tensor(a) for a in arrays], ACTIVATIONS[layer.activation][0]
        plan = compile(lambda x: layer.run(x, given, activation), x.shape, precision="bfloat16")  # noqa: B023
        if guard:
            plan = Guarded(plan).watch()
        plan.forward(np.random.default_rng(99).normal(size=x.shape).astype(np.float32))
        tolerance = ACCUMULATION if rounds_once(layer) else ROUNDED
        once += rounds_once(layer)
        outputs, size = exact(layer, x, arrays)
        for found, wanted in zip(plan.forward(x), outputs, strict=True):
            error = float(np.abs(found - wanted).max(initial=0))
            assert error <= tolerance * size, f"{layer}: {error:.2e} of {size:.2e}"
    assert once > count / 5


def test_random_layers_in_bfloat16() -> None:
    needs(BFLOAT16)
    check_layers(200, 21, guard=False)


def test_no_step_in_bfloat16_leaves_its_memory() -> None:
    needs(BFLOAT16)
    check_layers(60, 22, guard=True)


@pytest.mark.parametrize(("make", "shape"), NETWORKS)
def test_networks_in_bfloat16(make, shape, rng):
    needs(BFLOAT16)
    network = make(np.random.default_rng(1)).eval()
    x = rng.standard_normal(shape).astype(np.float32)
    plain, plan = compile(network, shape), Guarded(compile(network, shape, precision="bfloat16")).watch()
    for _ in range(2):
        for found, wanted in zip(plan.forward(x), plain.forward(x), strict=True):
            error, size = np.abs(found - wanted), np.abs(wanted).max()
            assert 0 < error.max() <= NETWORK * size
            assert np.sqrt((error**2).mean()) <= MEAN * np.sqrt((wanted**2).mean())


def test_threads_do_not_change_bits(rng):
    needs(BFLOAT16)
    network = yolo_nano(3, rng=rng).eval()
    x = rng.integers(0, 256, (2, 64, 96, 3), np.uint8)
    before, results = jit.threads(), []
    try:
        for threads in (1, 2):
            jit.set_threads(threads)
            plan = compile(network, x.shape, scale=1 / 255, precision="bfloat16")
            results.append([out.copy() for out in plan.forward(x)])
    finally:
        jit.set_threads(before)
    for one, two in zip(*results, strict=True):
        np.testing.assert_array_equal(one, two)


def whole_numbers(rng: np.random.Generator, *shape: int, largest: int = 127) -> np.ndarray:
    """Whole numbers, 127 among each first axis' ones: so that the scale of int8 is 1."""
    x = rng.integers(-largest, largest + 1, shape).astype(np.float32)
    x.reshape(shape[0], -1)[:, 0] = 127
    return x


def unit_ranges(network: Callable[..., object], shape: tuple[int, ...]) -> Ranges:
    """Ranges with which whole numbers are themselves."""
    names = [name for name, _ in named(prepare(trace(network, shape), training=False))]
    return Ranges(tuple(names), (127.0,) * len(names))


@pytest.mark.parametrize(("kernel", "stride", "groups"), [(3, 1, 1), (1, 1, 1), (5, 2, 1), (3, 2, 21)])
def test_int8_is_exact_in_whole_numbers(kernel, stride, groups, rng):
    needs(INT8)
    x = whole_numbers(rng, 2, 9, 14, 21)
    weights = Tensor(whole_numbers(rng, 21, 21 // groups, kernel, kernel))

    def network(x: Tensor) -> Tensor:
        return F.conv2d(
            x, weights, stride=(stride, stride), padding=(kernel // 2, kernel // 2), groups=groups
        )

    plan = compile(network, x.shape, precision="int8", ranges=unit_ranges(network, x.shape))
    wanted = network(Tensor(x.astype(np.float64))).data
    assert np.abs(wanted).max() < 2**24
    np.testing.assert_array_equal(Guarded(plan).watch().forward(x)[0], wanted)


def test_int8_rounds_maps_within_their_ranges(rng):
    """Two convolutions: the map in between is whole numbers, cut off at 127."""
    needs(INT8)
    x = whole_numbers(rng, 1, 6, 7, 16, largest=3)
    first, second = Tensor(whole_numbers(rng, 8, 16, 3, 3, largest=1)), Tensor(whole_numbers(rng, 9, 8, 1, 1))

    def network(x: Tensor) -> Tensor:
        return F.conv2d(F.relu(F.conv2d(x, first, padding=(1, 1))), second)

    plan = compile(network, x.shape, precision="int8", ranges=unit_ranges(network, x.shape))
    between = F.relu(F.conv2d(Tensor(x.astype(np.float64)), first, padding=(1, 1))).data.clip(-127, 127)
    assert (between == 127).any()
    assert ((between > 0) & (between < 127)).any()
    np.testing.assert_array_equal(plan.forward(x)[0], F.conv2d(Tensor(between), second).data)


@pytest.mark.parametrize(("make", "shape"), NETWORKS)
def test_networks_in_int8(make, shape, rng):
    needs(INT8)
    network = make(np.random.default_rng(1)).eval()
    pictures = [rng.standard_normal(shape).astype(np.float32) for _ in range(3)]
    ranges = calibrate(network, shape, pictures)
    plan = Guarded(compile(network, shape, precision="int8", ranges=ranges)).watch()
    plain = compile(network, shape)
    for x in pictures:
        for found, wanted in zip(plan.forward(x), plain.forward(x), strict=True):
            error, size = np.abs(found - wanted), np.abs(wanted).max()
            assert 0 < error.max() <= 0.4 * size  # the sigmoids of large sums are steep
            assert np.sqrt((error**2).mean()) <= 0.1 * np.sqrt((wanted**2).mean())


def test_calibration_finds_the_best_range(rng):
    """Of a normal distribution with a few far larger numbers: far beyond the one, far below the other."""
    x = rng.standard_normal((1, 64, 64, 4)).astype(np.float32)
    x[0, 0, 0] = 1000
    ranges = calibrate(lambda x: F.relu(x), x.shape, [x])
    assert ranges.names == ("input", ":relu")
    for range_ in ranges.values:
        error = {}
        for r in (range_ / 1.3, range_, range_ * 1.3):
            scale = r / 127
            error[r] = ((np.rint(x / scale).clip(-127, 127) * scale - x) ** 2).mean()
        assert min(error, key=error.get) == range_
    assert 3 < calibrate(lambda x: F.relu(x), x.shape, [x.clip(-9, 9)]).values[0] < 9.5
    assert calibrate(lambda x: F.relu(x), x.shape, [-np.abs(x)]).values[1] == 1.0  # nothing but zeros
    with pytest.raises(DataError, match="no picture"):
        calibrate(lambda x: F.relu(x), x.shape, [])


def test_ranges_are_kept_and_checked(tmp_path, rng):
    network, shape, path = Conv2d(3, 4, 1, rng=rng), (1, 4, 4, 3), tmp_path / "r.json"
    ranges = calibrate(network, shape, [rng.standard_normal(shape).astype(np.float32)])
    ranges.write(path)
    assert Ranges.read(path) == ranges
    for text in ("[]", "{", "3", "[[1]]", '[["input", "x"]]'):
        path.write_text(text)
        with pytest.raises(DataError, match="not a file of ranges"):
            Ranges.read(path)
    for size in ("0", "-1", "NaN", "Infinity"):
        path.write_text(f'[["input", 1], ["more", {size}]]')
        with pytest.raises(DataError, match="/1"):
            Ranges.read(path)
    with pytest.raises(UsageError, match="another network"):
        compile(Conv2d(3, 4, 1, rng=rng), shape, precision="int8", ranges=Ranges(("input",), (1.0,)))
    with pytest.raises(UsageError, match="visionkit weights calibrate"):
        compile(network, shape, precision="int8")


class Pooled(Module):
    """Convolutions before pools that can be done with them, and such that cannot."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.first, self.second = Conv2d(3, 16, 3, padding=1, rng=rng), Conv2d(16, 24, 3, padding=1, rng=rng)
        self.third = Conv2d(24, 8, 1, rng=rng)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """(B, H, W, 3) to two maps."""
        x = F.max_pool2d(F.leaky_relu(self.first(x), 0.1), 2)
        y = F.silu(self.second(x))
        return F.max_pool2d(self.third(F.max_pool2d(y, 2)), 2), F.max_pool2d(y, 2)


def test_pools_behind_convolutions_are_done_with_them(rng):
    needs(BFLOAT16)
    network, x = Pooled(rng).eval(), rng.standard_normal((1, 37, 50, 3), np.float32)
    plan = compile(network, x.shape, precision="bfloat16")
    names = [kernel for _, kernel, _ in plan.profile(1)]
    assert names.count("narrow_conv") == 3
    assert names.count("narrow_max_pool") + names.count("max_pool") == 2  # behind SiLU, not before
    for found, wanted in zip(plan.forward(x), compile(network, x.shape).forward(x), strict=True):
        assert np.abs(found - wanted).max() <= ROUNDED * np.abs(wanted).max()


def test_slopes_of_channels_run_on_float32_maps(rng):
    needs(BFLOAT16)
    slopes = Tensor(rng.normal(size=16).astype(np.float32))
    first, second = Conv2d(3, 16, 3, rng=rng), Conv2d(16, 24, 3, rng=rng)
    x = rng.standard_normal((2, 9, 12, 3), np.float32)

    def network(x: Tensor) -> Tensor:
        return second(F.prelu(first(x), slopes))

    (found,), (wanted,) = (compile(network, x.shape, precision=p).forward(x) for p in ("bfloat16", "float32"))
    assert 0 < np.abs(found - wanted).max() <= ROUNDED * np.abs(wanted).max()


def test_new_weights_are_taken_over(rng):
    needs(BFLOAT16)
    network, x = Conv2d(16, 16, 1, rng=rng), rng.standard_normal((1, 4, 4, 16), np.float32)
    plan = compile(network, x.shape, precision="bfloat16")
    network.weight.data[...] *= 2
    network.bias.data[...] *= 2
    before = plan.forward(x)[0].copy()
    plan.refresh()
    np.testing.assert_array_equal(plan.forward(x)[0], 2 * before)


def test_what_cannot_be_is_refused(rng, monkeypatch):
    network, shape = Conv2d(3, 4, 1, rng=rng), (1, 4, 4, 3)
    with pytest.raises(UnknownNameError, match="float32, bfloat16, int8"):
        compile(network, shape, precision="float16")
    monkeypatch.setattr(dot, "features", lambda: frozenset({"avx2", "fma"}))
    for name, lacking in (("bfloat16", "AVX-512 BF16"), ("int8", "VNNI")):
        with pytest.raises(UsageError, match=f"{name}.*lacks {lacking}"):
            compile(network, shape, precision=name)
