"""The harness runs, and the networks that it compares are the same. Times are never asserted."""

import importlib
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.oracles import torch_python
from visionkit.kernels.dot import missing
from visionkit.kernels.narrow import INT8

ROOT = Path(__file__).resolve().parents[2]


def run(tmp_path: Path, *words: str) -> tuple[int, dict, str]:
    out = tmp_path / "out.json"
    command = [
        sys.executable,
        str(ROOT / "benchmarks" / "run.py"),
        *words,
        "--rounds",
        "1",
        "--seconds",
        "0.01",
    ]
    done = subprocess.run([*command, "--out", str(out)], capture_output=True, text=True, check=False)
    return done.returncode, json.loads(out.read_text()) if out.exists() else {}, done.stderr


NETWORKS = (
    "resnet18", "vgg19-front", "mobilenet-v2", "yolov3-tiny", "hourglass", "openpose-stage", "yolo-nano",
)  # fmt: skip
TRAINED = ("yolo-nano", "hourglass", "mobilenet-v2")


@pytest.mark.peers
@pytest.mark.parametrize(
    ("kind", "network"),
    [*(("inference", name) for name in NETWORKS), *(("training", name) for name in TRAINED)],
)
def test_torch_computes_the_same(tmp_path: Path, kind: str, network: str) -> None:
    torch_python()
    code, facts, said = run(
        tmp_path, kind, "--network", network, "--batch", "1", "--threads", "1", "--against", "torch"
    )
    assert code == 0, said
    found = facts["networks"][network]
    assert found["failed"] == {}
    assert found["error"]["torch"]["maps"] < 1e-4
    assert found["ratio"]["torch"] == found["ms"]["torch"] / found["ms"]["visionkit"]


def test_engines_do_not_train(tmp_path: Path) -> None:
    code, facts, said = run(tmp_path, "training", "--against", "onnxruntime")
    assert code == 2
    assert "cannot measure onnxruntime" in said
    assert not facts


def test_a_missing_peer_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISIONKIT_PEERS", str(tmp_path))
    code, facts, _ = run(tmp_path, "inference", "--network", "yolo-nano", "--against", "torch")
    network = facts["networks"]["yolo-nano"]
    assert code == 1
    assert "VISIONKIT_PEERS" in network["failed"]["torch"]
    assert network["ms"]["visionkit"] > 0


def test_memory_is_measured_and_tabled(tmp_path: Path) -> None:
    words = ["--network", "yolo-nano", "--threads", "1", "--against"]
    code, facts, said = run(tmp_path, "memory", *words)
    assert code == 0, said
    assert facts["networks"]["yolo-nano"]["memory_mb"]["visionkit"] > 5  # its weights alone have as many
    assert facts["networks"]["yolo-nano"]["ratio"] == {"visionkit": 1.0}
    table = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "table.py"), str(tmp_path / "out.json")],
        capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    assert table[0] == "|  | visionkit |"
    assert table[2].startswith("| yolo-nano, batch 1, 1 threads, memory | ")


@pytest.mark.skipif(bool(missing(INT8)), reason=f"int8: this processor lacks {missing(INT8)}")
def test_precision_is_ours_alone(tmp_path: Path) -> None:
    words = ["--network", "yolo-nano", "--threads", "1", "--precision", "int8", "--against", "visionkit"]
    code, facts, said = run(tmp_path, "inference", *words)
    assert code == 0, said
    network = facts["networks"]["yolo-nano"]
    assert set(network["ratio"]) == {"visionkit-int8", "visionkit"}
    assert network["ratio"]["visionkit-int8"] == 1
    assert 1e-3 < network["error"]["visionkit"]["maps"] < 0.3  # it did round


@pytest.mark.slow
def test_startup(tmp_path: Path) -> None:
    code, facts, said = run(tmp_path, "startup", "--threads", "1")
    assert code == 0, said
    seconds = facts["startup"]["seconds"]
    assert seconds["detect"] - seconds["import numpy, cv2"] == seconds["detect beyond the imports"]
    assert seconds["warmup, cold"] > seconds["visionkit --help"] > 0


@pytest.fixture
def compare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """`compare(tool, maps, gradient, bias)`: how far from ours is what a tool is said to have computed."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    difference = importlib.import_module("comparison").difference
    job = importlib.import_module("protocol").Job

    def run(tool: str, a: np.ndarray, gradient: np.ndarray, bias: float = 1e-8) -> dict[str, float]:
        ours, theirs = (
            job(name, "training", "resnet18", 1, 1, str(tmp_path)) for name in ("visionkit", tool)
        )
        ones = np.ones((1, 4, 4, 2), np.float32)
        mine = {"gradient.x.weight": np.array([3.0, 4.0]), "gradient.x.bias": np.array([1e-8])}
        np.savez(ours.results, **{"map.0": 10 * ones, **mine})
        their = {"gradient.x.weight": gradient, "gradient.x.bias": np.array([bias])}
        np.savez(theirs.results, **{"map.0": a, **their})
        return difference(ours, theirs)

    return run


def test_difference_is_relative(compare) -> None:
    a = np.full((1, 4, 4, 2), 10.0)
    a[0, 1, 2, 1] += 0.005
    found = compare("torch", a, np.array([3.0, 4.1]))
    assert found == {"maps": pytest.approx(0.0005), "gradients": pytest.approx(0.02)}


@pytest.mark.parametrize(
    ("tool", "apart"), [("torch", 0.002), ("torch-bf16-cl", 0.2), ("openvino-bf16", np.nan)]
)
def test_another_result_is_refused(compare, tool: str, apart: float) -> None:
    a, gradient = np.full((1, 4, 4, 2), 10.0), np.array([3.0, 4.0])
    compare(tool, a * (1 + np.nan_to_num(apart) / 4), gradient)
    with pytest.raises(Exception, match=f"{tool} computes something else"):
        compare(tool, a * (1 + apart), gradient)


def test_a_bias_that_is_rounding_is_held_against_its_weight(compare) -> None:
    """As before a batch-norm, which takes every bias away."""
    same = np.full((1, 4, 4, 2), 10.0), np.array([3.0, 4.0])
    assert compare("torch", *same, bias=-1e-8) == {"maps": 0, "gradients": pytest.approx(2e-8 / 12.5**0.5)}
    with pytest.raises(Exception, match="torch computes something else"):
        compare("torch", *same, bias=0.2)


def test_another_shape_is_refused(compare) -> None:
    with pytest.raises(Exception, match="'maps': inf"):
        compare("torch", np.full((1, 4, 4, 3), 10.0), np.array([3.0, 4.0]))


def test_a_load_beside_the_measured_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a process nobody accounts for takes from the processor is foreign; a worker's own is not."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    foreign = importlib.import_module("harness").Foreign
    burn = "import time; end = time.monotonic() + 3\nwhile time.monotonic() < end: pass"
    with subprocess.Popen([sys.executable, "-c", burn]) as process:
        both, mine = foreign(), foreign([process.pid])
        time.sleep(1)
        assert both.cores() > mine.cores()
        process.kill()


def test_a_live_source_is_timed_and_drops_what_is_too_much(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    code, facts, said = run(tmp_path, "live", "--threads", "1")
    assert code == 0, said
    assert facts["live"]["network_ms"] > 0
    slow, fast = (facts["live"]["sources"][rate] for rate in ("30", "400"))
    for one in (slow, fast):
        assert one["latency_ms"] > 0
        assert 0 < one["results_per_second"] <= one["frames"]
    assert fast["dropped_per_second"] > slow["dropped_per_second"]
