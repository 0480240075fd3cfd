"""What several files about runs share."""

import signal

import pytest

from tests.engine import tiny


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
