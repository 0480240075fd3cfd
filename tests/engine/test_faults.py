"""Divergence and failing disks: nothing lost, nothing wrong saved."""

import contextlib
import errno
import os
import subprocess
import sys

import numpy as np
import pytest

from tests.engine import tiny
from visionkit.errors import DivergedError, FileError
from visionkit.weights import safetensors

PROGRAM = [sys.executable, "-m", "tests.engine.tiny"]


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
