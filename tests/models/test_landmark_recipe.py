"""The landmark benchmark: a short run on few faces."""

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from visionkit.engine.tweaked import TweakedRegressors
from visionkit.weights import safetensors

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def faces(real_data):
    if not (real_data / "ytfaces68").is_dir():
        pytest.skip("VISIONKIT_TEST_DATA has no ytfaces68 folder")
    return real_data / "ytfaces68"


def train(faces: Path, out: Path, *options: str) -> str:
    script = str(ROOT / "benchmarks" / "landmarks.py")
    command = [sys.executable, script, "--data", str(faces), "--out", str(out), *options]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=900, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_few_faces_teach_something_and_runs_repeat_to_the_same_bits(faces, tmp_path):
    options = ["--epochs", "20", "--faces", "128", "--components", "4"]
    output = train(faces, tmp_path / "one", *options)
    assert output.startswith("128 faces to train on, ")
    with (tmp_path / "one" / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["NME"]]
    assert [row["epoch"] for row in rows] == ["10", "20"]
    assert float(rows[1]["NME"]) < float(rows[0]["NME"]) < 0.6
    scores = re.findall(r"NME (0\.\d{4}), AUC", output)
    assert scores[0] == f"{float(rows[1]['NME']):.4f}"
    assert 0 < float(scores[1]) < float(scores[0])
    arrays = safetensors.read(tmp_path / "one" / "tweaked.safetensors")[0]
    assert TweakedRegressors.from_state_dict(arrays).weight.shape == (4, 136, 256)
    other = train(faces, tmp_path / "other", *options)
    assert re.findall(r"NME.*AUC.*", other) == re.findall(r"NME.*AUC.*", output)
    for name, array in safetensors.read(tmp_path / "other" / "tweaked.safetensors")[0].items():
        np.testing.assert_array_equal(array, arrays[name], err_msg=name)
