"""Memory does not grow with the number of pictures."""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from visionkit.engine.predictor import Predictor
from visionkit.kernels import jit
from visionkit.models.zoo import CARDS

PICTURES, SETTLED, ALLOWED = 2000, 100, 2 << 20


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.fixture
def one_thread() -> Iterator[None]:
    """On a busy machine two threads spend their time waiting for each other."""
    before = jit.threads()
    jit.set_threads(1)
    yield
    jit.set_threads(before)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_2000_detections_in_a_row_need_no_more_memory_than_100(rng):
    card = CARDS["yolo-nano"]
    info = card.info(["thing"])
    # Below the prior's confidence, so that decoding and suppression have hundreds of boxes to work on.
    predictor = Predictor(card.network(1), info, confidence=0.005, size=160)
    shapes = [(120, 160), (160, 120), (97, 211), (160, 160)]
    pictures = [rng.integers(0, 256, (h, w, 3), dtype=np.uint8) for h, w in shapes]
    found = settled = 0
    for i in range(PICTURES):
        if i == SETTLED:
            settled = resident()
        found += len(predictor(pictures[i % len(pictures)]))
    assert found > PICTURES
    assert resident() - settled < ALLOWED
