"""The MNIST benchmark: its recipe in numbers, and a run on few digits."""

import csv
import hashlib
import importlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "benchmarks" / "mnist.py"


@pytest.fixture(scope="module")
def recipe():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(SCRIPT.parent)
        yield importlib.import_module("mnist")


@pytest.fixture
def digits(real_data):
    if not (real_data / "mnist").is_dir():
        pytest.skip("VISIONKIT_TEST_DATA has no mnist folder")
    return real_data / "mnist"


def train(digits: Path, out: Path, *options: str) -> str:
    command = [sys.executable, str(SCRIPT), "--data", str(digits), "--out", str(out), *options]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_rate_halves_every_three_epochs(recipe):
    """The source's factor for each step is 0.99980421: 1,180 steps an epoch, 59,000 digits of 50."""
    rate = recipe.Recipe(14, lr=0.01).schedule(14 * 1180)
    assert rate(1) / rate(0) == pytest.approx(0.99980421, abs=5e-9)
    assert rate(3 * 1180) == pytest.approx(0.005)


def test_biases_move_at_twice_the_rate(recipe):
    network = recipe.MnistNet(rng=np.random.default_rng(0))
    for parameter in network.parameters():
        parameter.grad = np.ones_like(parameter.data)
    before = {name: p.data.copy() for name, p in network.named_parameters()}
    recipe.Recipe(1, lr=0.01).optimiser(network).step()
    for name, parameter in network.named_parameters():
        moved = 0.02 if name.endswith("bias") else 0.01
        np.testing.assert_allclose(before[name] - parameter.data, moved, rtol=1e-4)


def test_every_digit_comes_once_an_epoch_in_an_order_of_its_own(recipe):
    images = np.arange(200, dtype=np.uint8).reshape(200, 1, 1, 1)
    loader = recipe.DigitLoader(recipe.Mnist(images, images.ravel().astype(np.int64)), 50, seed=3)
    orders = [np.concatenate([batch.labels for batch in loader.batches(epoch)]) for epoch in (0, 1)]
    assert len(loader) == 4
    assert all((np.sort(order) == np.arange(200)).all() for order in orders)
    assert (orders[0] != orders[1]).any()
    for batch in loader.batches(0):
        np.testing.assert_array_equal(batch.images.ravel(), batch.labels)
    (last,) = loader.batches(0, start=3)
    np.testing.assert_array_equal(last.labels, orders[0][150:])


def test_few_digits_teach_much(digits, tmp_path):
    output = train(digits, tmp_path / "run", "--epochs", "2", "--digits", "5000")
    with (tmp_path / "run" / "metrics.csv").open() as file:
        accuracy = [float(row["accuracy"]) for row in csv.DictReader(file)]
    assert 0.8 < accuracy[0] < accuracy[1] < 1
    assert f"last {accuracy[1]:.2%}" in output
    weights = [
        hashlib.sha256((tmp_path / "run" / name).read_bytes()).hexdigest()
        for name in ("checkpoints/step-200/weights.safetensors", "checkpoints/step-200/ema.safetensors")
    ]
    assert weights[0] == weights[1]  # what is measured and written are the plain weights
