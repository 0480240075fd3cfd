"""Second opinions from other programs, called as processes: nothing of theirs is imported here."""

import os
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

_PRELUDE = """
import sys
import numpy as np
import torch
torch.set_num_threads(1)
given = dict(np.load(sys.argv[1]))
result = {}
"""
_CLOSING = """
np.savez(sys.argv[2], **{k: v.detach().numpy() if hasattr(v, "detach") else v for k, v in result.items()})
"""


def peer_python(name: str) -> Path:
    """The interpreter `name` ("torch", "cv4") under VISIONKIT_PEERS; skips the test where there is none."""
    folder = os.environ.get("VISIONKIT_PEERS")
    if not folder:
        pytest.skip("VISIONKIT_PEERS is not set: no second opinion to compare with")
    interpreter = Path(folder) / name / "bin" / "python"
    if not interpreter.is_file():
        pytest.skip(f"no interpreter {interpreter}: no second opinion to compare with")
    return interpreter


def torch_python() -> Path:
    """The interpreter that has torch; skips the test where there is none."""
    return peer_python("torch")


def run_torch(script: str, arrays: Mapping[str, Any], timeout: float = 300) -> dict[str, NDArray[Any]]:
    """Run `script` where torch is and return its `result`.

    Args:
        script: finds the arrays in the dict `given`, and torch and np imported; puts arrays or tensors into
            the dict `result`.
        arrays: anything NumPy can save without pickling.
        timeout: in seconds.
    """
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "given.npz"), Path(folder, "result.npz")
        np.savez(source, **arrays)
        command = [str(torch_python()), "-c", _PRELUDE + script + _CLOSING, str(source), str(target)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
        assert done.returncode == 0, f"the second opinion failed:\n{done.stderr[-3000:]}"
        with np.load(target) as found:
            return dict(found)
