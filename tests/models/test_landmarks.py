"""The landmark network: torch's outputs and gradients, plan against tape, ONNX, sizes, what it learns."""

import copy
from pathlib import Path

import numpy as np
import pytest

from tests.oracles import run_torch
from visionkit.graph import compile, trace  # noqa: A004
from visionkit.graph.onnx import to_onnx
from visionkit.models.landmarks import LandmarkNet
from visionkit.optim import AdamW
from visionkit.tensor import Tensor, no_grad

TORCH = Path(__file__).with_name("torch_pose.py").read_text()


@pytest.fixture
def network(rng):
    network = LandmarkNet(5, 32, rng=np.random.default_rng(1))
    for key, buffer in network.named_buffers():
        buffer.data[...] = rng.uniform(0.5, 1.5, buffer.shape) if key.endswith("var") else 0.1
    return network


@pytest.mark.peers
def test_points_gradients_and_statistics_are_torchs(network, rng):
    network.to(np.float64)
    x, seed = rng.standard_normal((3, 40, 40, 3)), rng.standard_normal((3, 10))
    given = {f"w.{key}": array.copy() for key, array in network.state_dict().items()}
    points = network(Tensor(x))
    (points * seed).sum().backward()
    expected = run_torch(
        f"{TORCH}\nrun(LandmarkNet(5, 32), given, result)\n", given | {"x": x, "seed.0": seed}
    )
    found = {"map.0": points.data} | {f"stat.{key}": b.data for key, b in network.named_buffers()}
    found |= {f"grad.{key}": p.grad for key, p in network.named_parameters()}
    assert found.keys() == expected.keys()
    for key, ours in found.items():
        np.testing.assert_allclose(ours, expected[key], atol=1e-9 * max(1, np.abs(ours).max()), err_msg=key)


def test_the_maps_shrink_as_published():
    """40x40x3 over four convolutions and pools to 2x2x64, two fully connected layers, 10 outputs (FLM-04)."""
    graph = trace(LandmarkNet(5, 100, rng=np.random.default_rng(0)), (2, 40, 40, 3))
    pools = [node.output.shape[1:] for node in graph.nodes if node.op == "max_pool2d"]
    assert pools == [(20, 20, 16), (10, 10, 48), (5, 5, 64), (2, 2, 64)]
    assert [node.output.shape for node in graph.nodes if node.op == "linear"] == [(2, 100), (2, 10)]


def test_points_are_a_linear_function_of_the_features(network, rng):
    network.eval()
    x = Tensor(rng.standard_normal((2, 40, 40, 3)).astype(np.float32))
    with no_grad():
        features, points = network.features(x).data, network(x).data
    assert features.shape == (2, 32)
    expected = features @ network.fc6.weight.data.T + network.fc6.bias.data
    np.testing.assert_allclose(points, expected, rtol=1e-4, atol=1e-5)


def test_the_plan_and_onnxruntime_say_what_the_tape_says(network, rng):
    onnxruntime = pytest.importorskip("onnxruntime", reason="not installed: pip install 'visionkit[onnx]'")
    network.eval()
    x = rng.integers(0, 256, (3, 40, 40, 3)).astype(np.uint8)
    with no_grad():
        exact = copy.deepcopy(network).to(np.float64)(Tensor((x.astype(np.float64) - 114) / 64)).data
    (planned,) = compile(network, x.shape, mean=114.0, scale=1 / 64).forward(x)
    session = onnxruntime.InferenceSession(
        to_onnx(network, x.shape, mean=114.0, scale=1 / 64), providers=["CPUExecutionProvider"]
    )
    (exported,) = session.run(None, {"input": x.astype(np.float32).transpose(0, 3, 1, 2)})
    for found in (planned, exported):
        assert np.abs(found - exact).max() < 1e-5 * np.abs(exact).max()


def test_a_new_network_points_at_the_middle(rng):
    """Small weights and a bias of a half, so that the first steps are not spent on finding the crop."""
    network = LandmarkNet(68, rng=rng).eval()
    with no_grad():
        points = network(Tensor(rng.standard_normal((8, 40, 40, 3)).astype(np.float32))).data
    assert np.abs(points - 0.5).mean() < 0.25


def test_it_learns_where_a_dot_is(rng):
    """A white dot on grey: a hundred steps bring its place within a tenth of the crop, on new pictures."""
    network = LandmarkNet(1, 32, rng=np.random.default_rng(2))

    def pictures(count):
        places = rng.integers(4, 36, (count, 2))
        images = np.full((count, 40, 40, 3), 114, np.uint8)
        for image, (x, y) in zip(images, places, strict=True):
            image[y - 3 : y + 4, x - 3 : x + 4] = 255
        return images, ((places + 0.5) / 40).astype(np.float32)

    plan = compile(network, (32, 40, 40, 3), training=True, mean=114.0, scale=1 / 64)
    optimiser = AdamW(network.parameters(), lr=3e-3)
    for _ in range(100):
        images, wanted = pictures(32)
        (found,) = plan.forward(images)
        plan.backward((2 * (found - wanted) / found.size,))
        optimiser.step()
    images, wanted = pictures(64)
    (found,) = compile(network.eval(), images.shape, mean=114.0, scale=1 / 64).forward(images)
    assert np.linalg.norm(found - wanted, axis=1).mean() < 0.1
