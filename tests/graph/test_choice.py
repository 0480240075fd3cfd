"""Direct or Winograd: the rule, the clock, and what is kept of it."""

import json

import numpy as np
import pytest

from visionkit.graph import choice
from visionkit.graph.plan import Plan, compile  # noqa: A004
from visionkit.kernels import winograd
from visionkit.kernels.memory import Buffer, Map
from visionkit.nn import Conv2d, ReLU, Sequential

SHAPE = (1, 24, 24, 16)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A machine that has timed nothing yet."""
    monkeypatch.setattr(choice, "_known", {})
    monkeypatch.setattr(choice, "cache_folder", lambda: tmp_path)
    return tmp_path


@pytest.fixture
def network(rng):
    """Three layers that Winograd could take, two of one shape, and one that it could not."""
    layers = [Conv2d(a, b, 3, 1, 1, rng=rng) for a, b in ((16, 16), (16, 32), (32, 16), (16, 16))]
    return Sequential(layers[0], ReLU(), layers[1], layers[2], layers[3], Conv2d(16, 16, 1, rng=rng)).eval()


@pytest.fixture
def clock(monkeypatch):
    """A clock that shows what it is told: milliseconds by kernel; counts how often it is read."""
    times = {"winograd": 1.0, "conv": 1.0, "read": 0}

    def profile(plan, repeat):
        times["read"] += 1
        names = (kernel.__name__ for kernel, _ in plan._program.calls)
        return [("layer", name, times.get(name, 0.0)) for name in names]

    monkeypatch.setattr(Plan, "profile", profile)
    return times


def kernels(plan):
    return [kernel.__name__ for kernel, _ in plan._program.calls if kernel.__name__ in ("conv", "winograd")]


def test_the_rule_is_the_default_and_direct_is_without_winograd(network, monkeypatch):
    monkeypatch.setattr(winograd, "pays", lambda y, ins, packs: y.c == 32)
    assert kernels(compile(network, SHAPE)) == ["conv", "winograd", "conv", "conv", "conv"]
    assert kernels(compile(network, SHAPE, winograd="direct")) == ["conv"] * 5


@pytest.mark.parametrize("rule", [True, False])
@pytest.mark.parametrize(
    ("by_winograd", "directly", "taken"),
    [(1.0, 2.0, True), (2.0, 1.0, False), (1.0, 1.0, None), (1.0, 1.02, None), (1.02, 1.0, None)],
)
def test_the_clock_overrules_the_rule_by_more_than_noise(
    network, clock, monkeypatch, rule, by_winograd, directly, taken
):
    monkeypatch.setattr(winograd, "pays", lambda y, ins, packs: rule)
    clock |= {"winograd": by_winograd, "conv": directly}
    name = "winograd" if (rule if taken is None else taken) else "conv"
    assert kernels(compile(network, SHAPE, winograd="timed")) == [name] * 4 + ["conv"]


def test_a_shape_is_timed_once_on_a_machine(network, clock, folder, monkeypatch):
    clock |= {"winograd": 1.0, "conv": 2.0}
    first = kernels(compile(network, SHAPE, winograd="timed"))
    assert clock["read"] == 2
    kept = json.loads((folder / "choices.json").read_text())
    assert kept == {"1x24x24x16x16": True, "1x24x24x32x16": True, "1x24x24x16x32": True}
    clock |= {"winograd": 2.0, "conv": 1.0}
    assert kernels(compile(network, SHAPE, winograd="timed")) == first
    monkeypatch.setattr(choice, "_known", {})  # another process
    assert kernels(compile(network, SHAPE, winograd="timed")) == first
    assert clock["read"] == 2
    compile(network, (1, 12, 24, 16), winograd="timed")
    assert clock["read"] == 4


@pytest.mark.parametrize("content", ["", "[1]", "{", "\xff"])
def test_a_damaged_file_is_replaced(network, clock, folder, content):
    (folder / "choices.json").write_text(content, encoding="latin-1")
    compile(network, SHAPE, winograd="timed")
    assert clock["read"] == 2
    assert len(json.loads((folder / "choices.json").read_text())) == 3


def test_without_a_folder_the_process_remembers(network, clock, monkeypatch):
    monkeypatch.setattr(choice, "cache_folder", lambda: None)
    for _ in range(2):
        compile(network, SHAPE, winograd="timed")
    assert clock["read"] == 2


def test_training_never_asks_the_clock(network, clock):
    compile(network.train(), SHAPE, training=True, winograd="timed")
    assert clock["read"] == 0


def test_a_real_clock_changes_speed_and_not_results(network, rng):
    x = rng.standard_normal(SHAPE).astype(np.float32)
    exact = compile(network, SHAPE, winograd="direct").forward(x)[0]
    found = compile(network, SHAPE, winograd="timed").forward(x)[0]
    np.testing.assert_allclose(found, exact, atol=2e-5 * np.abs(exact).max())


def test_what_pays_is_possible():
    for ins, outs in ((16, 16), (8, 16), (16, 8), (24, 16), (64, 255)):
        y = Map(Buffer(1, 200, 200, 256), outs)
        assert winograd.possible(y, ins) or not winograd.pays(y, ins, False)
