"""Schedules against their formulas and the seeds' numbers."""

import math

import pytest

from visionkit.errors import UsageError
from visionkit.optim import schedule


def test_half_life_gives_the_published_factors() -> None:
    """OPT-17, T49: MNIST halves over 3 x 1180 iterations, CIFAR over 5 x 4900."""
    mnist, cifar = schedule.half_life(1.0, 3 * 1180), schedule.half_life(1.0, 5 * 4900)
    assert mnist(1) == pytest.approx(0.99980421, abs=5e-9)
    assert cifar(1) == pytest.approx(0.99997171, abs=5e-9)
    assert mnist(3 * 1180) == pytest.approx(0.5, abs=1e-9)
    assert math.prod([mnist(1)] * (3 * 1180)) == pytest.approx(0.5, abs=1e-9)


def test_step_and_piecewise_jump_at_their_steps() -> None:
    halved = schedule.step(0.8, 5)
    assert [halved(t) for t in (0, 4, 5, 9, 10)] == [0.8, 0.8, 0.4, 0.4, 0.2]
    cut = schedule.piecewise(1.0, [3, 6], 0.1)
    assert [cut(t) for t in (2, 3, 5, 6, 100)] == pytest.approx([1, 0.1, 0.1, 0.01, 0.01])


def test_smooth_decays() -> None:
    assert schedule.constant(0.3)(10**6) == 0.3
    assert schedule.exponential(2.0, 0.1)(7) == pytest.approx(2 * math.exp(-0.7))
    assert schedule.inverse_time(2.0, 0.1)(10) == pytest.approx(1.0)


def test_cosine_goes_from_base_to_final_and_stays() -> None:
    rate = schedule.cosine(2e-3, 100, 2e-5)
    assert rate(0) == 2e-3
    assert rate(50) == pytest.approx((2e-3 + 2e-5) / 2)
    assert rate(25) == pytest.approx(2e-5 + (2e-3 - 2e-5) * (1 + math.sqrt(0.5)) / 2)
    assert rate(100) == rate(500) == pytest.approx(2e-5)


def test_warmup_rises_to_the_schedule() -> None:
    rate = schedule.warmup(schedule.step(1.0, 10), 4)
    assert [rate(t) for t in (0, 1, 2, 3, 4, 9, 10)] == [0.25, 0.5, 0.75, 1, 1, 1, 0.5]
    assert schedule.warmup(schedule.constant(1.0), 0)(0) == 1


def test_plateau_waits_then_cuts() -> None:
    plateau = schedule.Plateau(1.0, factor=0.1, patience=1, least=0.05)
    assert [plateau.update(v) for v in (5, 4, 4, 3, 3, 3)] == pytest.approx([1, 1, 1, 1, 1, 0.1])
    copy = schedule.Plateau(1.0, factor=0.1, patience=1, least=0.05)
    copy.load_state_dict(plateau.state_dict())
    for p in (plateau, copy):
        assert [p.update(v) for v in (3, 3, 2)] == pytest.approx([0.1, 0.05, 0.05])
    rising = schedule.Plateau(1.0, patience=0, better="higher")
    assert [rising.update(v) for v in (0.1, 0.2, 0.2)] == pytest.approx([1, 1, 0.1])


def test_nonsense_is_refused() -> None:
    for make in (schedule.cosine, schedule.half_life, schedule.step):
        with pytest.raises(UsageError, match="positive"):
            make(1.0, 0)
