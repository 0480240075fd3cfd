"""The loop and its promises: same bits after kill and resume, nothing lost, nothing wrong saved."""

import contextlib
import csv
import errno
import io
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.engine import tiny
from visionkit import nn
from visionkit.engine.interrupt import Interrupted
from visionkit.engine.progress import Console, Silent
from visionkit.engine.settings import Settings
from visionkit.engine.trainer import Trainer
from visionkit.errors import DivergedError, FileError, LockedError, UsageError, WeightsError
from visionkit.tensor import Tensor
from visionkit.weights import safetensors

PROGRAM = [sys.executable, "-m", "tests.engine.tiny"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nobody disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    tiny.trainer(folder).fit()
    return tiny.digest(folder)


class StopAt(Silent):
    """Sends a signal to itself at a step, as Ctrl-C would."""

    def __init__(self, step, number=signal.SIGINT):
        self.left, self.number = step, number

    def step(self, loss, images):
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), self.number)


def test_run_folder_holds_what_it_should(tmp_path, whole):
    summary = tiny.trainer(tmp_path).fit()
    assert tiny.digest(tmp_path) == whole
    rows = list(csv.DictReader(io.StringIO((tmp_path / "metrics.csv").read_text())))
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3, 4]
    assert float(rows[-1]["loss/squared"]) < float(rows[0]["loss/squared"])
    assert summary.best == max(float(row["AP"]) for row in rows)
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["step-10", "step-15", "step-20"]
    assert sorted(p.name for p in (tmp_path / "plots").iterdir()) == [
        "ap.png",
        "loss.png",
        "lr.png",
        "updates.png",
    ]
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


@pytest.mark.parametrize(
    ("step", "number"), [(1, signal.SIGINT), (5, signal.SIGTERM), (7, signal.SIGHUP), (20, signal.SIGINT)]
)
def test_interrupted_at_any_step_and_resumed(tmp_path, whole, step, number):
    handler = signal.getsignal(number)
    with pytest.raises(Interrupted, match=r"--resume") as caught:
        tiny.trainer(tmp_path, progress=StopAt(step, number)).fit()
    assert caught.value.checkpoint.name == f"step-{step}"
    assert signal.getsignal(number) is handler
    tiny.trainer(tmp_path).fit(resume=True)
    assert tiny.digest(tmp_path) == whole


def test_interrupted_during_evaluation(tmp_path, whole):
    run = tiny.trainer(tmp_path)
    plain = run.validation

    def interrupting(network):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)
        return plain(network)

    run.validation = interrupting
    with pytest.raises(Interrupted) as caught:
        run.fit()
    assert caught.value.checkpoint.name == "step-5"
    tiny.trainer(tmp_path).fit(resume=True)
    assert tiny.digest(tmp_path) == whole


def test_saving_within_epochs_changes_no_bit(tmp_path, whole):
    run = tiny.trainer(tmp_path, save_minutes=0.0)
    run.fit()
    found = tiny.digest(tmp_path)
    for name in ("best.safetensors", "last.safetensors", "metrics.csv"):
        assert found[name] == whole[name]
    assert (tmp_path / "checkpoints/step-19").is_dir()


def test_a_finished_run_can_be_resumed_to_the_same_end(tmp_path, whole):
    tiny.trainer(tmp_path).fit()
    (tmp_path / "last.safetensors").unlink()
    (tmp_path / "metrics.csv").write_text("half a li")
    tiny.trainer(tmp_path).fit(resume=True)
    assert tiny.digest(tmp_path) == whole


def kill_and_resume(folder: Path, rng: random.Random, kills: int) -> int:
    """Run the program, kill -9 it at random times, go on until it is through; returns how often."""
    killed = 0
    while True:
        saved = list((folder / "checkpoints").glob("step-*"))
        command = [*PROGRAM, str(folder), "--slow", "0.03", *(["--resume"] if saved else [])]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        process.stdout.readline()  # ready
        if killed < kills:
            time.sleep(rng.uniform(0.0, 0.9))
            process.kill()
            killed += 1
        _, error = process.communicate(timeout=120)
        if process.returncode == 0:
            return killed
        assert process.returncode == -signal.SIGKILL, error.decode()


def test_killed_and_resumed(tmp_path, whole):
    kill_and_resume(tmp_path / "run", random.Random(4), 3)
    assert tiny.digest(tmp_path / "run") == whole
    assert not list((tmp_path / "run").rglob(".visionkit-tmp*"))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_killed_again_and_again(tmp_path, whole, seed):
    assert kill_and_resume(tmp_path / "run", random.Random(seed), 10) >= 1
    assert tiny.digest(tmp_path / "run") == whole


def test_damaged_checkpoint_falls_back(tmp_path, whole):
    tiny.trainer(tmp_path).fit()
    target = tmp_path / "checkpoints/step-20/weights.safetensors"
    content = bytearray(target.read_bytes())
    content[-1] ^= 1
    target.write_bytes(content)
    with pytest.raises(WeightsError, match="SHA-256"):
        tiny.trainer(tmp_path).fit(resume=True, strict=True)
    told = []
    listener = Silent()
    listener.message = told.append
    tiny.trainer(tmp_path, progress=listener).fit(resume=True)
    assert "step-20 is damaged" in told[0]
    assert tiny.digest(tmp_path) == whole


@pytest.mark.parametrize("spoil", ["MANIFEST.json", "state.json", "ema.safetensors"])
def test_missing_files_and_newer_formats_fall_back(tmp_path, whole, spoil):
    tiny.trainer(tmp_path).fit()
    (tmp_path / "checkpoints/step-20" / spoil).unlink()
    tiny.trainer(tmp_path).fit(resume=True)
    assert tiny.digest(tmp_path) == whole


def test_nothing_to_resume(tmp_path):
    with pytest.raises(WeightsError, match="nothing to resume"):
        tiny.trainer(tmp_path).fit(resume=True)


def test_changes_are_refused_at_resume(tmp_path):
    tiny.trainer(tmp_path, epochs=1).fit()
    with pytest.raises(UsageError, match=r"settings.lr was 0.01, now 0.02.*--override"):
        tiny.trainer(tmp_path, epochs=1, lr=0.02).fit(resume=True)
    run = tiny.trainer(tmp_path, epochs=1)
    run.identity["data"] = "other"
    with pytest.raises(UsageError, match="data was made up, now other"):
        run.fit(resume=True)
    run.fit(resume=True, override=True)
    tiny.trainer(tmp_path, epochs=1, keep=1, save_minutes=3.0).fit(resume=True)


def test_a_folder_with_a_run_is_not_overwritten(tmp_path):
    tiny.trainer(tmp_path, epochs=1).fit()
    before = tiny.digest(tmp_path)
    with pytest.raises(UsageError, match="--resume"):
        tiny.trainer(tmp_path, epochs=1).fit()
    assert tiny.digest(tmp_path) == before


def test_second_run_is_locked_out(tmp_path):
    process = subprocess.Popen(
        [*PROGRAM, str(tmp_path / "run"), "--slow", "1"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        for _ in range(200):
            time.sleep(0.05)
            if (tmp_path / "run/run.lock").exists() and (tmp_path / "run/config.toml").exists():
                break
        with pytest.raises(LockedError, match=f"pid {process.pid} on .*started") as caught:
            tiny.trainer(tmp_path / "run").fit()
        assert caught.value.exit_code == 8
    finally:
        process.kill()
        process.communicate()
    assert (tmp_path / "run/run.lock").exists()  # the dead owner's
    with pytest.raises((UsageError, WeightsError)):  # not locked any more
        tiny.trainer(tmp_path / "run", epochs=9).fit(resume=True)


def test_diverged_loss_names_step_files_and_keeps_checkpoints(tmp_path):
    with pytest.raises(DivergedError) as caught:
        tiny.trainer(tmp_path, nan=12).fit()
    text = str(caught.value)
    assert caught.value.exit_code == 7
    for part in ("step 12", "squared nan", "picture-2-2.png", "--lr"):
        assert part in text
    assert (
        max(os.listdir(tmp_path / "checkpoints")) == "step-5" or (tmp_path / "checkpoints/step-10").is_dir()
    )
    for path in tmp_path.rglob("*.safetensors"):
        safetensors.read(path)  # refuses NaN
    assert not (tmp_path / "checkpoints/step-12").exists()


def test_diverged_weights_name_the_layer(tmp_path):
    run = tiny.trainer(tmp_path)
    step = run.optimiser.step

    def poisoned(ratios=False):
        step(ratios=ratios)
        if run.ema.step == 6:
            run.network.last.weight.data[0, 0] = np.inf

    run.optimiser.step = poisoned
    with pytest.raises(DivergedError, match=r"last\.weight"):
        run.fit()


def test_diverged_activation_names_the_layer(tmp_path):
    run = tiny.trainer(tmp_path)
    run.network.norm.weight.data[...] = 3e38
    with pytest.raises(DivergedError, match=r"with a number that is not finite is (norm|last);"):
        run.fit()
    assert "forward" not in vars(run.network.norm)


def test_full_disk_leaves_the_checkpoint_before(tmp_path):
    tiny.trainer(tmp_path / "run").fit()
    size = (tmp_path / "run/checkpoints/step-20/ema.safetensors").stat().st_size
    done = subprocess.run(
        [*PROGRAM, str(tmp_path / "full"), "--limit", str(size - 10)], capture_output=True, text=True
    )
    assert done.returncode == 5, done.stderr
    assert "not saved" in done.stderr
    assert not list((tmp_path / "full").rglob(".visionkit-tmp*"))
    process = [*PROGRAM, str(tmp_path / "run"), "--resume", "--limit", "10"]
    done = subprocess.run(process, capture_output=True, text=True)
    assert done.returncode == 5, done.stderr
    tiny.trainer(tmp_path / "run").fit(resume=True)


class Fault:
    """Lets the n-th file operation fail; counts on."""

    NAMES = ("open", "fsync", "replace", "rename", "mkdir")

    def __init__(self, monkeypatch, number, code):
        self.left, self.code, self.hit = number, code, False
        for name in self.NAMES:
            monkeypatch.setattr(os, name, self.wrapped(getattr(os, name)))

    def wrapped(self, function):
        def call(*args, **kwargs):
            self.left -= 1
            if self.left == 0:
                self.hit = True
                raise OSError(self.code, os.strerror(self.code))
            return function(*args, **kwargs)

        return call


def fail_and_resume(folder, monkeypatch, number, code):
    """A run whose n-th file operation fails, then resumed; whether there were as many operations."""
    with monkeypatch.context() as patch:
        patch.setattr("visionkit.engine.run.RunFolder.plot", lambda self, rows: None)
        fault = Fault(patch, number, code)
        with contextlib.suppress(FileError):
            tiny.trainer(folder).fit()
    left = [path for path in folder.rglob("*") if path.name.startswith(".visionkit-tmp")]
    assert not left, (number, left)
    for path in folder.rglob("*.safetensors"):
        safetensors.read(path)
    started = (folder / "checkpoints").is_dir() and any((folder / "checkpoints").iterdir())
    tiny.trainer(folder).fit(resume=started)
    return fault.hit


@pytest.mark.parametrize("number", [1, 4, 9, 15, 22, 30, 37, 41, 58, 73])
def test_a_failing_file_operation_costs_nothing(tmp_path, whole, monkeypatch, number):
    assert fail_and_resume(tmp_path, monkeypatch, number, errno.ENOSPC)
    assert tiny.digest(tmp_path) == whole


@pytest.mark.slow
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EACCES])
def test_every_file_operation_may_fail(tmp_path, whole, monkeypatch, code):
    number = 1
    while fail_and_resume(tmp_path / str(number), monkeypatch, number, code):
        assert tiny.digest(tmp_path / str(number)) == whole, number
        number += 1
    assert number > 80


def test_unusable_folders_are_found_before_training(tmp_path):
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(FileError):
            tiny.trainer(folder).fit()


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
