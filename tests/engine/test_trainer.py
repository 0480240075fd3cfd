"""The loop: what it computes, what it writes, what can be set."""

import contextlib
import csv
import io
import json
import os

import numpy as np
import pytest

from tests.engine import tiny
from visionkit import nn
from visionkit.engine.progress import Console
from visionkit.engine.settings import Settings
from visionkit.engine.trainer import Trainer
from visionkit.errors import UsageError
from visionkit.tensor import Tensor
from visionkit.weights import safetensors


def test_run_folder_holds_what_it_should(tmp_path, whole):
    summary = tiny.trainer(tmp_path).fit()
    assert tiny.digest(tmp_path) == whole
    rows = list(csv.DictReader(io.StringIO((tmp_path / "metrics.csv").read_text())))
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3, 4]
    assert float(rows[-1]["loss/squared"]) < float(rows[0]["loss/squared"])
    assert summary.best == max(float(row["AP"]) for row in rows)
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["step-10", "step-15", "step-20"]
    plots = sorted(path.stem for path in (tmp_path / "plots").iterdir())
    assert plots == ["ap", "loss", "lr", "updates"]
    assert not (tmp_path / "run.lock").exists()
    events = [json.loads(line)["event"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert events == ["start"] + 4 * ["epoch"] + ["done"]
    training = json.loads(safetensors.read_metadata(tmp_path / "last.safetensors")["training"])
    assert training["step"] == 20
    assert training["data"] == "made up"


def test_weights_of_the_file_are_the_averages(tmp_path):
    """EMA recomputed from the weights of every step: decay * (1 - exp(-t / ramp))."""
    run = tiny.trainer(tmp_path, epochs=1)
    shadow = {k: v.astype(np.float64) for k, v in run.network.state_dict().items()}
    update, count = run.ema.update, 0

    def watched():
        nonlocal count
        count += 1
        keep = 0.998 * (1 - np.exp(-count / 200))
        for name, value in run.network.state_dict().items():
            shadow[name] = keep * shadow[name] + (1 - keep) * value
        update()

    run.ema.update = watched
    run.fit()
    assert count == 5
    for name, value in safetensors.read(tmp_path / "last.safetensors")[0].items():
        np.testing.assert_allclose(value, shadow[name], rtol=1e-5, atol=1e-6)


def test_tape_and_fast_path_agree(tmp_path):
    tiny.trainer(tmp_path / "a", epochs=1).fit()
    tiny.trainer(tmp_path / "b", epochs=1, criterion=tiny.SquaredError()).fit()
    fast, tape = (safetensors.read(tmp_path / name / "last.safetensors")[0] for name in "ab")
    for name, array in fast.items():
        np.testing.assert_allclose(array, tape[name], rtol=1e-4, atol=1e-6)


def test_planned_steps_agree_with_the_tape_throughout(tmp_path):
    """Ten steps of the trainer against ten steps of the eager network."""
    run = tiny.trainer(tmp_path, epochs=2)
    run.fit()
    other = tiny.trainer(tmp_path / "unused", epochs=2)
    for step in range(10):
        batch = next(other.loader.batches(step // 5, step % 5))
        images = (batch.images.astype(np.float32) - 114) / 64
        for parameter in other.network.parameters():
            parameter.grad = None
        ((other.network(Tensor(images)) - batch.aim) ** 2).mean().backward()
        other.optimiser.lr = other._schedule(step)
        other.optimiser.step()
    for name, array in run.network.state_dict().items():
        np.testing.assert_allclose(
            array, other.network.state_dict()[name], rtol=2e-3, atol=2e-4, err_msg=name
        )


def test_frozen_layers_stay(tmp_path):
    run = tiny.trainer(tmp_path, epochs=1, freeze=("first.*", "norm.*"))
    before = {k: v.copy() for k, v in run.network.state_dict().items()}
    run.fit()
    after = run.network.state_dict()
    for name in before:
        same = np.array_equal(before[name], after[name])
        assert same == name.startswith(("first", "norm")), name
    with pytest.raises(UsageError, match="no parameter matches"):
        tiny.trainer(tmp_path / "b", freeze=("backbone.*",))


def test_settings_are_checked():
    for wrong in ({"epochs": 0}, {"epochs": 1, "lr": float("nan")}, {"epochs": 1, "keep": 0}):
        with pytest.raises(UsageError):
            Settings(**wrong)


def test_schedule_warms_up_and_ends_at_one_percent():
    rate = Settings(10, lr=1.0, warmup=4).schedule(100)
    assert rate(0) == pytest.approx(0.25, abs=0.01)
    assert max(rate(step) for step in range(100)) == pytest.approx(1, abs=0.01)
    assert rate(99) == pytest.approx(0.01, abs=0.001)


def test_console_says_lines_where_there_is_no_terminal(tmp_path):
    stream = io.StringIO()
    tiny.trainer(tmp_path, epochs=2, progress=Console(stream, every=0.0)).fit()
    text = stream.getvalue()
    assert "epoch 1/2: loss" in text
    assert "images/s" in text
    assert "left" in text
    assert "\r" not in text
    assert "AP 0." in text


def test_a_reader_that_leaves_does_not_stop_the_training(tmp_path):
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w") as stream:
        tiny.trainer(tmp_path, epochs=1, progress=Console(stream, every=0.0)).fit()
        with contextlib.suppress(BrokenPipeError):
            stream.close()


def test_network_of_ones_own_without_validation(tmp_path):
    """Any module, any criterion, any loader: a linear classifier on pictures."""

    class Linear(nn.Module):
        def __init__(self):
            self.conv = nn.Conv2d(3, 4, 3, padding=1, rng=np.random.default_rng(0))

        def forward(self, x):
            return self.conv(x)

    class Loader:
        def __len__(self):
            return 3

        def batches(self, epoch, start=0):
            for index in range(start, 3):
                images = np.random.default_rng(index).normal(size=(2, 8, 8, 3))
                yield tiny.Picture(images.astype(np.float32), None, [])

    summary = Trainer(
        Linear(),
        lambda maps, batch: {"size": (maps[0] ** 2).mean()},
        Loader(),
        tmp_path,
        Settings(2, lr=0.02),
    ).fit()
    assert summary.best is None
    assert summary.rows[1]["loss/size"] < summary.rows[0]["loss/size"]
    assert not (tmp_path / "best.safetensors").exists()
