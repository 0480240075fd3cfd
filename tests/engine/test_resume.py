"""The same bits after kill and resume, and no run written over another."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.engine import tiny
from visionkit.engine.interrupt import Interrupted
from visionkit.engine.progress import Silent
from visionkit.errors import LockedError, UsageError, WeightsError
from visionkit.kernels import dot, jit
from visionkit.kernels.narrow import BFLOAT16

PROGRAM = [sys.executable, "-m", "tests.engine.tiny"]


@pytest.mark.parametrize(
    ("step", "number"), [(1, signal.SIGINT), (5, signal.SIGTERM), (7, signal.SIGHUP), (20, signal.SIGINT)]
)
def test_interrupted_at_any_step_and_resumed(tmp_path, whole, step, number):
    handler = signal.getsignal(number)
    with pytest.raises(Interrupted, match=r"--resume") as caught:
        tiny.trainer(tmp_path, progress=tiny.StopAt(step, number)).fit()
    assert caught.value.checkpoint.name == f"step-{step}"
    assert signal.getsignal(number) is handler
    tiny.trainer(tmp_path).fit(resume=True)
    assert tiny.digest(tmp_path) == whole


def test_dropout_repeats_itself_when_resumed(tmp_path):
    """What is dropped follows from the step, in a run that goes on as in one that nobody disturbed."""
    tiny.trainer(tmp_path / "whole", net=tiny.Dropped).fit()
    with pytest.raises(Interrupted):
        tiny.trainer(tmp_path / "cut", net=tiny.Dropped, progress=tiny.StopAt(7)).fit()
    tiny.trainer(tmp_path / "cut", net=tiny.Dropped).fit(resume=True)
    assert tiny.digest(tmp_path / "cut") == tiny.digest(tmp_path / "whole")


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


def kill_and_resume(folder: Path, seed: int, kills: int) -> list[int]:
    """Kill -9 the program at random steps and a random moment later, each time resuming on 1 or 2 threads.

    The steps rise, so that each is reached; whether every step or only each epoch is saved is random too.
    Returns the steps after which it was killed, then lets it come to the end.
    """
    rng = random.Random(seed)
    targets, killed = sorted(rng.randrange(20) for _ in range(kills)), []
    for target in [*targets, None]:
        saved = any((folder / "checkpoints").glob("step-*"))
        command = [*PROGRAM, str(folder), "--slow", "0.01", "--tell", "--threads", str(rng.choice((1, 2)))]
        command += ["--resume"] if saved else []
        command += ["--save-minutes", "0"] if target is not None and rng.random() < 0.5 else []
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if target is None:
            _, error = process.communicate(timeout=120)
            assert process.returncode == 0, error
            return killed
        while (step := int(process.stdout.readline())) < target:
            pass
        time.sleep(rng.uniform(0, 0.05))
        process.kill()
        _, error = process.communicate(timeout=120)
        assert process.returncode == -signal.SIGKILL, error
        killed.append(step)
    raise AssertionError


def test_killed_and_resumed(tmp_path, whole):
    assert len(kill_and_resume(tmp_path / "run", 4, 3)) == 3
    assert tiny.digest(tmp_path / "run") == whole
    assert not list((tmp_path / "run").rglob(".visionkit-tmp*"))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_killed_again_and_again(tmp_path, whole, seed):
    assert len(kill_and_resume(tmp_path / "run", seed, 10)) == 10
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


def test_bfloat16_belongs_to_the_run(tmp_path, whole):
    """Interrupted and resumed to the same bits, on another number of threads; never in another precision."""
    if lacking := dot.missing(BFLOAT16):
        pytest.skip(f"this processor cannot multiply bfloat16: it lacks {lacking}")
    narrow = {"precision": "bfloat16"}
    tiny.trainer(tmp_path / "whole", **narrow).fit()
    with pytest.raises(Interrupted):
        tiny.trainer(tmp_path / "cut", **narrow, progress=tiny.StopAt(7)).fit()
    with pytest.raises(UsageError, match=r"precision.*--override"):
        tiny.trainer(tmp_path / "cut").fit(resume=True)
    before = jit.threads()
    try:
        jit.set_threads(1)
        tiny.trainer(tmp_path / "cut", **narrow).fit(resume=True)
    finally:
        jit.set_threads(before)
    found = tiny.digest(tmp_path / "whole")
    assert tiny.digest(tmp_path / "cut") == found
    assert b'precision = "bfloat16"' in found["config.toml"]
    assert found["last.safetensors"] != whole["last.safetensors"]


def test_a_precision_that_cannot_be_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    with pytest.raises(UsageError, match="float32 or bfloat16"):
        tiny.trainer(tmp_path, precision="int8")
    monkeypatch.setattr(dot, "features", frozenset)
    with pytest.raises(UsageError, match=r"bfloat16.*lacks AVX-512 BF16.*Use float32"):
        tiny.trainer(tmp_path, precision="bfloat16")
    assert not list(tmp_path.iterdir())
