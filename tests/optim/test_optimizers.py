"""Optimisers: first steps by hand, state, groups, ratios, memory order, threads."""

import numpy as np
import pytest

from visionkit import nn, optim
from visionkit.errors import UsageError, WeightsError
from visionkit.kernels import jit, update
from visionkit.nn import Parameter

OPTIMISERS = {
    "sgd": lambda p, lr=0.1: optim.SGD(p, lr),
    "nesterov": lambda p, lr=0.1: optim.SGD(p, lr, momentum=0.9, nesterov=True),
    "adam": lambda p, lr=0.1: optim.Adam(p, lr),
    "adamw": lambda p, lr=0.1: optim.AdamW(p, lr),
    "adagrad": lambda p, lr=0.1: optim.AdaGrad(p, lr),
    "rmsprop": lambda p, lr=0.1: optim.RMSProp(p, lr),
}


def run(name: str, start: np.ndarray, grads: list[np.ndarray], lr: float = 0.1) -> np.ndarray:
    p = Parameter(start.copy(order="K"))
    optimiser = OPTIMISERS[name]([p], lr)
    for grad in grads:
        p.grad = grad
        optimiser.step()
    return p.data


def test_constant_gradients_give_the_known_steps() -> None:
    """Seeds' T48: AdaGrad lr/sqrt(n); RMSProp first lr/sqrt(1-rho), then lr; Adam always lr; momentum x10."""
    grads = [np.full(1, 3.0)] * 400
    path = {name: [run(name, np.zeros(1), grads[:n])[0] for n in (1, 2, 399, 400)] for name in OPTIMISERS}
    assert path["adagrad"][0] == pytest.approx(-0.1)
    assert path["adagrad"][1] - path["adagrad"][0] == pytest.approx(-0.1 / np.sqrt(2))
    assert path["rmsprop"][0] == pytest.approx(-0.1 / np.sqrt(0.01))
    assert path["adam"][0] == pytest.approx(-0.1)
    assert path["adam"][3] - path["adam"][2] == pytest.approx(-0.1)
    assert path["sgd"][3] == pytest.approx(-0.1 * 3 * 400)
    assert path["nesterov"][3] - path["nesterov"][2] == pytest.approx(-0.1 * 3 * 10)


def test_gradient_descent_halves_a_quadratic() -> None:
    """Seeds' T30: f = x²/2, step 0.5, from 1: x_k = 0.5^k."""
    p = Parameter(np.ones(1, np.float64))
    optimiser = optim.SGD([p], 0.5)
    for k in range(1, 101):
        p.grad = p.data.copy()
        optimiser.step()
        assert p.data[0] == 0.5**k


@pytest.mark.parametrize("name", sorted(OPTIMISERS))
def test_float32_follows_float64(name: str) -> None:
    rng = np.random.default_rng(0)
    start, grads = rng.normal(size=(40, 3)), [rng.normal(size=(40, 3)) for _ in range(20)]
    exact = run(name, start, grads, 0.01)
    rough = run(name, start.astype(np.float32), [g.astype(np.float32) for g in grads], 0.01)
    assert rough.dtype == np.float32
    assert np.abs(rough - exact).max() < 1e-5 * np.abs(exact).max()


@pytest.mark.parametrize("name", sorted(OPTIMISERS))
def test_memory_order_and_threads_change_no_bit(name: str) -> None:
    rng = np.random.default_rng(1)
    shape = (3, 3, 60, 70)  # several chunks and a rest
    assert not update.small(int(np.prod(shape)))
    inner = [rng.normal(size=shape).astype(np.float32) for _ in range(4)]
    logical = [a.transpose(3, 2, 0, 1) for a in inner]
    before = jit.threads()
    try:
        jit.set_threads(1)
        one = run(name, logical[0], logical[1:])
        jit.set_threads(2)
        two = run(name, logical[0], logical[1:])
    finally:
        jit.set_threads(before)
    assert one.strides == logical[0].strides
    np.testing.assert_array_equal(one, two)
    # Gradients in another memory order than the parameter's give the same numbers.
    other = run(name, logical[0], [np.ascontiguousarray(g) for g in logical[1:]])
    np.testing.assert_array_equal(one, other)


def test_frozen_and_untouched_parameters_stay() -> None:
    params = [Parameter(np.ones(3, np.float32)) for _ in range(3)]
    optimiser = optim.AdamW(params, 0.1)
    for p in params[:2]:
        p.grad = np.ones(3, np.float32)
    params[1].requires_grad = False
    optimiser.step()
    assert params[0].data[0] < 1
    assert (params[1].data == 1).all()
    assert (params[2].data == 1).all()
    params[1].requires_grad = True  # its count of updates starts now, so its first step is lr again
    optimiser.step()
    assert params[1].data[0] == pytest.approx(1 * (1 - 0.1 * 0.01) - 0.1, abs=1e-6)
    optimiser.zero_grad()
    assert all(p.grad is None for p in params)


@pytest.mark.parametrize("name", sorted(OPTIMISERS))
def test_a_resumed_optimiser_takes_the_same_steps(name: str) -> None:
    rng = np.random.default_rng(2)
    start, grads = rng.normal(size=5), [rng.normal(size=5) for _ in range(6)]
    whole = run(name, start, grads)
    p = Parameter(start.copy())
    first = OPTIMISERS[name]([p])
    for grad in grads[:3]:
        p.grad = grad
        first.step()
    state = {k: v.copy() for k, v in first.state_dict().items()}
    second = OPTIMISERS[name]([p], 0.7)
    second.load_state_dict(state)
    for grad in grads[3:]:
        p.grad = grad
        second.step()
    np.testing.assert_array_equal(p.data, whole)


def test_a_wrong_state_is_refused_whole() -> None:
    optimiser = optim.Adam([{"params": [Parameter(np.ones(3))], "names": ["w"]}], 0.1)
    state = optimiser.state_dict()
    assert set(state) == {"lr", "counts", "w.mean", "w.square"}
    bad = state | {"w.mean": np.zeros(4), "w.other": np.zeros(1)}
    del bad["w.square"]
    with pytest.raises(WeightsError, match=r"missing w.square.*unexpected w.other.*w.mean: expected"):
        optimiser.load_state_dict(bad)


def test_groups_spare_biases_and_norms() -> None:
    rng = np.random.default_rng(0)
    net = nn.Sequential(
        nn.Conv2d(2, 3, 3, rng=rng), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(3, 2, rng=rng)
    )
    groups = optim.parameter_groups(net, 0.05, bias_lr_scale=2.0)
    rows = {n: (g["lr_scale"], g["weight_decay"]) for g in groups for n in g["names"]}
    assert rows == {
        "0.weight": (1, 0.05),
        "3.weight": (1, 0.05),
        "1.weight": (1, 0),
        "0.bias": (2, 0),
        "1.bias": (2, 0),
        "3.bias": (2, 0),
    }
    optimiser = optim.SGD(groups, 0.1)
    for p in net.parameters():
        p.grad = np.full_like(p.data, 1.0)
    before = {n: p.data.copy() for n, p in net.named_parameters()}
    optimiser.step(ratios=True)
    ratios = optimiser.update_ratios()
    for name, p in net.named_parameters():
        scale, decay = rows[name]
        moved = 0.1 * scale * (1 + decay * before[name])
        np.testing.assert_allclose(p.data, before[name] - moved, rtol=1e-5, atol=1e-6)
        whole = np.abs(before[name]).sum()
        if whole:
            assert ratios[name] == pytest.approx(np.abs(moved).sum() / whole, rel=1e-5)
        else:
            assert np.isnan(ratios[name])


def test_bad_arguments_are_refused() -> None:
    p = Parameter(np.ones(1))
    with pytest.raises(UsageError, match="needs parameters"):
        optim.SGD([], 0.1)
    with pytest.raises(UsageError, match="two groups"):
        optim.SGD([p, p], 0.1)
    with pytest.raises(UsageError, match="momentum"):
        optim.SGD([p], 0.1, momentum=1.0)
    with pytest.raises(UsageError, match="start at 0"):
        optim.SGD([p], float("nan"))


def test_clipping_scales_all_gradients_together() -> None:
    rng = np.random.default_rng(3)
    params = [Parameter(np.zeros(n, np.float32)) for n in (5, 40000, 1)]
    for p in params:
        p.grad = rng.normal(size=p.shape).astype(np.float32)
    before = [p.grad.copy() for p in params]
    norm = float(np.sqrt(sum(float((g.astype(np.float64) ** 2).sum()) for g in before)))
    assert optim.clip_grad_norm(params, norm * 2) == pytest.approx(norm, rel=1e-12)
    assert all((p.grad == g).all() for p, g in zip(params, before, strict=True))
    assert optim.clip_grad_norm(params, 10.0) == pytest.approx(norm, rel=1e-12)
    for p, g in zip(params, before, strict=True):
        np.testing.assert_allclose(p.grad, g * (10 / norm), rtol=1e-6)
    assert optim.clip_grad_norm(params, 1e9) == pytest.approx(10, rel=1e-6)


def test_a_norm_that_is_not_finite_changes_nothing() -> None:
    p = Parameter(np.zeros(3, np.float32))
    p.grad = np.array([1, np.inf, 2], np.float32)
    assert optim.clip_grad_norm([p], 1.0) == np.inf
    np.testing.assert_array_equal(p.grad, [1, np.inf, 2])
    p.grad[1] = np.nan
    assert np.isnan(optim.clip_grad_norm([p], 1.0))


def test_norm_does_not_depend_on_the_threads() -> None:
    x = np.random.default_rng(4).normal(size=100_001).astype(np.float32)
    assert update.squares(x) == update.squares_chunks(x)
    assert update.squares(x) == pytest.approx(float((x.astype(np.float64) ** 2).sum()), rel=1e-13)
