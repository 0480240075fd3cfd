"""Numbers that are not finite: the run stops, says where they came from, and saves none of them."""

import os

import numpy as np
import pytest

from tests.engine import tiny
from visionkit.errors import DivergedError
from visionkit.weights import safetensors


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
