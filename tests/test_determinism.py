"""The same bits however many threads share the work, and in every process (torture N06)."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from visionkit.graph import compile  # noqa: A004
from visionkit.kernels import jit
from visionkit.models.detectors import yolo_nano
from visionkit.nn import Module
from visionkit.optim import EMA, AdamW, clip_grad_norm, parameter_groups

SHAPE = (3, 64, 96, 3)
THREADS = sorted({1, 2, os.cpu_count() or 1})


@pytest.fixture(autouse=True)
def _threads_as_before():
    before = jit.threads()
    yield
    jit.set_threads(before)


def trained(threads: int, steps: int = 5) -> dict[str, np.ndarray]:
    """Weights, averages, optimiser state and last gradients of a short training of a small detector."""
    jit.set_threads(threads)
    rng = np.random.default_rng(9)
    network = yolo_nano(2, rng=rng)
    plan = compile(network, SHAPE, training=True, mean=114.0, scale=1 / 64)
    optimiser, average = AdamW(parameter_groups(network, 0.01), lr=3e-3), EMA(network)
    found: dict[str, np.ndarray] = {}
    for step in range(steps):
        maps = plan.forward(rng.integers(0, 256, SHAPE, dtype=np.uint8))
        plan.backward(tuple(np.float32(2 / m.size) * (m - 1) for m in maps))
        norm = clip_grad_norm(network.parameters(), 0.5)
        found |= {f"norm {step}": np.array(norm)} | {f"map {step} {i}": m.copy() for i, m in enumerate(maps)}
        if step in (0, steps - 1):
            found |= {f"gradient {step} {k}": p.grad.copy() for k, p in network.named_parameters()}
        optimiser.step()
        average.update()
    found |= {f"weight {k}": v.copy() for k, v in network.state_dict().items()}
    found |= {f"average {k}": np.array(v) for k, v in average.state_dict().items()}
    return found | {f"optimiser {k}": np.array(v) for k, v in optimiser.state_dict().items()}


def digest(arrays: dict[str, np.ndarray]) -> str:
    total = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        total.update(name.encode() + np.ascontiguousarray(array).tobytes())
    return total.hexdigest()


def test_a_training_has_the_same_bits_on_any_number_of_threads():
    one, *others = [trained(threads) for threads in THREADS]
    assert all(np.isfinite(array).all() for array in one.values())
    assert any((one[f"map 0 {i}"] != one[f"map 4 {i}"]).any() for i in range(3))  # it does learn
    for other in others:
        assert one.keys() == other.keys()
        for name, array in one.items():
            np.testing.assert_array_equal(array, other[name], err_msg=name)


@pytest.mark.parametrize("batch", [1, 5])
def test_inference_has_the_same_bits_on_any_number_of_threads(batch, rng):
    network: Module = yolo_nano(2, rng=np.random.default_rng(1)).eval()
    pictures = rng.integers(0, 256, (batch, 96, 64, 3), dtype=np.uint8)
    results = []
    for threads in THREADS:
        jit.set_threads(threads)
        results.append([m.copy() for m in compile(network, pictures.shape).forward(pictures)])
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_picture_has_the_same_maps_in_any_batch(rng):
    """Not the same bits: the batch has a say in where Winograd's form pays."""
    network: Module = yolo_nano(2, rng=np.random.default_rng(1)).eval()
    pictures = rng.integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    together = [m.copy() for m in compile(network, pictures.shape).forward(pictures)]
    alone = compile(network, (1, 64, 64, 3))
    for i in range(3):
        for a, b in zip(together, alone.forward(pictures[i : i + 1]), strict=True):
            np.testing.assert_allclose(a[i : i + 1], b, atol=1e-5 * np.abs(b).max())


def test_another_process_on_one_thread_has_the_same_bits():
    program = "from tests.test_determinism import digest, trained; print(digest(trained(1, steps=2)))"
    environment = os.environ | {"NUMBA_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONHASHSEED": "7"}
    root = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == digest(trained(2, steps=2))
