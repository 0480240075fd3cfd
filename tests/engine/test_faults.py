"""Disks that fail: nothing lost, nothing half-written ever read, nothing left lying about."""

import contextlib
import errno
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

from tests.engine import tiny
from visionkit.engine import lock
from visionkit.engine.checkpoint import Checkpoint, Checkpoints
from visionkit.errors import FileError, WeightsError
from visionkit.weights import safetensors

PROGRAM = [sys.executable, "-m", "tests.engine.tiny"]
CODES = (errno.ENOSPC, errno.EIO, errno.EACCES)


def small(folder, **more):
    """Two epochs, one checkpoint kept: every kind of file operation of a run, few of them twice."""
    return tiny.trainer(folder, epochs=2, keep=1, **more)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    small(folder).fit()
    return tiny.digest(folder)


@pytest.fixture
def interrupted(tmp_path):
    """A run stopped in its second epoch."""
    with pytest.raises(KeyboardInterrupt):
        small(tmp_path / "interrupted", progress=tiny.StopAt(7)).fit()
    return tmp_path / "interrupted"


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
    """Lets the n-th file operation fail and counts on; the disk itself is not waited for."""

    NAMES = (
        "open", "fsync", "replace", "rename", "mkdir", "chmod",
        "stat", "listdir", "scandir", "unlink", "rmdir",
    )  # fmt: skip

    def __init__(self, monkeypatch, number):
        self.left, self.code, self.hit = number, CODES[number % len(CODES)], False
        for name in self.NAMES:
            monkeypatch.setattr(os, name, self.wrapped(getattr(os, name)))
        monkeypatch.setattr(os, "fsync", self.wrapped(lambda handle: None))
        monkeypatch.setattr(pathlib.Path, "open", self.wrapped(pathlib.Path.open))
        monkeypatch.setattr(lock, "open", self.wrapped(open), raising=False)
        monkeypatch.setattr("visionkit.engine.run.RunFolder.plot", lambda self, rows: None)

    def wrapped(self, function):
        def call(*args, **kwargs):
            self.left -= 1
            if self.left == 0:
                self.hit = True
                raise OSError(self.code, os.strerror(self.code))
            return function(*args, **kwargs)

        return call


def left_over(folder):
    return [path for path in folder.rglob("*") if path.name.startswith(".visionkit-tmp")]


def fail_and_resume(folder, monkeypatch, number, resume=False):
    """A run whose n-th file operation fails, then resumed; whether there were as many operations."""
    with monkeypatch.context() as patch:
        fault = Fault(patch, number)
        with contextlib.suppress(FileError, WeightsError):  # the one checkpoint that is kept was not read
            small(folder).fit(resume=resume)
    assert not left_over(folder), number
    for path in folder.rglob("*.safetensors"):
        safetensors.read(path)
    saved = any((folder / "checkpoints").glob("step-*"))
    with monkeypatch.context() as patch:
        Fault(patch, 0)
        small(folder).fit(resume=saved)
    return fault.hit


@pytest.mark.parametrize("number", [1, 4, 9, 15, 22, 30, 37, 41, 58, 73, 120])
def test_a_failing_file_operation_costs_nothing(tmp_path, undisturbed, monkeypatch, number):
    assert fail_and_resume(tmp_path, monkeypatch, number)
    assert tiny.digest(tmp_path) == undisturbed


@pytest.mark.slow
def test_every_file_operation_may_fail(tmp_path, undisturbed, monkeypatch):
    number = 1
    while fail_and_resume(tmp_path / str(number), monkeypatch, number):
        assert tiny.digest(tmp_path / str(number)) == undisturbed, number
        number += 1
    assert number > 150


@pytest.mark.slow
def test_every_file_operation_of_a_resumed_run_may_fail(tmp_path, interrupted, undisturbed, monkeypatch):
    number, hit = 1, True
    while hit:
        folder = tmp_path / str(number)
        shutil.copytree(interrupted, folder)
        hit = fail_and_resume(folder, monkeypatch, number, resume=True)
        assert tiny.digest(folder) == undisturbed, number
        number += 1
    assert number > 100


def refuse(*args, **kwargs):
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_a_drive_that_removes_nothing_costs_space_only(tmp_path, undisturbed, monkeypatch):
    """What could not be removed is never taken for a checkpoint; the next save or resume sweeps it up."""
    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", refuse)
        patch.setattr(os, "rmdir", refuse)
        small(tmp_path).fit()
    assert tiny.digest(tmp_path) == undisturbed
    assert len(left_over(tmp_path)) == 2  # steps 0 and 5
    assert (tmp_path / "run.lock").exists()
    checkpoints = Checkpoints(tmp_path / "checkpoints", keep=1)
    newest, warnings = checkpoints.latest()
    assert (newest.step, warnings) == (10, [])
    checkpoints.save(Checkpoint({**newest.state, "step": 11}, newest.groups))
    assert [path.name for path in checkpoints.folder.iterdir()] == ["step-11"]


def test_resuming_sweeps_up(tmp_path, interrupted, undisturbed):
    """Half a checkpoint, half a file beside it and half a picture, as three killed runs leave them."""
    half = interrupted / "checkpoints" / ".visionkit-tmp-1-00"
    half.mkdir()
    (half / "weights.safetensors").write_bytes(b"half")
    (interrupted / "plots").mkdir()
    for folder in (interrupted, interrupted / "plots"):
        (folder / ".visionkit-tmp-2-00").write_bytes(b"half")
    small(interrupted).fit(resume=True)
    assert not left_over(interrupted)
    assert tiny.digest(interrupted) == undisturbed


def test_old_checkpoints_that_cannot_be_deleted_do_not_stop_the_run(tmp_path, undisturbed, monkeypatch):
    rename = os.rename

    def kept(source, target):
        if pathlib.Path(source).name.startswith("step-"):
            refuse()
        rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", kept)
        small(tmp_path).fit()
    assert tiny.digest(tmp_path) == undisturbed
    checkpoints = Checkpoints(tmp_path / "checkpoints", keep=1)
    assert checkpoints.steps() == [0, 5, 10]
    newest, _ = checkpoints.latest()
    checkpoints.save(Checkpoint({**newest.state, "step": 11}, newest.groups))
    assert checkpoints.steps() == [11]


def test_an_abandoned_future_is_never_resumed(tmp_path, monkeypatch):
    """Steps past the one that was resumed go before anything new is saved, or nothing is."""
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    for step in (5, 10, 15):
        checkpoints.save(Checkpoint({"step": step}, {}))
    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", refuse)
        with pytest.raises(FileError, match="cannot save the checkpoint"):
            checkpoints.save(Checkpoint({"step": 7}, {}))
    assert checkpoints.steps() == [5, 10, 15]
    checkpoints.save(Checkpoint({"step": 7}, {}))
    assert checkpoints.steps() == [5, 7]
    assert not left_over(tmp_path)


def test_unusable_folders_are_found_before_training(tmp_path):
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(FileError):
            tiny.trainer(folder).fit()


def test_unusable_folder_of_plots_is_an_error_of_files(tmp_path):
    (tmp_path / "plots").touch()
    with pytest.raises(FileError, match="plots"):
        small(tmp_path).fit()
