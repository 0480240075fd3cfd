"""The arena: buffers that are alive together lie apart, and watched networks stay in their own memory."""

import numpy as np
import pytest

from tests.graph.guarded import Guarded, halo_of
from visionkit import functional as F
from visionkit.graph import compile  # noqa: A004
from visionkit.graph.memory import Step, lay_out, lifetimes, rounded
from visionkit.kernels import pointwise
from visionkit.kernels.jit import aligned
from visionkit.kernels.memory import Buffer, Map, Tables, call, padded
from visionkit.models.detectors import yolo_nano
from visionkit.nn import BatchNorm2d, Conv2d, Dropout, Flatten, Linear, MaxPool2d, Module, Sequential
from visionkit.tensor import Tensor


def test_random_buffers_that_live_together_lie_apart(rng):
    for _ in range(60):
        spans = {}
        for _ in range(int(rng.integers(1, 30))):
            n, h, w, c, halo = (int(v) for v in rng.integers((1, 1, 1, 1, 0), (3, 9, 9, 40, 3)))
            first = int(rng.integers(-1, 12))
            spans[Buffer(n, h, w, c, halo)] = (first, first + int(rng.integers(0, 6)))
        start = int(rng.integers(0, 5)) * 16
        scratch = [int(n) for n in rng.integers(0, 300, 20) * rng.integers(0, 2, 20)]
        end, shared = lay_out(spans, start, scratch)
        pairs = [(a, b) for a in spans for b in spans if a is not b]
        overlap = [(a, b) for a, b in pairs if a.base < b.base + b.size and b.base < a.base + a.size]
        for a, b in overlap:
            assert spans[a][1] < spans[b][0] or spans[b][1] < spans[a][0]
            assert a in shared
        for buffer, (first, last) in spans.items():
            assert all(start + size <= buffer.base for size in scratch[max(0, first) : last + 1] if size)
            assert start + max(scratch) <= buffer.base or buffer in shared
        assert all(buffer.base % 16 == 0 and start <= buffer.base for buffer in spans)
        assert max(buffer.base + buffer.size for buffer in spans) <= end
        assert end - start <= sum(rounded(buffer.size) for buffer in spans) + max(map(rounded, scratch))


def test_lifetimes_reach_from_first_to_last_use():
    a, b, c = (Buffer(1, 1, 1, 16) for _ in range(3))
    steps = [
        Step(str(i), pointwise.copy, lambda: call((0,)), t)
        for i, t in enumerate(((a,), (a, b), (b,), (c, a)))
    ]
    assert lifetimes(steps, {b: (-1, 2), c: (1, 9)}) == {a: (0, 3), b: (-1, 2), c: (1, 9)}


@pytest.mark.parametrize(("halo", "h", "w"), [(0, 2, 3), (1, 4, 1), (3, 2, 5)])
def test_clearing_a_halo_leaves_the_pictures(halo, h, w):
    buffer = Buffer(2, h, w, padded(5), halo, base=32)
    memory = aligned(32 + buffer.size + 32)
    memory[:] = 7
    pointwise.clear_halo(memory, np.zeros(1, np.int32), *pointwise.halo_call(buffer))
    whole = Map(buffer, buffer.step)
    assert (whole.view(memory) == 7).all()
    assert not any(part.any() for part in halo_of(buffer, memory))
    assert (memory == 0).sum() == 2 * buffer.step * ((h + 2 * halo) * (w + 2 * halo) - h * w)


def test_maps_outlive_the_backward_run(rng):
    """They are read after it, and its scratch memory begins where the arena does."""
    network = Sequential(Conv2d(1, 8, 3, rng=rng), Flatten(), Linear(288, 2, rng=rng))
    x = rng.normal(size=(32, 8, 8, 1)).astype(np.float32)
    plan = compile(network, x.shape, training=True)
    (scores,) = plan.forward(x)
    before = scores.copy()
    plan.backward((np.ones_like(scores),))
    np.testing.assert_array_equal(scores, before)


def test_equal_tables_are_stored_once():
    tables = Tables()
    places = [tables.add(np.array(t, np.int32)) for t in ((1, 2), (3,), (1, 2), (2,))]
    assert places == [0, 2, 0, 3]
    assert tables.array().tolist() == [1, 2, 3, 2]
    assert Tables().array().size == 1


class Branches(Module):
    """Shortcuts, a concatenation that is read three times, odd channels, wide halos."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.stem = Conv2d(3, 19, 3, 2, 1, rng=rng)
        self.norm = BatchNorm2d(19)
        self.left = Conv2d(19, 16, 5, padding=2, rng=rng)
        self.right = Conv2d(19, 21, 3, padding=3, dilation=3, rng=rng)
        self.pool = MaxPool2d(3, 1, 1)
        self.drop = Dropout(0.0, rng=rng)
        self.mix = Conv2d(37, 37, 3, padding=1, groups=37, rng=rng)
        self.out = Conv2d(74, 5, 1, rng=rng)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        x = F.silu(self.norm(self.stem(x)))
        x = x + F.relu(x)
        both = F.concat([self.left(x), self.drop(self.right(x))])
        mixed = self.mix(both) + self.pool(both)
        return self.out(F.concat([mixed, both])), F.upsample_nearest(both, 2)[..., 3:21]


NETWORKS = [(Branches, (2, 13, 18, 3)), (lambda rng: yolo_nano(2, rng=rng), (1, 64, 64, 3))]


@pytest.mark.parametrize(("make", "shape"), NETWORKS)
@pytest.mark.parametrize("training", [True, False])
def test_networks_need_nothing_from_dead_memory(make, shape, training, rng):
    """Poisoned between the steps, a plan makes the same bits."""
    x = rng.standard_normal(shape).astype(np.float32)
    results = []
    for watched in (False, True):
        network = make(np.random.default_rng(2)).train(training)
        plan = compile(network, shape, training=training)
        if watched:
            Guarded(plan).watch()
        for _ in range(2):
            maps = [m.copy() for m in plan.forward(x)]
            if training:
                plan.backward(tuple(np.cos(m) for m in maps))
        results.append(maps + [p.grad.copy() for p in network.parameters() if training])
    assert all(np.isfinite(array).all() for array in results[0])
    for plain, guarded in zip(*results, strict=True):
        np.testing.assert_array_equal(plain, guarded)


def test_the_watch_sees_what_it_should(rng):
    """A test of the tests: a plan that writes outside, or reads what is dead, is caught."""
    network = Branches(rng).eval()
    x = rng.standard_normal((2, 13, 18, 3)).astype(np.float32)

    def sabotaged(change):
        plan = compile(network, x.shape)
        kernel, arguments = plan._program.calls[-1]

        def bad(memory, tables, p, s):
            kernel(memory, tables, p, s)
            change(plan, memory)

        plan._program.calls[-1] = (bad, arguments)
        return Guarded(plan).watch()

    with pytest.raises(AssertionError, match="outside its maps"):
        sabotaged(lambda plan, memory: memory[-8:].fill(1)).forward(x)
    plan = compile(network, x.shape)
    i = next(i for i, step in enumerate(plan._low.steps) if step.touches[-1].halo)
    buffer = plan._low.steps[i].touches[-1]
    calls = plan._program.calls
    at = [k for k, (kernel, _) in enumerate(calls) if kernel is not pointwise.clear_halo][i]
    kernel, arguments = calls[at]

    def into_the_halo(memory, tables, p, s):
        kernel(memory, tables, p, s)
        memory[buffer.base] = 1

    calls[at] = (into_the_halo, arguments)
    with pytest.raises(AssertionError, match="halo"):
        Guarded(plan).watch().forward(x)


def test_a_dropout_that_inference_skips_is_still_joined(rng):
    weight, drop = Tensor(rng.normal(size=(16, 3, 1, 1)).astype(np.float32)), Dropout(0.5, rng=rng)
    x = rng.standard_normal((1, 4, 5, 3)).astype(np.float32)
    network = drop.train()
    plan = compile(lambda x: F.concat([network(F.conv2d(x, weight)), F.conv2d(x, weight)]), x.shape)
    exact = F.conv2d(Tensor(x), weight).data
    np.testing.assert_allclose(plan.forward(x)[0], np.concatenate([exact, exact], -1), atol=1e-5)
