"""Networks of Caffe against OpenCV 4's own reader, which is the last that has one."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.models import caffe_net
from tests.oracles import peer_python
from tests.weights.caffe_writer import caffemodel
from visionkit.graph import compile as compile_network
from visionkit.models.caffe import CaffeNetwork, load_caffe
from visionkit.nn import Conv2d, PReLU
from visionkit.tensor import Tensor, no_grad
from visionkit.weights import prototxt

pytestmark = pytest.mark.peers

SCRIPT = """
import sys
import cv2
import numpy as np
cv2.setNumThreads(1)
net = cv2.dnn.readNetFromCaffe(sys.argv[1], sys.argv[2])
given = np.load(sys.argv[3])
net.setInput(given)
names = sys.argv[5:] or net.getUnconnectedOutLayersNames()
np.savez(sys.argv[4], **{name: net.forward(name) for name in names})
"""


def opencv(description: Path, weights: Path, pictures: np.ndarray, *layers: str) -> dict[str, np.ndarray]:
    """What OpenCV computes for (B, H, W, C) pictures: maps in our order, by the layer's name."""
    given, result = weights.with_suffix(".npy"), weights.with_suffix(".npz")
    np.save(given, pictures.transpose(0, 3, 1, 2))
    command = [
        str(peer_python("cv4")),
        "-c",
        SCRIPT,
        *map(str, (description, weights, given, result)),
        *layers,
    ]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("OPENBLAS")}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    with np.load(result) as found:
        return {k: v.transpose(0, 2, 3, 1) if v.ndim == 4 else v for k, v in found.items()}


def assert_close(found: np.ndarray, expected: np.ndarray, tolerance: float = 2e-5) -> None:
    assert found.shape == expected.shape
    error = np.abs(found - expected).max() / np.abs(expected).max()
    assert error <= tolerance, f"{error:.1e} of the largest value"


def both_ways(network: CaffeNetwork, pictures: np.ndarray) -> list[tuple[np.ndarray, ...]]:
    """The network's outputs by the reference operations and by a plan."""
    with no_grad():
        eager = network(Tensor(pictures))
    plan = compile_network(network, pictures.shape)
    maps = tuple(m.copy() for m in plan.forward(pictures))
    return [tuple(t.data for t in (eager if isinstance(eager, tuple) else (eager,))), maps]


def random_weights(description: Path, target: Path) -> None:
    """Weights of a description of convolutions and activations, of a size that keeps maps in bounds."""
    rng = np.random.default_rng(3)
    network = CaffeNetwork(prototxt.read(description), seed=4)
    layers = []
    for name, module in network.layers.items():
        if isinstance(module, Conv2d):
            bias = rng.normal(0, 0.1, module.bias.shape)
            layers.append((name, "Convolution", [module.weight.data, bias]))
        elif isinstance(module, PReLU):
            layers.append((name, "PReLU", [rng.uniform(-0.5, 1.5, module.weight.shape)]))
    target.write_bytes(caffemodel(layers))


@pytest.mark.parametrize("name", ["body_25", "linevec_coco", "mpi_4_stages"])
def test_openpose(name: str, real_data: Path, tmp_path: Path) -> None:
    description = real_data / "structures" / "openpose" / f"pose_deploy_{name}.prototxt"
    weights = tmp_path / "random.caffemodel"
    random_weights(description, weights)
    pictures = np.random.default_rng(5).normal(0, 0.5, (1, 46, 61, 3)).astype(np.float32)
    network = load_caffe(description, weights)
    assert network.outputs == ("net_output",)
    (expected,) = opencv(description, weights, pictures).values()  # under the last layer's name
    assert expected.shape == (1, 6, 8, {"body_25": 78, "linevec_coco": 57, "mpi_4_stages": 44}[name])
    for (found,) in both_ways(network, pictures):
        assert_close(found, expected)


REAL = {"landmark106": ((112, 112), 3), "yoloface-50k": ((56, 56), 3)}


@pytest.mark.parametrize("name", REAL)
def test_real_weights(name: str, real_data: Path, tmp_path: Path) -> None:
    """Batch-norms with scales, slopes a channel, depthwise convolutions, pools, a fully connected layer."""
    folder = real_data / "weights" / "mobilenet-yolo" / "yoloface50k-landmark106" / "caffemodel"
    description, weights = (folder / f"{name}.{suffix}" for suffix in ("prototxt", "caffemodel"))
    (tmp_path / weights.name).write_bytes(weights.read_bytes())
    size, channels = REAL[name]
    pictures = np.random.default_rng(6).uniform(-1, 1, (2, *size, channels)).astype(np.float32)
    network = load_caffe(description, weights)
    expected = list(opencv(description, tmp_path / weights.name, pictures).values())
    for found in both_ways(network, pictures):
        assert len(found) == len(expected)
        for ours, theirs in zip(found, expected, strict=True):
            assert_close(ours, theirs, 1e-5)


def test_every_layer(tmp_path: Path) -> None:
    """Between them the outputs show each layer; OpenCV knows blobs by the last layer that writes them."""
    description, weights = tmp_path / "net.prototxt", tmp_path / "net.caffemodel"
    description.write_text(caffe_net.DESCRIPTION)
    weights.write_bytes(caffe_net.weights())
    pictures = np.random.default_rng(7).normal(size=(2, 9, 12, 3)).astype(np.float32)
    blobs = {"pool1": "pool1", "dw": "dw/prelu", "cat": "cat", "scaled": "scale", "prob": "prob"}
    network = load_caffe(description, weights, outputs=list(blobs))
    expected = opencv(description, weights, pictures, *blobs.values())
    for found in both_ways(network, pictures):
        for ours, layer in zip(found, blobs.values(), strict=True):
            assert_close(ours, expected[layer])


@pytest.mark.parametrize("pool", ["MAX", "AVE"])
def test_pooling_of_every_remainder(pool: str, tmp_path: Path) -> None:
    """Caffe counts windows that reach over the edge."""
    rng = np.random.default_rng(8)
    description, weights = tmp_path / "net.prototxt", tmp_path / "net.caffemodel"
    weights.write_bytes(caffemodel([("c", "Convolution", [rng.normal(size=(2, 2, 1, 1))])]))
    for size in range(5, 10):
        for kernel, stride, pad in ((2, 2, 0), (3, 2, 0), (3, 2, 1), (3, 3, 1), (4, 3, 2), (5, 1, 2)):
            description.write_text(
                f'input: "x" input_dim: 1 input_dim: 2 input_dim: {size} input_dim: 9 layer {{ name: "c" '
                'type: "Convolution" bottom: "x" top: "c" convolution_param { num_output: 2 kernel_size: 1 '
                'bias_term: false } } layer { name: "p" type: "Pooling" bottom: "c" top: "p" '
                f"pooling_param {{ pool: {pool} kernel_size: {kernel} stride: {stride} pad: {pad} }} }}"
            )
            pictures = rng.normal(size=(1, size, 9, 2)).astype(np.float32)
            (expected,) = opencv(description, weights, pictures).values()
            for (found,) in both_ways(load_caffe(description, weights), pictures):
                assert_close(found, expected)
