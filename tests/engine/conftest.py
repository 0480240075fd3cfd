"""What several files about runs share."""

import signal
from dataclasses import replace

import pytest

from tests.engine import tiny
from visionkit.datasets.shapes import ShapesDataset
from visionkit.engine.detector import for_data
from visionkit.models import zoo

SIZE = (64, 64)


@pytest.fixture(autouse=True)
def _heard_signals():
    """Signals as a terminal delivers them: a test run in the background starts with some of them ignored."""
    handlers = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    if hasattr(signal, "SIGHUP"):
        handlers[signal.SIGHUP] = signal.SIG_DFL
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    """A run that nobody disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    tiny.trainer(folder).fit()
    return tiny.digest(folder)


@pytest.fixture(scope="session")
def shapes():
    """Generated pictures to train on and to validate with."""
    return ShapesDataset(8, SIZE), ShapesDataset(5, SIZE, seed=1)


@pytest.fixture(scope="session")
def info(shapes):
    """A small detector for them."""
    return for_data(replace(zoo.card("yolo-nano").info(shapes[0].names), input_size=SIZE), shapes[0])
