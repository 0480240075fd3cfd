"""Depthwise convolutions called by hand, both ways, against plain sums in float64, with guard words."""

import numpy as np
import pytest

from visionkit.kernels import depthwise, jit
from visionkit.kernels.jit import LANES, aligned
from visionkit.kernels.memory import Buffer, Map, Tables, padded, spaced

SENTINEL = np.float32(-12345.0)

#: kernel, stride, padding, dilation: the usual filter, its rows that every d-th pixel makes, all others.
FORMS = (
    ((3, 3), (1, 1), (1, 1), (1, 1)),
    ((3, 3), (2, 2), (1, 1), (1, 1)),
    ((3, 3), (1, 1), (2, 2), (2, 2)),
    ((3, 3), (2, 1), (0, 3), (1, 3)),
    ((3, 3), (1, 2), (2, 2), (3, 2)),
    ((3, 3), (3, 3), (1, 1), (1, 1)),
    ((5, 5), (1, 1), (2, 2), (1, 1)),
    ((1, 4), (2, 1), (0, 1), (1, 2)),
    ((2, 1), (1, 1), (2, 0), (1, 1)),
)


class Case:
    """Maps in a memory of guard words, and the same numbers in float64."""

    def __init__(self, form, shape, rng, guard=64):
        self.kernel, self.stride, self.padding, self.dilation = form
        n, h, w, c = shape
        out = [
            (size + 2 * p - d * (k - 1) - 1) // s + 1
            for size, k, s, p, d in zip(
                (h, w), self.kernel, self.stride, self.padding, self.dilation, strict=True
            )
        ]
        halo = max(*self.padding, *(d * (k - 1) for d, k in zip(self.dilation, self.kernel, strict=True)))
        self.x = Map(Buffer(n, h, w, spaced(c), halo), c)
        self.y = Map(Buffer(n, *out, spaced(c), halo), c)
        at = guard
        for buffer in (self.x.buffer, self.y.buffer):
            buffer.base = at
            at += -(-buffer.size // 16) * 16 + guard
        taps, wide = self.kernel[0] * self.kernel[1], padded(c)
        self.weights, self.bias = at, at + taps * wide
        self.scratch = self.bias + wide + guard
        self.target = self.scratch + depthwise.weight_scratch(self.y, self.kernel) + guard
        self.memory = aligned(self.target + taps * c + guard)
        self.memory[:] = SENTINEL
        for one in (self.x, self.y):
            buffer = one.buffer
            self.memory[buffer.base : buffer.base + buffer.n * buffer.image] = 0
            one.view(self.memory)[...] = rng.normal(size=one.shape)
        self.memory[self.weights : self.bias + wide] = 0
        self.filters.T[:c] = rng.normal(size=(c, taps))
        self.memory[self.bias : self.bias + c] = rng.normal(size=c)

    @property
    def filters(self):
        return self.memory[self.weights : self.bias].reshape(-1, padded(self.x.c))

    @property
    def form(self):
        names = ("kernel", "stride", "padding", "dilation")
        return {name: getattr(self, name) for name in names}

    def windows(self):
        """(tap, the view of the haloed input in float64 that this tap meets)."""
        p, d, s = self.padding, self.dilation, self.stride
        x = self.x.view(self.memory).astype(np.float64)
        wide = np.zeros((x.shape[0], x.shape[1] + 2 * p[0], x.shape[2] + 2 * p[1], x.shape[3]))
        inside = wide[:, p[0] : p[0] + x.shape[1], p[1] : p[1] + x.shape[2]]
        inside[...] = x
        _, h, w, _ = self.y.shape
        views = [
            wide[:, a * d[0] : a * d[0] + h * s[0] : s[0], k * d[1] : k * d[1] + w * s[1] : s[1]][:, :h, :w]
            for a in range(self.kernel[0])
            for k in range(self.kernel[1])
        ]
        return inside, wide, views

    def run(self, kernel, call, *written):
        """Run, and see that nothing else than the `written` slices and maps has changed."""
        before = self.memory.copy()
        kernel(self.memory, Tables().array(), *call)
        for one in written:
            if isinstance(one, Map):
                size = padded(one.c)  # spare lanes are the kernel's
                whole = Map(one.buffer, size)
                whole.view(before)[...] = whole.view(self.memory)
            else:
                before[one] = self.memory[one]
        np.testing.assert_array_equal(self.memory, before)


SHAPES = [(2, 7, 9, 5), (1, 12, 21, 2 * LANES + 3)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("form", FORMS)
def test_forward(form, shape, rng):
    case = Case(form, shape, rng)
    _, _, views = case.windows()
    c = shape[3]
    wanted = sum(view * taps[:c].astype(float) for view, taps in zip(views, case.filters, strict=True))
    wanted = wanted + case.memory[case.bias : case.bias + c]
    size = np.abs(wanted).max()
    call = depthwise.depthwise_call(
        case.x, case.y, **case.form, weights=case.weights, bias=case.bias, slope=0.1, cap=2.0
    )
    case.run(depthwise.depthwise, call, case.y)
    wanted = np.minimum(np.maximum(wanted, 0.1 * wanted), 2.0)
    np.testing.assert_allclose(case.y.view(case.memory), wanted, atol=2e-6 * size, rtol=0)


@pytest.mark.parametrize("mode", [1, 2, 3])
@pytest.mark.parametrize("silu", [False, True])
@pytest.mark.parametrize("form", [FORMS[0], FORMS[2], FORMS[6]])
def test_forward_with_a_shortcut(form, silu, mode, rng):
    """From another map before or after the activation; mode 3, gradients' way, from the map written."""
    case = Case(form, SHAPES[1], rng)
    c, y = case.x.c, case.y
    shortcut = y
    if mode != 3:
        place, case.memory = case.memory.size, np.append(case.memory, np.zeros(y.buffer.size, np.float32))
        shortcut = Map(Buffer(*y.shape[:3], y.buffer.step, y.buffer.halo, place), c)
        shortcut.view(case.memory)[...] = rng.normal(size=y.shape)
    other = shortcut.view(case.memory).astype(float)
    _, _, views = case.windows()
    v = sum(view * taps[:c].astype(float) for view, taps in zip(views, case.filters, strict=True))
    v = v + (0 if mode == 3 else case.memory[case.bias : case.bias + c]) + (other if mode != 2 else 0)
    size = np.abs(v).max()
    wanted = v / (1 + np.exp(-v)) if silu else np.maximum(v, 0.0)
    wanted = wanted + (other if mode == 2 else 0)
    call = depthwise.depthwise_call(
        case.x, y, **case.form, weights=case.weights, bias=case.bias, slope=0.0, silu=silu,
        residual=shortcut, residual_mode=mode,
    )  # fmt: skip
    case.run(depthwise.depthwise, call, y)
    np.testing.assert_allclose(y.view(case.memory), wanted, atol=2e-6 * size, rtol=0)


@pytest.mark.parametrize("add", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("form", FORMS)
def test_gradient_of_what_went_in(form, shape, add, rng):
    case = Case(form, shape, rng)
    before = case.x.view(case.memory).astype(float) * add
    inside, wide, views = case.windows()
    wide[...] = 0
    g = case.y.view(case.memory).astype(float)
    for view, taps in zip(views, case.filters, strict=True):
        view += g * taps[: shape[3]].astype(float)
    wanted = inside + before
    call = depthwise.input_gradient_call(case.y, case.x, **case.form, weights=case.weights, add=add)
    case.run(depthwise.depthwise_input_gradient, call, case.x)
    size = np.abs(wanted).max()
    np.testing.assert_allclose(case.x.view(case.memory), wanted, atol=2e-6 * size, rtol=0)


@pytest.mark.parametrize("shape", [*SHAPES, (9, 8, 11, LANES)])
@pytest.mark.parametrize("form", FORMS)
def test_gradient_of_the_weights(form, shape, rng):
    case = Case(form, shape, rng)
    g = case.y.view(case.memory).astype(float)
    wanted = np.stack([(view * g).sum((0, 1, 2)) for view in case.windows()[2]])
    call = depthwise.weight_gradient_call(
        case.x, case.y, **case.form, scratch=case.scratch, target=case.target
    )
    used = depthwise.weight_scratch(case.y, case.kernel)
    scratch, result = (
        slice(at, at + size) for at, size in ((case.scratch, used), (case.target, wanted.size))
    )
    case.run(depthwise.depthwise_weight_gradient, call, scratch, result)
    found = case.memory[result].reshape(wanted.shape)
    np.testing.assert_allclose(found, wanted, atol=2e-6 * np.abs(wanted).max(), rtol=0)


@pytest.mark.parametrize("form", [FORMS[1], FORMS[2], FORMS[6]])
def test_threads_change_no_bit(form):
    results, given = [], jit.threads()
    for threads in (1, 2):
        jit.set_threads(threads)
        case = Case(form, (3, 12, 21, 40), np.random.default_rng(5))
        forward = depthwise.depthwise_call(case.x, case.y, **case.form, weights=case.weights, bias=case.bias)
        weights = depthwise.weight_gradient_call(
            case.x, case.y, **case.form, scratch=case.scratch, target=case.target
        )
        back = depthwise.input_gradient_call(case.y, case.x, **case.form, weights=case.weights, add=True)
        for kernel, call in (
            (depthwise.depthwise, forward),
            (depthwise.depthwise_weight_gradient, weights),
            (depthwise.depthwise_input_gradient, back),
        ):
            kernel(case.memory, Tables().array(), *call)
        results.append(case.memory.copy())
    jit.set_threads(given)
    np.testing.assert_array_equal(*results)
