"""What several files about runs share."""

import pytest

from tests.engine import tiny


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    """A run that nobody disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    tiny.trainer(folder).fit()
    return tiny.digest(folder)
